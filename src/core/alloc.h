/*
 * The memory of a Lua state: small blocks from slabs of one size each, the rest from malloc. Tasks
 * are made of half a dozen small blocks that come and go together: without malloc's headers and
 * searches they take less memory, and with huge pages under a big heap less time. What is free goes
 * back to the system in arenas of 2 MiB.
 */
#ifndef LILAC_ALLOC_H
#define LILAC_ALLOC_H

#include <stddef.h>

struct allocator;

/* NULL: out of memory. */
struct allocator *allocator_open(void);

/* After lua_close. */
void allocator_close(struct allocator *allocator);

/* Gives up a block of malloc's: it is the one for the next request of just that size, if that comes
 * before the next offer. Not a small size: those blocks are no malloc's. */
void allocator_offer(struct allocator *allocator, void *block, size_t size);

/* The lua_Alloc; `allocator` is its ud. */
void *allocator_realloc(void *allocator, void *block, size_t old_size, size_t new_size);

#endif
