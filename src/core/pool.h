/*
 * The pool of coroutines that tasks run on: a task takes one when it begins, and gives it back when
 * it ends, for the next. To make a coroutine costs more than all else that a short task needs.
 */
#ifndef LILAC_POOL_H
#define LILAC_POOL_H

#include "sched.h"

/* The coroutine that pool_take will give, with room for so many values; NULL: none is idle, or
 * there is no memory for them. */
lua_State *pool_next(const struct runtime *runtime, int size);

/* For lua_pcall, with the size: sees to it that pool_next gives one, or raises. */
int pool_add(lua_State *L);

/* Gives pool_next's coroutine to the task whose object is on top of the stack. Cannot fail. */
void pool_take(lua_State *L, struct task *task);

/* Pushes the object of a task that has a coroutine. */
void pool_push(lua_State *L, const struct task *task);

/* Takes the coroutine of a task that has ended. It stays, clean, when there are not too many. L may
 * be the coroutine: no object is made, so nothing is collected; a value is left on its stack. */
void pool_give(lua_State *L, struct task *task);

#endif
