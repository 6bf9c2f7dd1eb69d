/*
 * Awaits that cannot be: in a callback, across a C function that cannot be suspended, in a circle.
 */
#ifndef LILAC_REFUSE_H
#define LILAC_REFUSE_H

#include "sched.h"

/* Raises: there is no task here that could wait. */
COLD void refuse_no_task(lua_State *L);

/* Raises: a C function on the stack forbids to wait; names it. */
COLD void refuse_unyieldable(lua_State *L);

/* Raises DeadlockError: `holder` waits, in the end, for `self`. */
void refuse_cycle(lua_State *L, struct task *self, struct task *holder);

#endif
