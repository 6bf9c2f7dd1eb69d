/*
 * What takes the place of stock functions, and behaves like them but for one thing each: `pcall`
 * and `xpcall` let the running task's own cancellation pass; `require` may await; `os.exit` shuts
 * down in order; `print` writes a line at once. Where there is no task they are the stock
 * functions.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../core/interrupt.h"
#include "../core/runtime.h"
#include "builtin.h"
#include "coroutine.h"

/* ---- pcall, xpcall --------------------------------------------------------------------------- */

/* The context of a protected call: how many stack slots are not results, and whether the coroutine
 * was being closed already when the call began. */
#define WAS_CLOSING 16

static lua_KContext protection(lua_State *L, int extra) {
    return extra | (coroutine_is_closing(L) ? WAS_CLOSING : 0);
}

/* What must not be caught here: the task's own cancellation, and whatever unwinds a coroutine that
 * coroutine.close closes. */
static bool passes(lua_State *L, lua_KContext context) {
    if (coroutine_is_closing(L) && !(context & WAS_CLOSING)) return true;
    return task_is_own_cancellation(L, -1);
}

static int protected_done(lua_State *L, int status, lua_KContext context) {
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - (int)(context % WAS_CLOSING);
    if (passes(L, context)) return lua_error(L);
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int base_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    lua_KContext context = protection(L, 0);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, context, protected_done);
    return protected_done(L, status, context);
}

/* [handler, handler in force, …, error] → error. A cancellation hides the handler from itself; if
 * it has become a TimeoutError since, that is for the handler after all. */
static void call_hidden_handler(lua_State *L) {
    if (lua_rawequal(L, 1, 2) || !error_is(L, -1, "TimeoutError")) return;
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_pcall(L, 1, 1, 0);
}

static int xprotected_done(lua_State *L, int status, lua_KContext context) {
    bool failed = status != LUA_OK && status != LUA_YIELD;
    runtime_of(L)->xpcalls--;
    if (failed && !passes(L, context)) call_hidden_handler(L);
    return protected_done(L, status, context);
}

static int base_xpcall(lua_State *L) {
    int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* function, handler, true, function, arguments */
    lua_copy(L, 2, 1);
    lua_KContext context = protection(L, 2);
    runtime_of(L)->xpcalls++;
    int status = lua_pcallk(L, arguments, LUA_MULTRET, 2, context, xprotected_done);
    return xprotected_done(L, status, context);
}

static int take_own(lua_State *L) {
    task_unshare(L, task_running(L));
    return 1;
}

/* lilac.pcall: catches everything. An os.exit is put off by that, to the next await. What is caught
 * may go anywhere, so a cancellation that others have too becomes one of its own. */
static int plain_done(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L);
    struct task *task = task_running(L);
    bool is_own = task_is_own_cancellation(L, -1);
    if (is_own && task->leaving) {
        task->leaving = false;
        task_rearm(L, task, -1);
    }
    if (is_own && error_test(L, -1)->is_shared) {
        lua_pushcfunction(L, take_own);
        lua_insert(L, -2);
        lua_pcall(L, 1, 1, 0);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int plain_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, plain_done);
    return plain_done(L, status, 0);
}

/* ---- require --------------------------------------------------------------------------------- */

/* require(name): the stock one, but the searchers and the loader may await. Upvalue 1 is the table
 * `package`; upvalue 2 is the function of lua/lilac/loader.lua, once it was needed.
 *
 * The stack is [name, guard, searchers, what was tried], and then what the last call has returned.
 */
enum { NAME = 1, GUARD, SEARCHERS, TRIED };

/* Which call it was: from 1 on, that of a searcher. */
enum { ENTERED = 0, LOADED = -1 };

/* […, loader data, result of the loader] → the module, loader data */
static int require_done(lua_State *L) {
    const char *name = lua_tostring(L, NAME);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(L, -2);
    if (lua_isnil(L, -1))
        lua_pop(L, 1);
    else
        lua_setfield(L, -2, name);
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pushboolean(L, 1);
        lua_copy(L, -1, -2);
        lua_setfield(L, -3, name);
    }
    lua_remove(L, -2);
    lua_insert(L, -2);
    return 2;
}

/* Adds what a searcher has returned in place of a loader to what was tried. */
static void note_tried(lua_State *L) {
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) {
        lua_pushfstring(L, "%s\n\t%s", lua_tostring(L, TRIED), lua_tostring(L, -1));
        lua_replace(L, TRIED);
    }
    lua_settop(L, TRIED);
}

static int require_step(lua_State *L, int status, lua_KContext call) {
    (void)status;
    if (call == LOADED) return require_done(L);
    if (call == ENTERED) {
        if (lua_isnil(L, GUARD)) { /* another task has loaded it meanwhile */
            lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
            lua_getfield(L, -1, lua_tostring(L, NAME));
            return 1;
        }
        lua_toclose(L, GUARD);
        if (lua_getfield(L, lua_upvalueindex(1), "searchers") != LUA_TTABLE)
            return luaL_error(L, "'package.searchers' must be a table");
        lua_pushliteral(L, "");
    } else if (lua_isfunction(L, -2)) {
        lua_insert(L, -2);
        lua_pushvalue(L, NAME);
        lua_pushvalue(L, -3); /* data, loader, name, data */
        lua_callk(L, 2, 1, LOADED, require_step);
        return require_done(L);
    } else {
        note_tried(L);
    }
    lua_KContext next = call + 1;
    if (lua_rawgeti(L, SEARCHERS, next) == LUA_TNIL)
        return luaL_error(L, "module '%s' not found:%s", lua_tostring(L, NAME),
                          lua_tostring(L, TRIED));
    lua_pushvalue(L, NAME);
    lua_callk(L, 1, 2, next, require_step);
    return require_step(L, LUA_OK, next);
}

static int base_require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, 2, name);
    if (lua_toboolean(L, 3)) return 1;
    lua_settop(L, 2);
    if (lua_isnil(L, lua_upvalueindex(2))) {
        builtin_load(L, "lilac.loader");
        lua_call(L, 0, 1);
        lua_replace(L, lua_upvalueindex(2));
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 2); /* name, enter, loaded */
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    lua_callk(L, 2, 1, ENTERED, require_step);
    return require_step(L, LUA_OK, ENTERED);
}

/* ---- os.exit --------------------------------------------------------------------------------- */

/* os.exit([code [, close]]): begins the shutdown and unwinds the running task, so that its <close>
 * variables run as those of all others do. Upvalue 1 is the stock function. */
static int base_exit(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    int code = lua_isboolean(L, 1) ? (lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE)
                                   : (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    struct task *task = runtime->current;
    if (!runtime->running && !runtime->main) {
        lua_settop(L, 2);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 2, 0);
    }
    if (!runtime->exiting) runtime->exit_code = code;
    runtime->exiting = true;
    struct cancel_origin origin = cancel_origin_here(L, "os.exit()", 0);
    if (!task) { /* a callback */
        error_new_cancelled(L, CANCELLED_CALLBACK, true, &origin);
        return lua_error(L);
    }
    task->leaving = lua_isyieldable(L); /* else a finaliser may swallow the error */
    task_cancel(task, &origin, LUA_NOREF);
    return task_raise_cancellation(L, task, 0);
}

/* ---- print ----------------------------------------------------------------------------------- */

/* print(…): threads that print at the same time do not get into one another's lines. */
static int base_print(lua_State *L) {
    int count = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1) luaL_addchar(&line, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_addchar(&line, '\n');
    fwrite(luaL_buffaddr(&line), 1, luaL_bufflen(&line), stdout);
    fflush(stdout);
    return 0;
}

/* Names C functions that may be awaited across, so that the error which names an obstacle passes
 * over them. */
static void set_transparent(lua_State *L, int table, const char *const *names) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->transparent_ref);
    for (; *names; names++) {
        if (lua_getfield(L, table, *names) == LUA_TNIL) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

int luaopen_lilac_base(lua_State *L) {
    static const char *const transparent[] = {"pcall", "xpcall", "require", "dofile", NULL};
    lua_newtable(L);
    lua_pushglobaltable(L);
    lua_pushcfunction(L, plain_pcall);
    lua_setfield(L, -3, "pcall");
    lua_pushcfunction(L, base_pcall);
    lua_setfield(L, -2, "pcall");
    lua_pushcfunction(L, base_xpcall);
    lua_setfield(L, -2, "xpcall");
    if (!runtime_of(L)->options.is_guest) { /* a host may have a `print` of its own */
        lua_pushcfunction(L, base_print);
        lua_setfield(L, -2, "print");
    }
    lua_getglobal(L, "package");
    lua_pushnil(L);
    lua_pushcclosure(L, base_require, 2);
    lua_setfield(L, -2, "require");
    set_transparent(L, lua_gettop(L), transparent);
    set_transparent(L, lua_gettop(L) - 1, transparent);
    lua_getfield(L, -1, "os");
    lua_getfield(L, -1, "exit");
    lua_pushcclosure(L, base_exit, 1);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 2);
    runtime_of(L)->xpcall = base_xpcall;
    return 1;
}
