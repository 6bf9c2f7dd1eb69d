/*
 * Deadlines: one 4-ary heap behind the runtime's single uv_timer, so a sleeping task costs 16 bytes
 * and no handle. Times are nanoseconds of the monotonic clock.
 */
#ifndef LILAC_CLOCK_H
#define LILAC_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "args.h"

enum deadline_kind {
    DEADLINE_SLEEP,
    DEADLINE_SCOPE,
    DEADLINE_CALLBACK,
    DEADLINE_JOB,
    DEADLINE_REPORT, /* from here on: housekeeping, nobody waits for it */
    DEADLINE_GRACE,
    DEADLINE_KINDS
};

/* Embedded in what has a deadline. Zeroed memory is a deadline that is not armed. */
struct deadline {
    uint32_t place; /* in the heap; 0: not armed */
    uint8_t kind;   /* who fires: enum deadline_kind */
};

struct heap_entry {
    uint64_t when_ns;
    struct deadline *deadline;
};

/* The children of place i are 4(i-2) … 4(i-2)+3. */
enum { CLOCK_ROOT = 3 };

struct clock {
    struct heap_entry *heap; /* from CLOCK_ROOT on, each sibling that is missing: NEVER_NS */
    uint32_t count, room;
    uint32_t disarmed;      /* so many of the entries are, … */
    struct deadline nobody; /* … and have this one */
    uint32_t quiet;         /* so many are housekeeping */
    uint64_t last_ns;
    void (*fire[DEADLINE_KINDS])(struct deadline *); /* plain C; the entry is out of the heap */
};

/* Reads the monotonic clock. Two readings never give the same time, so that of two sleeps of the
 * same length the one that began first ends first. */
uint64_t clock_now(struct clock *clock);

/* The same clock as of its last tick, some milliseconds ago, at a fraction of the cost. */
uint64_t clock_coarse_ns(void);

/* Arms a deadline, again if it is armed. NEVER_NS takes a place too: it is a wait, if a long one.
 * False: out of memory, and nothing has changed. */
bool clock_arm(struct clock *clock, struct deadline *deadline, uint64_t when_ns);

/* Harmless when it is not armed. */
void clock_disarm(struct clock *clock, struct deadline *deadline);

/* Fires all that is due now. */
void clock_fire_due(struct clock *clock);

/* The time of an armed deadline. */
static inline uint64_t clock_when(const struct clock *clock, const struct deadline *deadline) {
    return clock->heap[deadline->place].when_ns;
}

/* The earliest deadline; NEVER_NS when there is none. */
uint64_t clock_next(struct clock *clock);

/* Whether somebody waits for a deadline. */
static inline bool clock_awaited(const struct clock *clock) {
    return clock->count - clock->disarmed > clock->quiet;
}

void clock_free(struct clock *clock);

#endif
