#include "clock.h"

#include <stdlib.h>
#include <uv.h>

#define ARITY      4
#define FIRST_ROOM 64

uint64_t clock_now(struct clock *clock) {
    uint64_t now_ns = uv_hrtime();
    if (now_ns <= clock->last_ns) now_ns = clock->last_ns + 1;
    return clock->last_ns = now_ns;
}

static void put(struct clock *clock, uint32_t place, struct heap_entry entry) {
    clock->heap[place] = entry;
    entry.deadline->place = place;
}

/* The children of entry i are 4i-2 … 4i+1, its parent is (i+2)/4. */
static void sift_up(struct clock *clock, uint32_t place, struct heap_entry entry) {
    while (place > 1) {
        uint32_t parent = (place + ARITY - 2) / ARITY;
        if (clock->heap[parent].when_ns <= entry.when_ns) break;
        put(clock, place, clock->heap[parent]);
        place = parent;
    }
    put(clock, place, entry);
}

static void sift_down(struct clock *clock, uint32_t place, struct heap_entry entry) {
    for (;;) {
        uint32_t first = ARITY * place - (ARITY - 2), least = 0;
        uint64_t least_ns = entry.when_ns;
        for (uint32_t i = first; i < first + ARITY && i <= clock->count; i++) {
            if (clock->heap[i].when_ns >= least_ns) continue;
            least = i;
            least_ns = clock->heap[i].when_ns;
        }
        if (least == 0) break;
        put(clock, place, clock->heap[least]);
        place = least;
    }
    put(clock, place, entry);
}

bool clock_arm(struct clock *clock, struct deadline *deadline, uint64_t when_ns) {
    clock_disarm(clock, deadline);
    if (clock->count + 1 >= clock->room) {
        uint32_t room = clock->room > 0 ? clock->room * 2 : FIRST_ROOM;
        struct heap_entry *heap = realloc(clock->heap, room * sizeof *heap);
        if (!heap) return false;
        clock->heap = heap;
        clock->room = room;
    }
    clock->quiet += deadline->kind >= DEADLINE_REPORT;
    sift_up(clock, ++clock->count, (struct heap_entry){when_ns, deadline});
    return true;
}

void clock_disarm(struct clock *clock, struct deadline *deadline) {
    uint32_t place = deadline->place;
    if (place == 0) return;
    deadline->place = 0;
    clock->quiet -= deadline->kind >= DEADLINE_REPORT;
    struct heap_entry last = clock->heap[clock->count--];
    if (last.deadline == deadline) return;
    uint32_t parent = (place + ARITY - 2) / ARITY;
    if (place > 1 && clock->heap[parent].when_ns > last.when_ns)
        sift_up(clock, place, last);
    else
        sift_down(clock, place, last);
}

void clock_fire_due(struct clock *clock) {
    if (clock->count == 0) return;
    uint64_t now_ns = clock_now(clock);
    while (clock->count > 0 && clock->heap[1].when_ns <= now_ns) {
        struct deadline *deadline = clock->heap[1].deadline;
        clock_disarm(clock, deadline);
        clock->fire[deadline->kind](deadline);
    }
}

void clock_free(struct clock *clock) {
    free(clock->heap);
    clock->heap = NULL;
    clock->count = clock->room = 0;
}
