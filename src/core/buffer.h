/*
 * A queue of bytes in one block of memory: appended at the end, taken from the front. Zeroed memory
 * is an empty buffer. Its ceiling is its owner's business: who appends checks the size first.
 */
#ifndef LILAC_BUFFER_H
#define LILAC_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Where the system is to copy what is read. Its copy is one instruction (rep movsb), which takes
 * some processors up to twenty times as long when the target is 1 to 31 bytes further in its page
 * than the source, and what a file holds begins with a page. */
#define BUFFER_ALIGNMENT 64

struct buffer {
    char *block;
    size_t start; /* where the bytes begin in the block */
    size_t size;  /* how many there are */
    size_t room;  /* of the block */
};

static inline const char *buffer_bytes(const struct buffer *buffer) {
    return buffer->block + buffer->start;
}

/* Memory for a block, aligned unless it is small. NULL: there is none. */
void *buffer_block(size_t room);

/* Copies `size` bytes to the end. False: out of memory, and nothing has changed. */
bool buffer_append(struct buffer *buffer, const char *bytes, size_t size);

/* Makes room for `size` bytes at the end, and returns where they go; who puts them there adds them
 * to buffer->size. NULL: out of memory, and nothing has changed. */
char *buffer_reserve(struct buffer *buffer, size_t size);

/* Drops the first `size` bytes. An empty buffer keeps its block only when that is small, so that a
 * connection at rest costs little. */
void buffer_drop(struct buffer *buffer, size_t size);

/* Exchanges what two buffers hold. */
void buffer_swap(struct buffer *a, struct buffer *b);

/* Frees the block: the buffer is empty again. */
void buffer_free(struct buffer *buffer);

#endif
