/* What the limits share: a bare Lua state, a bare resume, a clock. Each limit is one C program that
 * does the work of its lilac.lua with nothing but Lua's C API (or libuv's), in the same Lua code
 * where there is Lua code, and prints the published number. */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* CPU seconds, user and system, of this process so far: what os.clock() tells a script. */
static inline double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The count every program is given as its first argument. */
static inline long limit_count(int argc, char **argv) {
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (count > 0) return count;
    fprintf(stderr, "usage: %s count\n", argv[0]);
    exit(2);
}

static inline void limit_check(lua_State *L, int status) {
    if (status == LUA_OK || status == LUA_YIELD) return;
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
}

/* A new state with `functions` as globals and what `source` returns from index 1 on. */
static inline lua_State *limit_open(const luaL_Reg *functions, const char *source) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    for (; functions->name; functions++)
        lua_register(L, functions->name, functions->func);
    limit_check(L, luaL_loadstring(L, source));
    lua_call(L, 0, LUA_MULTRET);
    return L;
}

/* A new coroutine, anchored on the stack of L, whose body is the function at index `body`. */
static inline lua_State *limit_spawn(lua_State *L, int body) {
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, body);
    lua_xmove(L, co, 1);
    return co;
}

/* Resumes with `nargs` values from the stack of `co`, whose yields carry none; false at its end. */
static inline bool limit_resume(lua_State *L, lua_State *co, int nargs) {
    int nresults;
    int status = lua_resume(co, L, nargs, &nresults);
    limit_check(co, status);
    return status == LUA_YIELD;
}

#endif
