/*
 * Context variables, for those who take them to other threads.
 */
#ifndef LILAC_CONTEXT_H
#define LILAC_CONTEXT_H

#include <lua.h>
#include <stdint.h>

/* The identity of the ContextVar at `index`, a userdata, which is the same in all threads; 0: it is
 * none. */
uint64_t context_variable(lua_State *L, int index);

/* Pushes the ContextVar of that identity, with uservalues (name, default) to be set. */
void context_push_variable(lua_State *L, uint64_t identity);

/* Pushes the variables of the running task, a table that must not be changed, or nil; pops such a
 * table and makes it theirs. */
void context_push_all(lua_State *L);
void context_set_all(lua_State *L);

#endif
