#include "builtin.h"

#include <string.h>

#include "../core/error.h"
#include "../core/runtime.h"

/* Whose tables of functions make up `lilac` itself. */
static const lua_CFunction parts[] = {
    luaopen_lilac_base,     luaopen_lilac_coroutine, luaopen_lilac_debug, luaopen_lilac_task,
    luaopen_lilac_gather,   luaopen_lilac_timeout,   luaopen_lilac_group, luaopen_lilac_context,
    luaopen_lilac_callback, luaopen_lilac_sync,      luaopen_lilac_queue, luaopen_lilac_inspect,
    luaopen_lilac_channel,  luaopen_lilac_thread,
};

/* What `require` finds besides; the Lua ones are in lilac_embedded. */
/* clang-format off */
static const luaL_Reg modules[] = {
    {"lilac.child", luaopen_lilac_child},
    {"lilac.connections", luaopen_lilac_connections},
    {"lilac.content", luaopen_lilac_content},
    {"lilac.dns", luaopen_lilac_dns},
    {"lilac.file", luaopen_lilac_file},
    {"lilac.paths", luaopen_lilac_paths},
    {"lilac.pipe", luaopen_lilac_pipe},
    {"lilac.scandir", luaopen_lilac_scandir},
    {"lilac.signal", luaopen_lilac_signal},
    {"lilac.stdio", luaopen_lilac_stdio},
    {"lilac.tcp", luaopen_lilac_tcp},
    {"lilac.testing", luaopen_lilac_testing},
    {"lilac.tls", luaopen_lilac_tls},
    {"lilac.udp", luaopen_lilac_udp},
    {"lilac.unix", luaopen_lilac_unix},
    {"lilac.watch", luaopen_lilac_watch},
    {NULL, NULL},
};
/* clang-format on */

bool builtin_load(lua_State *L, const char *name) {
    for (const luaL_Reg *module = modules; module->name; module++) {
        if (strcmp(module->name, name) != 0) continue;
        lua_pushcfunction(L, module->func);
        return true;
    }
    for (const struct lilac_embedded *module = lilac_embedded; module->name; module++) {
        if (strcmp(module->name, name) != 0) continue;
        lua_pushfstring(L, "=[%s]", name);
        if (luaL_loadbuffer(L, (const char *)module->source, module->length, lua_tostring(L, -1)))
            lua_error(L);
        lua_remove(L, -2);
        return true;
    }
    return false;
}

/* The searcher for package.searchers. */
static int search_builtin(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    if (builtin_load(L, name)) {
        lua_pushliteral(L, ":lilac:");
        return 2;
    }
    if (strncmp(name, "lilac", 5) != 0) return 0; /* the error reads as in stock Lua */
    lua_pushfstring(L, "no module '%s' in lilac", name);
    return 1;
}

/* __index of `lilac`: modules are fields of it, loaded at first use. */
static int load_field(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_type(L, 2) != LUA_TSTRING) return 0;
    const char *name = lua_pushfstring(L, "lilac.%s", lua_tostring(L, 2));
    if (!builtin_load(L, name)) return 0;
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

static void add_searcher(lua_State *L) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) { /* after package.preload */
        lua_geti(L, -1, i);
        lua_seti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_builtin);
    lua_seti(L, -2, 2);
    lua_pop(L, 2);
}

/* Lua makes the metatable of its large buffers when it first needs one. Without memory for all of
 * it then, string.rep and others would never work again. */
static void make_buffer_metatable(lua_State *L) {
    luaL_Buffer buffer;
    luaL_buffinitsize(L, &buffer, LUAL_BUFFERSIZE + 1);
    luaL_pushresultsize(&buffer, 0);
    lua_pop(L, 1);
}

void lilac_open_modules(lua_State *L) {
    make_buffer_metatable(L);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, load_field);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        lua_pushcfunction(L, parts[i]);
        lua_call(L, 0, 1);
        for (lua_pushnil(L); lua_next(L, -2);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -5);
        }
        lua_pop(L, 1);
    }
    luaL_requiref(L, "lilac.errors", luaopen_lilac_errors, 0); /* the runtime has opened it */
    lua_setfield(L, -2, "errors");
    lua_pushliteral(L, LILAC_VERSION);
    lua_setfield(L, -2, "_VERSION");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "lilac");
    lua_pop(L, 2);
    add_searcher(L);
}

/* lilac as a module of another Lua host: the same, without the interpreter around it. */
int luaopen_lilac(lua_State *L) {
    static const struct runtime_options options = {.grace_s = 10, .is_guest = true};
    runtime_open(L, &options);
    lilac_open_modules(L);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lilac");
    return 1;
}
