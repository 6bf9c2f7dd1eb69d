#include "clock.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "alloc.h"

enum {
    ARITY = 4, /* so that siblings fill a cache line */
    FIRST_ROOM = 64,
    SLACK = 64, /* so many disarmed entries, and three of four, may be left where they are */
    AHEAD = 8   /* a sweep asks for the memory of so many entries at once */
};

uint64_t clock_now(struct clock *clock) {
    uint64_t now_ns = uv_hrtime();
    if (now_ns <= clock->last_ns) now_ns = clock->last_ns + 1;
    return clock->last_ns = now_ns;
}

uint64_t clock_coarse_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put(struct clock *clock, uint32_t place, struct heap_entry entry) {
    clock->heap[place] = entry;
    entry.deadline->place = place;
}

/* ---- the heap: siblings begin at multiples of four ------------------------------------------- */

static uint32_t parent_of(uint32_t place) {
    return place / ARITY + 2;
}

static uint32_t first_child_of(uint32_t place) {
    return (place - 2) * ARITY;
}

static uint32_t end_of(const struct clock *clock) {
    return CLOCK_ROOT + clock->count;
}

static void sift_up(struct clock *clock, uint32_t place, struct heap_entry entry) {
    while (place > CLOCK_ROOT) {
        uint32_t parent = parent_of(place);
        if (clock->heap[parent].when_ns <= entry.when_ns) break;
        put(clock, place, clock->heap[parent]);
        place = parent;
    }
    put(clock, place, entry);
}

/* The earliest of siblings, without a branch: no processor guesses which one it is. */
static uint32_t earliest_of(const struct heap_entry *heap, uint32_t first) {
    uint32_t a = first + (heap[first + 1].when_ns < heap[first].when_ns);
    uint32_t b = first + 2 + (heap[first + 3].when_ns < heap[first + 2].when_ns);
    return heap[b].when_ns < heap[a].when_ns ? b : a;
}

/* The siblings after next are on their way while the next ones are compared. */
static void sift_down(struct clock *clock, uint32_t place, struct heap_entry entry) {
    const struct heap_entry *heap = clock->heap;
    uint32_t first;
    while ((first = first_child_of(place)) < end_of(clock)) {
        uint32_t below = first_child_of(first);
        if (below + ARITY * ARITY <= clock->room)
            prefetch(&heap[below], ARITY * ARITY * sizeof *heap);
        uint32_t earliest = earliest_of(heap, first);
        if (heap[earliest].when_ns >= entry.when_ns) break;
        put(clock, place, heap[earliest]);
        place = earliest;
    }
    put(clock, place, entry);
}

static bool grow(struct clock *clock) {
    uint32_t room = clock->room > 0 ? clock->room * 2 : FIRST_ROOM;
    struct heap_entry *heap = aligned_alloc(CACHE_LINE, room * sizeof *heap);
    if (!heap) return false;
    if (clock->heap) memcpy(heap, clock->heap, clock->room * sizeof *heap);
    free(clock->heap);
    clock->heap = heap;
    clock->room = room;
    return true;
}

/* Drops the last entry. Siblings that are missing are at NEVER_NS. */
static void drop_last(struct clock *clock) {
    clock->heap[CLOCK_ROOT + --clock->count].when_ns = NEVER_NS;
}

static void drop_root(struct clock *clock) {
    struct heap_entry last = clock->heap[end_of(clock) - 1];
    drop_last(clock);
    if (clock->count > 0) sift_down(clock, CLOCK_ROOT, last);
}

/* Takes all disarmed entries out, and makes a heap of the rest. */
static void sweep(struct clock *clock) {
    uint32_t kept = CLOCK_ROOT;
    for (uint32_t place = CLOCK_ROOT; place < end_of(clock); place++) {
        if (place + AHEAD < end_of(clock)) prefetch(clock->heap[place + AHEAD].deadline, 1);
        if (clock->heap[place].deadline != &clock->nobody) put(clock, kept++, clock->heap[place]);
    }
    while (end_of(clock) > kept)
        drop_last(clock);
    clock->disarmed = 0;
    for (uint32_t place = parent_of(kept - 1); place >= CLOCK_ROOT; place--)
        sift_down(clock, place, clock->heap[place]);
}

/* ---- arming ---------------------------------------------------------------------------------- */

bool clock_arm(struct clock *clock, struct deadline *deadline, uint64_t when_ns) {
    clock_disarm(clock, deadline);
    uint32_t place = end_of(clock);
    if (place >= clock->room && !grow(clock)) return false;
    if (place % ARITY == 0)
        for (uint32_t i = 1; i < ARITY; i++)
            clock->heap[place + i].when_ns = NEVER_NS; /* siblings to come */
    clock->quiet += deadline->kind >= DEADLINE_REPORT;
    clock->count++;
    sift_up(clock, place, (struct heap_entry){when_ns, deadline});
    return true;
}

/* It is not armed any more; the caller sees to its entry. */
static void release(struct clock *clock, struct deadline *deadline) {
    deadline->place = 0;
    clock->quiet -= deadline->kind >= DEADLINE_REPORT;
}

/* Most deadlines are disarmed before they are due: their entries are only marked, until there are
 * three times as many of those as of others. */
void clock_disarm(struct clock *clock, struct deadline *deadline) {
    uint32_t place = deadline->place;
    if (place == 0) return;
    release(clock, deadline);
    if (place == end_of(clock) - 1) {
        drop_last(clock);
        return;
    }
    clock->heap[place].deadline = &clock->nobody;
    if (++clock->disarmed > clock->count - clock->count / 4 + SLACK) sweep(clock);
}

uint64_t clock_next(struct clock *clock) {
    while (clock->count > 0 && clock->heap[CLOCK_ROOT].deadline == &clock->nobody) {
        drop_root(clock);
        clock->disarmed--;
    }
    return clock->count > 0 ? clock->heap[CLOCK_ROOT].when_ns : NEVER_NS;
}

/* The second to fire is a child of the root: asks for the memory of all its candidates. */
static void prefetch_next(const struct clock *clock) {
    const struct heap_entry *children = &clock->heap[first_child_of(CLOCK_ROOT)];
    for (int i = 0; i < ARITY; i++)
        prefetch(children[i].deadline, sizeof *children[i].deadline);
}

void clock_fire_due(struct clock *clock) {
    if (clock->count == 0) return;
    uint64_t now_ns = clock_now(clock);
    while (clock_next(clock) <= now_ns) {
        struct deadline *deadline = clock->heap[CLOCK_ROOT].deadline;
        drop_root(clock);
        release(clock, deadline);
        prefetch_next(clock);
        clock->fire[deadline->kind](deadline);
    }
}

void clock_free(struct clock *clock) {
    free(clock->heap);
    clock->heap = NULL;
    clock->count = clock->room = clock->disarmed = 0;
}
