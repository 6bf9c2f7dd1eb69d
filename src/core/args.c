#include "args.h"

#include <math.h>
#include <string.h>

/* "string", "no value", "Lock": as luaL_typeerror names what came. */
static const char *type_name(lua_State *L, int index) {
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) return lua_tostring(L, -1);
    return luaL_typename(L, index);
}

uint64_t seconds_to_ns(double seconds) {
    double ns = seconds * 1e9;
    if (!(ns > 0)) return 0; /* NaN too */
    /* 2^64 is a double, and 2^64 - 1 is none. */
    if (ns >= 18446744073709551616.0) return NEVER_NS;
    return (uint64_t)(ns + 0.5);
}

uint64_t args_duration_ns(lua_State *L, int arg) {
    double seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, !isnan(seconds), arg, "number of seconds expected, got nan");
    return seconds_to_ns(seconds);
}

/* The integer at `index`, which is (part of) argument `arg`, and is called `what`. */
static lua_Integer check_integer(lua_State *L, int index, int arg, const char *what) {
    int is_integer;
    lua_Integer value = lua_tointegerx(L, index, &is_integer);
    if (is_integer) return value;
    const char *got =
        lua_type(L, index) == LUA_TNUMBER ? luaL_tolstring(L, index, NULL) : type_name(L, index);
    return luaL_argerror(L, arg, lua_pushfstring(L, "%s: integer expected, got %s", what, got));
}

static void check_range(lua_State *L, int arg, const char *what, lua_Integer value,
                        const lua_Integer range[2]) {
    LUAI_UACINT min = range[0], max = range[1];
    if (value >= min && value <= max) return;
    const char *wanted = max == LUA_MAXINTEGER   ? lua_pushfstring(L, "at least %I", min)
                         : min == LUA_MININTEGER ? lua_pushfstring(L, "at most %I", max)
                                                 : lua_pushfstring(L, "%I to %I", min, max);
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s must be %s, got %I", what, wanted, (LUAI_UACINT)value));
}

lua_Integer args_integer(lua_State *L, int arg, const char *what, lua_Integer min,
                         lua_Integer max) {
    lua_Integer value = check_integer(L, arg, arg, what);
    check_range(L, arg, what, value, (lua_Integer[]){min, max});
    return value;
}

void args_value(lua_State *L, int arg, const char *what) {
    if (!lua_isnoneornil(L, arg)) return;
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s: value expected, got %s", what, luaL_typename(L, arg)));
}

static void check_callable(lua_State *L, int arg, const char *hint) {
    if (lua_isfunction(L, arg)) return;
    if (luaL_getmetafield(L, arg, "__call") == LUA_TNIL) {
        const char *got = type_name(L, arg);
        luaL_argerror(L, arg, lua_pushfstring(L, "function expected, got %s%s", got, hint));
    }
    lua_pop(L, 1);
}

void args_callable(lua_State *L, int arg) {
    check_callable(L, arg, "");
}

void args_body(lua_State *L, int arg) {
    check_callable(L, arg, "; write create_task(f, x) for a task that calls f(x)");
}

/* ---- options --------------------------------------------------------------------------------- */

static bool is_known(const char *name, const char *const *known) {
    for (; *known; known++) {
        if (strcmp(name, *known) == 0) return true;
    }
    return false;
}

/* The key is on top of the stack. */
static void unknown_option(lua_State *L, int arg, const char *const *known) {
    luaL_Buffer text;
    const char *key = lua_type(L, -1) == LUA_TSTRING
                          ? lua_pushfstring(L, "'%s'", lua_tostring(L, -1))
                          : lua_pushfstring(L, "[%s]", luaL_tolstring(L, -1, NULL));
    luaL_buffinit(L, &text);
    for (const char *const *name = known; *name; name++) {
        if (name != known) luaL_addstring(&text, ", ");
        luaL_addstring(&text, *name);
    }
    luaL_pushresult(&text);
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "unknown option %s; known: %s", key, lua_tostring(L, -1)));
}

bool args_options(lua_State *L, int arg, const char *const *known) {
    if (lua_isnoneornil(L, arg)) return false;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        lua_pop(L, 1);
        /* The type first: lua_tostring would turn a number into a string, and confuse lua_next. */
        if (lua_type(L, -1) != LUA_TSTRING || !is_known(lua_tostring(L, -1), known)) {
            unknown_option(L, arg, known);
        }
    }
    return true;
}

/* Pushes the option; false, and nothing pushed, where it is absent. */
static bool push_option(lua_State *L, int arg, const char *name) {
    if (!lua_istable(L, arg)) return false;
    if (lua_getfield(L, arg, name) != LUA_TNIL) return true;
    lua_pop(L, 1);
    return false;
}

/* Raises "option 'backlog': boolean expected, got string" for the option on top of the stack. */
static void option_type_error(lua_State *L, int arg, const char *name, const char *expected) {
    luaL_argerror(
        L, arg,
        lua_pushfstring(L, "option '%s': %s expected, got %s", name, expected, type_name(L, -1)));
}

bool args_option_boolean(lua_State *L, int arg, const char *name, bool otherwise) {
    if (!push_option(L, arg, name)) return otherwise;
    if (!lua_isboolean(L, -1)) option_type_error(L, arg, name, "boolean");
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

lua_Integer args_option_count(lua_State *L, int arg, const char *name, lua_Integer otherwise,
                              lua_Integer max) {
    if (!push_option(L, arg, name)) return otherwise;
    int index = lua_gettop(L);
    const char *what = lua_pushfstring(L, "option '%s'", name);
    lua_Integer value = check_integer(L, index, arg, what);
    check_range(L, arg, what, value, (lua_Integer[]){1, max});
    lua_settop(L, index - 1);
    return value;
}

const char *args_option_string(lua_State *L, int arg, const char *name, const char *otherwise) {
    if (!push_option(L, arg, name)) return lua_pushstring(L, otherwise);
    if (lua_type(L, -1) != LUA_TSTRING) option_type_error(L, arg, name, "string");
    return lua_tostring(L, -1);
}
