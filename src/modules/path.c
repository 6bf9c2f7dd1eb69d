#include "path.h"

#include <string.h>

/* Pushes "field 'name'", "field [3]", for the key at `key`. */
static void push_key(lua_State *L, int key) {
    if (lua_type(L, key) == LUA_TSTRING)
        lua_pushfstring(L, "field '%s'", lua_tostring(L, key));
    else if (lua_isinteger(L, key))
        lua_pushfstring(L, "field [%I]", (LUAI_UACINT)lua_tointeger(L, key));
    else if (lua_type(L, key) == LUA_TNUMBER)
        lua_pushfstring(L, "field [%f]", lua_tonumber(L, key));
    else
        lua_pushfstring(L, "field of a %s key", luaL_typename(L, key));
}

/* Pushes how the table at `holder` leads to the value at `value`. */
static void push_table_step(lua_State *L, int holder, int value) {
    if (lua_getmetatable(L, holder)) {
        bool is_meta = lua_rawequal(L, -1, value);
        lua_pop(L, 1);
        if (is_meta) {
            lua_pushliteral(L, "metatable");
            return;
        }
    }
    for (lua_pushnil(L); lua_next(L, holder); lua_pop(L, 1)) {
        int key = lua_gettop(L) - 1;
        bool is_key = lua_rawequal(L, key, value);
        if (!is_key && !lua_rawequal(L, key + 1, value)) continue;
        if (is_key)
            lua_pushliteral(L, "a key");
        else
            push_key(L, key);
        lua_replace(L, key);
        lua_settop(L, key);
        return;
    }
    lua_pushliteral(L, "a field");
}

void path_push_step(lua_State *L, int holder, int value) {
    if (lua_istable(L, holder)) {
        push_table_step(L, holder, value);
        return;
    }
    const char *name;
    for (int i = 1; lua_isfunction(L, holder) && (name = lua_getupvalue(L, holder, i)); i++) {
        bool is_it = lua_rawequal(L, -1, value);
        lua_pop(L, 1);
        if (!is_it) continue;
        lua_pushfstring(L, "upvalue '%s'", name);
        return;
    }
    lua_pushstring(L, lua_isfunction(L, holder) ? "an upvalue" : "part of an error");
}

void path_push_what(lua_State *L, int value) {
    const char *name = luaL_typename(L, value);
    bool is_named = luaL_getmetafield(L, value, "__name") == LUA_TSTRING;
    if (is_named) name = lua_tostring(L, -1);
    if (strncmp(name, "lilac.", 6) == 0) name += 6;
    if (lua_isthread(L, value)) name = "coroutine";
    if (lua_isfunction(L, value)) name = "C function with upvalues";
    if (lua_istable(L, value)) name = "table whose metatable has __gc or __close";
    lua_pushfstring(L, "%s %s", strchr("AEIOaeio", *name) ? "an" : "a", name);
    if (is_named) lua_remove(L, -2);
}
