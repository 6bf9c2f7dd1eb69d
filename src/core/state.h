/*
 * A Lua state as the interpreter needs it: what luaL_newstate makes, on lilac's own allocator.
 */
#ifndef LILAC_STATE_H
#define LILAC_STATE_H

#include <lua.h>

/* A state that may take `limit` bytes; 0: as many as there are. NULL: out of memory. */
lua_State *state_open(size_t limit);

void state_close(lua_State *L);

/* Collects when more than half of the limit is taken. Lua's buffers, as of string.rep, fail where
 * other requests have the garbage collected: what a job has left is to be no end of the next. */
void state_make_room(lua_State *L);

/* NULL: a state that state_open has not made. */
struct allocator *state_allocator(lua_State *L);

#endif
