#include "ages.h"

#include <stddef.h>

#define RESOLUTION_NS 1000000u

/* A birth is forgotten, and its tasks are taken for those of the one before, when that makes them
 * older by no more than this part of their age. As ages grow, this happens to a task again and
 * again, each time by twice as much or more: an eighth, all in all. */
#define TOLERANCE 16

/* What is left of any number of births is one for each factor of 17/16 in age: some 400 in a year.
 */
static void forget(struct ages *ages) {
    struct birth *births = ages->births;
    uint32_t kept = 1;
    for (uint32_t i = 1; i < ages->count; i++) {
        uint64_t age_ns = ages->look_ns - births[i].when_ns;
        if (births[i].when_ns - births[kept - 1].when_ns > age_ns / TOLERANCE)
            births[kept++] = births[i];
    }
    ages->count = kept;
}

void ages_note(struct ages *ages, uint32_t last_id) {
    const struct birth *last = ages->count > 0 ? &ages->births[ages->count - 1] : NULL;
    if (!last || ages->look_ns - last->when_ns >= RESOLUTION_NS) {
        if (ages->count == AGES_ROOM) forget(ages);
        if (ages->count < AGES_ROOM)
            ages->births[ages->count++] = (struct birth){ages->last_id + 1, ages->look_ns};
    }
    ages->last_id = last_id;
}

uint64_t ages_birth_ns(const struct ages *ages, uint32_t id) {
    uint32_t low = 0, high = ages->count; /* the births before `low` are of it or older */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ages->births[middle].first_id <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return id > ages->last_id || low == 0 ? ages->look_ns : ages->births[low - 1].when_ns;
}
