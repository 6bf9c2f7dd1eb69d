#include "buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST_ROOM = 256, SMALLEST_ALIGNED = 1024, KEPT_ROOM = 4096 };

void *buffer_block(size_t room) {
    if (room < SMALLEST_ALIGNED) return malloc(room);
    if (room > SIZE_MAX - BUFFER_ALIGNMENT) return NULL;
    return aligned_alloc(BUFFER_ALIGNMENT,
                         (room + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT);
}

/* Makes room for `extra` bytes at the end: slides the bytes to the front when at least half of the
 * block is free, so that a byte is moved twice at most; else grows. */
static bool make_room(struct buffer *buffer, size_t extra) {
    if (extra <= buffer->room - buffer->start - buffer->size) return true;
    if (extra > SIZE_MAX / 4 - buffer->size) return false;
    size_t needed = buffer->size + extra;
    if (needed <= buffer->room && buffer->start >= buffer->room / 2) {
        memmove(buffer->block, buffer->block + buffer->start, buffer->size);
        buffer->start = 0;
        return true;
    }
    size_t room = buffer->size > 0 ? 2 * needed : needed;
    if (room < SMALLEST_ROOM) room = SMALLEST_ROOM;
    char *block = buffer_block(room);
    if (!block) return false;
    if (buffer->size > 0) memcpy(block, buffer_bytes(buffer), buffer->size);
    free(buffer->block);
    *buffer = (struct buffer){.block = block, .size = buffer->size, .room = room};
    return true;
}

char *buffer_reserve(struct buffer *buffer, size_t size) {
    if (!make_room(buffer, size)) return NULL;
    return buffer->block + buffer->start + buffer->size;
}

bool buffer_append(struct buffer *buffer, const char *bytes, size_t size) {
    if (size == 0) return true;
    char *end = buffer_reserve(buffer, size);
    if (!end) return false;
    memcpy(end, bytes, size);
    buffer->size += size;
    return true;
}

void buffer_drop(struct buffer *buffer, size_t size) {
    buffer->start += size;
    buffer->size -= size;
    if (buffer->size > 0) return;
    buffer->start = 0;
    if (buffer->room > KEPT_ROOM) buffer_free(buffer);
}

void buffer_swap(struct buffer *a, struct buffer *b) {
    struct buffer c = *a;
    *a = *b;
    *b = c;
}

void buffer_free(struct buffer *buffer) {
    free(buffer->block);
    *buffer = (struct buffer){0};
}
