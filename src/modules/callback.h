/*
 * Plain callbacks on the ready queue: call_soon, call_later, call_at, done callbacks. They run
 * outside of any task and must not await.
 */
#ifndef LILAC_CALLBACK_H
#define LILAC_CALLBACK_H

#include "../core/sched.h"

struct callback;

/* Has fn(task) called soon after the future at `future` has ended (at once when it has); the
 * function is at `function`. Pushes nothing. */
void callback_when_done(lua_State *L, int future, int function);

/* Takes back every callback_when_done of that function. Returns how many there were. */
int callback_remove(lua_State *L, int future, int function);

/* For C code that has a function called again and again: replaces the function and its `count - 1`
 * arguments on top of the stack by a Handle, which lives until it is cancelled. */
struct callback *callback_standing(lua_State *L, int count);

/* Has it called soon, once however often this is said before it runs. Plain C. */
void callback_fire(struct callback *callback);

/* It is not called any more. Twice is fine. Pushes nothing. */
void callback_cancel(lua_State *L, struct callback *callback);

#endif
