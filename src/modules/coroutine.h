/*
 * The stock coroutine library, through which an await parks the whole task.
 */
#ifndef LILAC_COROUTINE_H
#define LILAC_COROUTINE_H

#include <lua.h>
#include <stdbool.h>

/* Whether the user coroutine that runs is being closed by coroutine.close. */
bool coroutine_is_closing(lua_State *L);

#endif
