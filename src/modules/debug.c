/*
 * debug.*: the stock functions, but the trampoline under the body of every coroutine and task is
 * not there, and the traceback of a coroutine that died of an error is that of its last moment.
 * What lilac's objects and the C functions that wait keep alive cannot be taken from them.
 */
#include <limits.h>
#include <lualib.h>
#include <string.h>

#include "../core/object.h"
#include "builtin.h"
#include "coroutine.h"
#include "path.h"

/* How many levels luaL_traceback shows before and after those it skips. */
enum { FIRST_LEVELS = 10, LAST_LEVELS = 11 };

static bool has_level(lua_State *co, int level) {
    lua_Debug ar;
    return lua_getstack(co, level, &ar) != 0;
}

/* Whether there is a level, and it is a trampoline. */
static bool is_trampoline(lua_State *co, int level) {
    lua_Debug ar;
    if (!lua_getstack(co, level, &ar) || has_level(co, level + 1)) return false;
    if (!lua_checkstack(co, 1)) return false;
    lua_getinfo(co, "f", &ar);
    lua_CFunction function = lua_tocfunction(co, -1);
    lua_pop(co, 1);
    return coroutine_is_trampoline(function);
}

/* The thread that a function of this library is about, and where its other arguments begin. */
static lua_State *thread_argument(lua_State *L, int *arg) {
    bool is_other = lua_isthread(L, 1);
    *arg = is_other ? 2 : 1;
    return is_other ? lua_tothread(L, 1) : L;
}

/* ---- levels ---------------------------------------------------------------------------------- */

/* The same in all states, each of which sets them. */
static _Atomic(lua_CFunction) stock_getinfo, stock_getlocal, stock_setlocal, stock_setmetatable,
    stock_getuservalue, stock_setuservalue;

/* The level that is argument `arg`; INT_MAX for what is none. */
static int level_argument(lua_State *L, int arg) {
    int exact;
    lua_Integer level = lua_tointegerx(L, arg, &exact);
    return exact && level >= 0 && level < INT_MAX ? (int)level : INT_MAX;
}

/* Calls a stock function in this very frame, so that levels are counted as they are there; the
 * level of the trampoline becomes one that does not exist. */
static int call_stock(lua_State *L, lua_CFunction stock) {
    int arg;
    lua_State *co = thread_argument(L, &arg);
    if (is_trampoline(co, level_argument(L, arg))) {
        lua_pushinteger(L, INT_MAX);
        lua_replace(L, arg);
    }
    return stock(L);
}

static int debug_getinfo(lua_State *L) {
    return call_stock(L, stock_getinfo);
}

/* A C function has no variables, and what it has on its stack is its own, but for what a hook sees
 * passed to it, or returned. */
static int call_for_local(lua_State *L, lua_CFunction stock) {
    int arg;
    lua_Debug ar;
    lua_State *co = thread_argument(L, &arg);
    int level = level_argument(L, arg);
    bool is_there = lua_getstack(co, level, &ar) && !is_trampoline(co, level);
    if (!is_there || !lua_getinfo(co, "Sr", &ar) || *ar.what != 'C') return call_stock(L, stock);
    lua_Integer place = luaL_checkinteger(L, arg + 1) - ar.ftransfer;
    if (place >= 0 && place < ar.ntransfer) return call_stock(L, stock);
    luaL_pushfail(L);
    return 1;
}

static int debug_getlocal(lua_State *L) {
    return call_for_local(L, stock_getlocal);
}

static int debug_setlocal(lua_State *L) {
    return call_for_local(L, stock_setlocal);
}

/* ---- objects --------------------------------------------------------------------------------- */

static int change_object(lua_State *L, lua_CFunction stock, const char *what) {
    if (!object_is_sealed(L, 1)) return stock(L);
    path_push_what(L, 1);
    return luaL_argerror(L, 1, lua_pushfstring(L, "%s keeps its %s", lua_tostring(L, -1), what));
}

static int debug_setmetatable(lua_State *L) {
    return change_object(L, stock_setmetatable, "metatable");
}

static int debug_setuservalue(lua_State *L) {
    return change_object(L, stock_setuservalue, "user values");
}

static int debug_getuservalue(lua_State *L) {
    if (!object_is_sealed(L, 1)) return stock_getuservalue(L);
    luaL_pushfail(L);
    return 1;
}

/* ---- traceback ------------------------------------------------------------------------------- */

/* The bottom level of a thread, the trampoline not counted; -1: none. */
static int last_level(lua_State *co) {
    int below = 0, above = 1;
    while (has_level(co, above))
        above *= 2;
    if (!has_level(co, 0)) return -1;
    while (above - below > 1) {
        int middle = below + (above - below) / 2;
        if (has_level(co, middle))
            below = middle;
        else
            above = middle;
    }
    return is_trampoline(co, below) ? below - 1 : below;
}

/* Replaces the traceback on top of the stack by its lines: not the heading, not the last `less`. */
static void keep_lines(lua_State *L, int less) {
    const char *text = lua_tostring(L, -1), *lines = strchr(text, '\n');
    const char *end = text + strlen(text);
    for (; lines && less > 0; less--)
        while (*--end != '\n')
            continue;
    lua_pushlstring(L, lines ? lines : "", lines ? (size_t)(end - lines) : 0);
    lua_remove(L, -2);
}

void debug_push_traceback(lua_State *L, lua_State *co, int level) {
    luaL_checkstack(L, 8, "traceback");
    int last = last_level(co), shown = FIRST_LEVELS + LAST_LEVELS;
    luaL_traceback(L, co, NULL, level);
    if (!is_trampoline(co, last + 1) || level < 0 || level > last + 1) return;
    if (last - level < shown) { /* without the trampoline, no level is to be skipped */
        keep_lines(L, 1);
        lua_pushliteral(L, "stack traceback:");
        lua_insert(L, -2);
        lua_concat(L, 2);
        return;
    }
    /* The last levels are others, and luaL_traceback has skipped one that it would not. */
    const char *text = lua_tostring(L, -1);
    lua_pushlstring(L, text, (size_t)(strstr(text, "\n\t...") - text));
    lua_remove(L, -2);
    int skipped = last - level - shown + 1;
    if (skipped > 1)
        lua_pushfstring(L, "\n\t...\t(skipping %d levels)", skipped - 1); /* as it counts */
    else
        lua_pushliteral(L, "");
    luaL_traceback(L, co, NULL, skipped > 1 ? last - LAST_LEVELS + 1 : level + FIRST_LEVELS);
    keep_lines(L, 1);
    lua_concat(L, 3);
}

/* Removes the first `count` lines below the heading of the traceback on top of the stack. */
static void drop_lines(lua_State *L, int count) {
    const char *text = lua_tostring(L, -1), *lines = strchr(text, '\n'), *rest = lines;
    for (; rest && count > 0; count--)
        rest = strchr(rest + 1, '\n');
    if (!lines || rest == lines) return;
    lua_pushlstring(L, text, (size_t)(lines - text));
    lua_pushstring(L, rest ? rest : "");
    lua_concat(L, 2);
    lua_replace(L, -2);
}

static int debug_traceback(lua_State *L) {
    int arg;
    lua_State *co = thread_argument(L, &arg);
    const char *message = lua_tostring(L, arg);
    if (!message && !lua_isnoneornil(L, arg)) {
        lua_pushvalue(L, arg);
        return 1;
    }
    lua_Integer level = luaL_optinteger(L, arg + 1, co == L ? 1 : 0);
    if (level < 0 || level > INT_MAX / 2) level = INT_MAX / 2; /* no such level */
    lua_settop(L, arg);
    if (coroutine_push_last_traceback(L, co))
        drop_lines(L, (int)level);
    else
        debug_push_traceback(L, co, (int)level);
    if (!message) return 1;
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
    return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Replaces a function of the library, which is on top of the stack; returns the stock one, whatever
 * stood there. */
static lua_CFunction replace(lua_State *L, const char *name, lua_CFunction function) {
    lua_pushcfunction(L, luaopen_debug);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, name);
    lua_CFunction stock = lua_tocfunction(L, -1);
    lua_pop(L, 2);
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
    return stock;
}

int luaopen_lilac_debug(lua_State *L) {
    lua_getglobal(L, "debug");
    replace(L, "traceback", debug_traceback);
    stock_getinfo = replace(L, "getinfo", debug_getinfo);
    stock_getlocal = replace(L, "getlocal", debug_getlocal);
    stock_setlocal = replace(L, "setlocal", debug_setlocal);
    stock_setmetatable = replace(L, "setmetatable", debug_setmetatable);
    stock_getuservalue = replace(L, "getuservalue", debug_getuservalue);
    stock_setuservalue = replace(L, "setuservalue", debug_setuservalue);
    lua_newtable(L);
    return 1;
}
