/*
 * The memory of a Lua state: small blocks from slabs of one size each, the rest from malloc. Tasks
 * are made of half a dozen small blocks that come and go together: without malloc's headers and
 * searches they take less memory; those of a coroutine are neighbours, as they wake together. What
 * is free goes back to the system in arenas of 2 MiB.
 */
#ifndef LILAC_ALLOC_H
#define LILAC_ALLOC_H

#include <lua.h>
#include <stddef.h>

#define CACHE_LINE 64

struct allocator;

/* NULL: out of memory. */
struct allocator *allocator_open(void);

/* After lua_close. */
void allocator_close(struct allocator *allocator);

/* Gives up a block of malloc's: it is the one for the next request of just that size, if that comes
 * before the next offer. Not a small size: those blocks are no malloc's. */
void allocator_offer(struct allocator *allocator, void *block, size_t size);

/* The whole of a block is about to be written. */
void allocator_expect(void *block, size_t size);

/* Asks for memory that is soon needed. The compiler takes a function that does no more than this
 * for one without effect, and drops calls of it: hence the asm. */
static inline void prefetch(const void *memory, size_t size) {
    __asm__ volatile("");
    for (size_t at = 0; at < size; at += CACHE_LINE)
        __builtin_prefetch((const char *)memory + at, 1);
}

/* The same for a coroutine that is about to run again. */
void allocator_prefetch(const lua_State *co);

/* The lua_Alloc; `allocator` is its ud. */
void *allocator_realloc(void *allocator, void *block, size_t old_size, size_t new_size);

#endif
