/*
 * Argument checks that say what was expected, what came, and the unit. All of them raise ordinary
 * Lua argument errors; none yields.
 */
#ifndef LILAC_ARGS_H
#define LILAC_ARGS_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* No deadline at all: what "infinite" seconds become. */
#define NEVER_NS UINT64_MAX

/* A duration in seconds, as nanoseconds: negative counts as 0, infinity and whatever does not fit
 * as NEVER_NS; NaN is refused. */
uint64_t args_duration_ns(lua_State *L, int arg);

/* The number of nanoseconds in so many seconds, clamped to 0 … NEVER_NS. NaN gives 0. */
uint64_t seconds_to_ns(double seconds);

/* An integer in min … max, which errors call `what`: "number of permits", "maxsize (0 for no
 * limit)". Floats with an integer value are accepted, as everywhere in Lua. */
lua_Integer args_integer(lua_State *L, int arg, const char *what, lua_Integer min, lua_Integer max);

/* Any value but nil or none; otherwise "<what>: value expected". */
void args_value(lua_State *L, int arg, const char *what);

/* A function or a callable object. */
void args_callable(lua_State *L, int arg);

/* The same for the body of a task, where those who know asyncio put a call: create_task(f(x)). */
void args_body(lua_State *L, int arg);

/* Nothing or nil, or a table all of whose keys are in `known` (NULL-terminated); an unknown key is
 * refused by name, with the known ones listed. Returns whether there is a table. */
bool args_options(lua_State *L, int arg, const char *const *known);

/* Fields of an options table at `arg`, which args_options accepted. An error names the field. When
 * the field is absent (or there is no table), the default. */
bool args_option_boolean(lua_State *L, int arg, const char *name, bool otherwise);
/* 1 … max. */
lua_Integer args_option_count(lua_State *L, int arg, const char *name, lua_Integer otherwise,
                              lua_Integer max);
/* Pushes the string, or nil for NULL. The table need not hold it: __index may have made it, and a
 * finaliser may change the table. */
const char *args_option_string(lua_State *L, int arg, const char *name, const char *otherwise);

#endif
