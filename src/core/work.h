/*
 * Blocking C in threads, by lanes: what fills one lane holds up no other. Files have a lane of
 * their own, libuv's pool. What modules outside need of this is lilac_work in lilac.h.
 */
#ifndef LILAC_WORK_H
#define LILAC_WORK_H

#include "../lilac.h"

enum lane { LANE_WORK, LANE_LOOKUP, LANES };

/* See lilac_work, whose arguments these are. */
struct work {
    void (*work)(void *data);
    int (*done)(lua_State *L, void *data);
    void *data;
    void (*release)(void *data);
};

/* lilac_work in a lane. Tail call. */
int work_in(lua_State *L, enum lane lane, const struct work *work);

#endif
