/*
 * Plain callbacks on the ready queue: call_soon, call_later, call_at, done callbacks. They run
 * outside of any task and must not await.
 */
#ifndef LILAC_CALLBACK_H
#define LILAC_CALLBACK_H

#include "../core/sched.h"

/* Has fn(task) called soon after the future at `future` has ended (at once when it has); the
 * function is at `function`. Pushes nothing. */
void callback_when_done(lua_State *L, int future, int function);

/* Takes back every callback_when_done of that function. Returns how many there were. */
int callback_remove(lua_State *L, int future, int function);

#endif
