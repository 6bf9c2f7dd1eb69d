/*
 * The stage: where tasks wait that have not begun and for which no coroutine is idle. A value costs
 * 16 bytes there, a coroutine more than a thousand, and one that ends meanwhile serves the next: a
 * hundred thousand short tasks, created at once, need a few hundred. Task, function and arguments
 * lie on the Lua stack of a coroutine that never runs; a full one is followed by the next, and
 * given up when all on it have begun.
 */
#ifndef LILAC_STAGE_H
#define LILAC_STAGE_H

#include "sched.h"

/* Moves a function, `count` arguments and the object of their new task from the top of L, and
 * leaves the object there. Raises when there is no memory; nothing has changed then. */
void stage_put(lua_State *L, struct task *task, int count);

/* Pushes the object of a staged task. */
void stage_push(lua_State *L, const struct task *task);

/* Pushes it, the function and the arguments: task->staged values. `to` has room for them. */
void stage_push_all(lua_State *to, const struct task *task);

/* Takes a task off the stage. */
void stage_leave(struct task *task);

static inline bool stage_has(const struct task *task) {
    return !task->started && task->staged > 0;
}

#endif
