/*
 * Memory that serves all streams of a thread, for bytes on their way: who fills it empties it
 * before anybody else can come. It is taken when the first of them comes, and no array that is
 * _Thread_local: the C library fills those with zeros, page by page, when a thread starts.
 */
#ifndef LILAC_SCRATCH_H
#define LILAC_SCRATCH_H

#include <stdbool.h>

#include "buffer.h"

enum { INBOX = 64 * 1024, OUTBOX = 64 * 1024, RECORD = 16 * 1024 };

struct scratch {
    _Alignas(BUFFER_ALIGNMENT) char inbox[INBOX]; /* what the system has */
    char outbox[OUTBOX];                          /* what TLS makes */
    char record[RECORD];                          /* what it is made of, when that is in pieces */

    char *room; /* of room.c: a block of malloc's, or NULL; … */
    size_t room_size, string_head;
};

/* NULL before scratch_open. */
extern _Thread_local struct scratch *scratch;

/* Whoever begins to read or to encrypt calls it first. It lasts as long as the thread. False: out
 * of memory. */
bool scratch_open(void);

#endif
