/*
 * How old tasks are, at no cost to them. Their numbers are given in order: it is enough to note now
 * and then which number was given when. The loop looks at a clock at least every few resumes, and
 * what was created between two looks is taken to be as old as the first of them.
 */
#ifndef LILAC_AGES_H
#define LILAC_AGES_H

#include <stdint.h>

#define AGES_ROOM 512

/* Tasks with this number and those that follow were created then. */
struct birth {
    uint32_t first_id;
    uint64_t when_ns;
};

struct ages {
    uint64_t look_ns; /* the last look, … */
    uint32_t last_id; /* … and the newest task then */
    uint32_t count;
    struct birth births[AGES_ROOM]; /* the oldest first */
};

/* Notes that the tasks up to `last_id` were created since the last look. Only ages_look calls it.
 */
void ages_note(struct ages *ages, uint32_t last_id);

/* A look at the clock; the newest task has the number `last_id`. */
static inline void ages_look(struct ages *ages, uint32_t last_id, uint64_t now_ns) {
    if (last_id != ages->last_id) ages_note(ages, last_id);
    ages->look_ns = now_ns;
}

/* When the task with this number was created: never later than it really was, and earlier by no
 * more than an eighth of its age, besides the time between two looks. */
uint64_t ages_birth_ns(const struct ages *ages, uint32_t id);

#endif
