/*
 * Numbers 1 … count handed out and taken back, the last one first: places in a Lua table that
 * anchors objects. luaL_ref does the same inside the table, and costs five times as much.
 */
#ifndef LILAC_SLOTS_H
#define LILAC_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct slots {
    uint32_t *free; /* a stack */
    uint32_t count, free_count;
};

/* How many numbers there are when slots_take has one to give. */
static inline uint32_t slots_needed(const struct slots *slots) {
    if (slots->free_count > 0) return slots->count;
    return slots->count > 0 ? slots->count * 2 : 64;
}

/* Makes sure that slots_take has one to give; false: out of memory. */
static inline bool slots_reserve(struct slots *slots) {
    uint32_t count = slots_needed(slots);
    if (count == slots->count) return true;
    uint32_t *more = realloc(slots->free, count * sizeof *more);
    if (!more) return false;
    slots->free = more;
    for (uint32_t slot = count; slot > slots->count; slot--)
        more[slots->free_count++] = slot;
    slots->count = count;
    return true;
}

/* The one that slots_take is to give. */
static inline uint32_t slots_next(const struct slots *slots) {
    return slots->free[slots->free_count - 1];
}

static inline uint32_t slots_take(struct slots *slots) {
    return slots->free[--slots->free_count];
}

static inline void slots_give(struct slots *slots, uint32_t slot) {
    slots->free[slots->free_count++] = slot;
}

#endif
