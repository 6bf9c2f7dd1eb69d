/*
 * How one value leads to another, in words: for errors about a value deep inside of others.
 */
#ifndef LILAC_PATH_H
#define LILAC_PATH_H

#include "../lilac.h"

/* Pushes how the table, function or error at `holder` leads to the value at `value`: "field
 * 'name'", "upvalue 'n'". Absolute indexes. */
void path_push_step(lua_State *L, int holder, int value);

/* Pushes what kind of value it is: "a Stream". */
void path_push_what(lua_State *L, int value);

#endif
