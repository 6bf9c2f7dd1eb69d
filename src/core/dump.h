/*
 * The list of the live tasks, each under the one that created it.
 */
#ifndef LILAC_DUMP_H
#define LILAC_DUMP_H

#include <lua.h>
#include <stdbool.h>

/* Pushes the list, a line each that begins with "\n": names, states, what they wait for and where,
 * the place of their creation, and how long ago that was, if asked. */
void dump_push_tasks(lua_State *L, bool with_ages);

/* Prints the list on stderr. */
void dump_print(lua_State *L);

#endif
