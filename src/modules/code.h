/*
 * Lua functions as they travel: what string.dump makes of them, kept with the function, so that
 * one that is sent again and again is dumped once, and loaded once by each state that gets it.
 */
#ifndef LILAC_CODE_H
#define LILAC_CODE_H

#include "../lilac.h"

/* Immutable, and shared by all threads. */
struct code;

struct code *code_ref(struct code *code);
void code_unref(struct code *code);

/* The code of the Lua function at `index`, which keeps it. Raises when memory is out. */
struct code *code_of(lua_State *L, int index);

/* Whether functions of that code are the same wherever they are loaded: they have no upvalue but
 * _ENV, which becomes the globals of the other state. */
bool code_is_plain(const struct code *code);

/* Where the function was found when it was dumped: a field of a module. NULL: nowhere. */
const char *code_module(const struct code *code);
const char *code_field(const struct code *code);

/* Pushes a new function. */
void code_load(lua_State *L, const struct code *code);

/* Pushes the function; the same again while it is in use. For a plain one. */
void code_load_plain(lua_State *L, const struct code *code);

/* Pushes the names of the module and field in which the function at `index` is found; false, and
 * nothing, when there is none. `everywhere`: also in the standard library, where the functions of
 * scripts may be that another state does not have. */
bool code_find(lua_State *L, int index, bool everywhere);

/* Opens what this needs in a state. */
void code_open(lua_State *L);

#endif
