#include "object.h"

#include <string.h>

static const char sealed_key; /* the set of sealed metatables, in the registry */

void object_seal(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sealed_key) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &sealed_key);
    }
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

bool object_is_sealed(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return false;
    bool is_sealed = false;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sealed_key) == LUA_TTABLE) {
        lua_pushvalue(L, -2);
        is_sealed = lua_rawget(L, -2) != LUA_TNIL;
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return is_sealed;
}

void object_class(lua_State *L, const char *class_name, const luaL_Reg *methods,
                  const luaL_Reg *meta) {
    luaL_newmetatable(L, class_name);
    object_seal(L);
    lua_pushstring(L, strchr(class_name, '.') + 1);
    lua_setfield(L, -2, "__name");
    if (meta) luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void *object_new(lua_State *L, const struct object_type *type, const char *class_name,
                 int uservalues) {
    void *object = lua_newuserdatauv(L, type->size, uservalues);
    memset(object, 0, type->size);
    *(const struct object_type **)object = type;
    luaL_setmetatable(L, class_name);
    return object;
}

void object_weak_table(lua_State *L, const void *key, const char *mode) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

int object_tostring(lua_State *L) {
    const char *state = lua_tostring(L, -1);
    luaL_getmetafield(L, 1, "__name");
    lua_pushfstring(L, "%s (%s): %p", lua_tostring(L, -1), state, lua_topointer(L, 1));
    return 1;
}
