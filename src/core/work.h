/*
 * Blocking C in threads, by lanes: what fills one lane holds up no other. Files have a lane of
 * their own, libuv's pool. What modules outside need of this is lilac_work in lilac.h.
 */
#ifndef LILAC_WORK_H
#define LILAC_WORK_H

#include "../lilac.h"

struct crew;

enum lane { LANE_WORK, LANE_LOOKUP, LANES };

/* The threads of a lane of this runtime, for jobs of one's own. NULL: out of memory. */
struct crew *lane_crew(lua_State *L, enum lane lane);

#endif
