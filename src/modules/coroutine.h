/*
 * The stock coroutine library, through which an await parks the whole task; and what the debug
 * library has to know of it.
 */
#ifndef LILAC_COROUTINE_H
#define LILAC_COROUTINE_H

#include <lua.h>
#include <stdbool.h>

/* Whether the user coroutine that runs is being closed by coroutine.close. */
bool coroutine_is_closing(lua_State *L);

/* Whether this is the C function under the body of every task, or of every user coroutine. */
bool coroutine_is_trampoline(lua_CFunction function);

/* Pushes onto L the traceback of a coroutine that died of an error, as it was then; false, and
 * nothing, for any other. */
bool coroutine_push_last_traceback(lua_State *L, lua_State *co);

/* Pushes onto L the traceback of a thread from `level` on, without its trampoline. */
void debug_push_traceback(lua_State *L, lua_State *co, int level);

#endif
