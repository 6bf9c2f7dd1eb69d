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

/* The lua_Alloc; `allocator` is its ud. */
void *allocator_realloc(void *allocator, void *block, size_t old_size, size_t new_size);

#endif
