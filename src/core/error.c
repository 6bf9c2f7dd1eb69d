#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERROR_MAGIC 0x4c664572u

/* In the registry, where an address would take twice as long to find: the metatable; the fields of
 * errors without a uservalue, by who holds them; and the function that tells who that is. */
enum { METATABLE_KEY = ERROR_MAGIC, FIELDS_KEY, HOLDER_KEY };

enum { CANCELLED = 1, TIMEOUT = 2 }; /* places in `classes` */

static const struct {
    const char *name, *parent;
} classes[] = {
    {"Error", NULL},
    {"CancelledError", "Error"},
    {"TimeoutError", "OSError"}, /* as in Python, where ETIMEDOUT raises it too */
    {"InvalidStateError", "Error"},
    {"ClosedError", "Error"},
    {"ProcessError", "Error"},
    {"QueueEmpty", "Error"},
    {"QueueFull", "Error"},
    {"QueueShutDown", "Error"},
    {"BrokenBarrierError", "Error"},
    {"DeadlockError", "Error"},
    {"IncompleteReadError", "Error"},
    {"LimitOverrunError", "Error"},
    {"ExceptionGroup", "Error"},
    {"OSError", "Error"},
    {"TLSError", "OSError"},
    {"DNSError", "OSError"},
    {"ConnectionError", "OSError"},
    {"ConnectionRefusedError", "ConnectionError"},
    {"ConnectionResetError", "ConnectionError"},
    {"ConnectionAbortedError", "ConnectionError"},
    {"BrokenPipeError", "ConnectionError"},
    {"FileNotFoundError", "OSError"},
    {"FileExistsError", "OSError"},
    {"IsADirectoryError", "OSError"},
    {"NotADirectoryError", "OSError"},
    {"PermissionError", "OSError"},
    {"AddressInUseError", "OSError"},
    {"BlockingIOError", "OSError"},
    {"ChildProcessError", "OSError"},
    {"InterruptedError", "OSError"},
    {"ProcessLookupError", "OSError"},
};

#define CLASSES (sizeof classes / sizeof *classes)

static const struct {
    int code;
    const char *class_name;
} system_classes[] = {
    {UV_ECONNREFUSED, "ConnectionRefusedError"},
    {UV_ECONNRESET, "ConnectionResetError"},
    {UV_ECONNABORTED, "ConnectionAbortedError"},
    {UV_EPIPE, "BrokenPipeError"},
    {UV_ESHUTDOWN, "BrokenPipeError"},
    {UV_ENOENT, "FileNotFoundError"},
    {UV_EEXIST, "FileExistsError"},
    {UV_EISDIR, "IsADirectoryError"},
    {UV_ENOTDIR, "NotADirectoryError"},
    {UV_EACCES, "PermissionError"},
    {UV_EPERM, "PermissionError"},
    {UV_EADDRINUSE, "AddressInUseError"},
    {UV_EAGAIN, "BlockingIOError"},
    {UV_EALREADY, "BlockingIOError"},
    {UV_EINTR, "InterruptedError"},
    {UV_ESRCH, "ProcessLookupError"},
    {UV_ETIMEDOUT, "TimeoutError"},
};

/* The index of a class, or -1. */
static int class_find(const char *name) {
    for (size_t i = 0; i < CLASSES; i++)
        if (strcmp(classes[i].name, name) == 0) return (int)i;
    return -1;
}

static bool class_is(int index, const char *name) {
    for (const char *at = classes[index].name; at; at = classes[class_find(at)].parent)
        if (strcmp(at, name) == 0) return true;
    return false;
}

static const char *system_class(int code) {
    if (code <= UV_EAI_ADDRFAMILY && code >= UV_EAI_PROTOCOL) return "DNSError";
    for (size_t i = 0; i < sizeof system_classes / sizeof *system_classes; i++)
        if (system_classes[i].code == code) return system_classes[i].class_name;
    return "OSError";
}

static struct error *push_error(lua_State *L, int class_index, bool is_plain) {
    struct error *error = lua_newuserdatauv(L, sizeof *error, !is_plain);
    *error = (struct error){.magic = ERROR_MAGIC, .class_index = (uint8_t)class_index};
    lua_rawgeti(L, LUA_REGISTRYINDEX, METATABLE_KEY);
    lua_setmetatable(L, -2);
    return error;
}

struct error *error_new(lua_State *L, const char *class_name) {
    struct error *error = push_error(L, class_find(class_name), false);
    lua_insert(L, -2);
    error_set_field(L, -2, "message");
    return error;
}

struct error *error_new_cancelled(lua_State *L, uint32_t task_id, bool is_plain,
                                  const struct cancel_origin *origin) {
    struct error *error = push_error(L, CANCELLED, is_plain);
    error->task_id = task_id;
    error->origin = *origin;
    return error;
}

void error_become_timeout(struct error *cancelled) {
    cancelled->class_index = TIMEOUT;
    cancelled->task_id = CANCELLED_FUTURE;
    cancelled->by_scope = false;
}

void error_new_system(lua_State *L, int code) {
    const char *what = lua_tostring(L, -1);
    size_t word = strcspn(what, " :");
    lua_pushlstring(L, what, word);
    lua_pushfstring(L, "%s: %s (%s)", what, uv_strerror(code), uv_err_name(code));
    lua_remove(L, -3);
    error_new(L, system_class(code));
    lua_insert(L, -2);
    error_set_field(L, -2, "syscall");
    lua_pushstring(L, uv_err_name(code));
    error_set_field(L, -2, "code");
    lua_pushinteger(L, -code);
    error_set_field(L, -2, "errno");
}

struct error *error_new_like(lua_State *L, const struct error *other) {
    struct error *error = push_error(L, other->class_index, false);
    error->origin = other->origin;
    return error;
}

struct error *error_test(lua_State *L, int index) {
    struct error *error = lua_touserdata(L, index);
    /* The length of a light userdata is 0: it is never followed. */
    bool fits = error && lua_rawlen(L, index) == sizeof *error;
    return fits && error->magic == ERROR_MAGIC ? error : NULL;
}

bool error_is(lua_State *L, int index, const char *class_name) {
    struct error *error = error_test(L, index);
    return error && class_is(error->class_index, class_name);
}

void error_set_holder(lua_State *L, lua_CFunction holder) {
    lua_pushcfunction(L, holder);
    lua_rawseti(L, LUA_REGISTRYINDEX, HOLDER_KEY);
}

/* Pushes who has the fields of the error at `index`, which has no uservalue. */
static void push_holder(lua_State *L, int index, bool is_set) {
    const struct error *error = lua_touserdata(L, index);
    if (!error->is_shared) {
        lua_pushvalue(L, index);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, HOLDER_KEY);
    lua_pushvalue(L, index);
    lua_pushboolean(L, is_set);
    lua_call(L, 2, 1);
}

/* Gives the error at `index` a table of fields, and pushes that. */
static void make_fields(lua_State *L, int index) {
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -1);
    if (lua_setiuservalue(L, index, 1)) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, FIELDS_KEY);
    push_holder(L, index, true);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

bool error_push_fields(lua_State *L, int index) {
    index = lua_absindex(L, index);
    if (lua_getiuservalue(L, index, 1) == LUA_TNONE) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, FIELDS_KEY);
        push_holder(L, index, false);
        lua_rawget(L, -2);
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
    return !lua_isnil(L, -1);
}

void error_take_fields(lua_State *L, int index) {
    index = lua_absindex(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, FIELDS_KEY);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    lua_setiuservalue(L, -3, 1);
    lua_pop(L, 1);
}

void error_set_field(lua_State *L, int index, const char *name) {
    index = lua_absindex(L, index);
    if (!error_push_fields(L, index)) {
        lua_pop(L, 1);
        make_fields(L, index);
    }
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

void error_push_field(lua_State *L, int index, const char *name) {
    if (!error_push_fields(L, index)) return;
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

void error_add_traceback(lua_State *L, int index, int level) {
    index = lua_absindex(L, index);
    error_push_field(L, index, "traceback");
    bool has = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (has) return;
    luaL_checkstack(L, LUA_MINSTACK, "traceback"); /* luaL_traceback takes them for granted */
    luaL_traceback(L, L, NULL, level);
    error_set_field(L, index, "traceback");
}

struct cancel_origin cancel_origin_here(lua_State *L, const char *by, double seconds) {
    return (struct cancel_origin){.by = by, .seconds = (float)seconds, .place = place_of(L, 1)};
}

/* Pushes "timeout(5) at crawl.lua:10". */
static const char *push_origin(lua_State *L, const struct cancel_origin *origin) {
    char by[64], place[PLACE_TEXT];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(by, sizeof by, origin->by, origin->seconds);
#pragma GCC diagnostic pop
    place_text(origin->place, " at ", place, sizeof place);
    return lua_pushfstring(L, "%s%s", by, place);
}

/* Pushes the message of the error at `index`: a cancellation tells first where it comes from. */
static void push_message(lua_State *L, int index, const struct error *error) {
    index = lua_absindex(L, index);
    error_push_field(L, index, "message");
    if (!error->origin.by) return;
    const char *by = push_origin(L, &error->origin);
    if (error->class_index == TIMEOUT) {
        if (lua_isnil(L, -2))
            lua_pushfstring(L, "%s expired", by);
        else
            lua_pushvalue(L, -2);
    } else if (lua_isnil(L, -2)) {
        lua_pushfstring(L, "cancelled by %s", by);
    } else {
        lua_pushfstring(L, "cancelled by %s: %s", by, luaL_tolstring(L, -2, NULL));
    }
}

const char *error_push_text(lua_State *L, int index) {
    index = lua_absindex(L, index);
    if (lua_type(L, index) == LUA_TSTRING) {
        lua_pushvalue(L, index);
    } else if (lua_isnil(L, index)) {
        lua_pushliteral(L, "<no error object>");
    } else if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) {
        lua_pushvalue(L, index);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
            lua_pop(L, 1);
            lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
        }
    } else if (lua_isnumber(L, index)) {
        lua_pushvalue(L, index);
        lua_tostring(L, -1);
    } else {
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
    }
    return lua_tostring(L, -1);
}

int lilac_raise(lua_State *L, int code, const char *what, ...) {
    va_list args;
    va_start(args, what);
    lua_pushvfstring(L, what, args);
    va_end(args);
    error_new_system(L, code);
    error_add_traceback(L, -1, 1);
    return lua_error(L);
}

int lilac_throw(lua_State *L, const char *class_name, const char *message, ...) {
    va_list args;
    va_start(args, message);
    lua_pushvfstring(L, message, args);
    va_end(args);
    error_new(L, class_name);
    error_add_traceback(L, -1, 1);
    return lua_error(L);
}

/* ---- lilac.errors ---------------------------------------------------------------------------- */

static struct error *check_error(lua_State *L, int arg) {
    struct error *error = error_test(L, arg);
    if (!error) luaL_typeerror(L, arg, "lilac error");
    return error;
}

static int check_class(lua_State *L, int arg) {
    const char *name = luaL_checkstring(L, arg);
    int index = class_find(name);
    if (index < 0) luaL_argerror(L, arg, lua_pushfstring(L, "unknown error class '%s'", name));
    return index;
}

static int error_index(lua_State *L) {
    struct error *error = check_error(L, 1);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "name") == 0)
        lua_pushstring(L, classes[error->class_index].name);
    else if (strcmp(key, "message") == 0)
        push_message(L, 1, error);
    else
        error_push_field(L, 1, key);
    return 1;
}

static int error_newindex(lua_State *L) {
    check_error(L, 1);
    const char *key = luaL_checkstring(L, 2);
    luaL_argcheck(L, strcmp(key, "name") != 0, 2, "the name of an error cannot be changed");
    lua_settop(L, 3);
    error_set_field(L, 1, key);
    return 0;
}

static int error_tostring(lua_State *L) {
    struct error *error = check_error(L, 1);
    push_message(L, 1, error);
    lua_pushfstring(L, "%s: %s", classes[error->class_index].name, luaL_tolstring(L, -1, NULL));
    return 1;
}

/* "it failed: " .. err: what code that reports errors does with them, when they are strings. */
static int error_concat(lua_State *L) {
    for (int arg = 1; arg <= 2; arg++) {
        if (!lua_isstring(L, arg) && !error_test(L, arg))
            return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, arg));
        luaL_tolstring(L, arg, NULL);
    }
    lua_concat(L, 2);
    return 1;
}

/* errors.is(err, class) */
static int errors_is(lua_State *L) {
    luaL_checkany(L, 1);
    const char *name = classes[check_class(L, 2)].name;
    lua_pushboolean(L, error_is(L, 1, name));
    return 1;
}

/* errors.new(class, message [, fields]): an object to be raised with error(). */
static int errors_new(lua_State *L) {
    const char *name = classes[check_class(L, 1)].name;
    luaL_checkstring(L, 2);
    lua_settop(L, 3);
    if (!lua_isnil(L, 3)) luaL_checktype(L, 3, LUA_TTABLE);
    lua_pushvalue(L, 2);
    error_new(L, name);
    if (lua_isnil(L, 3)) return 1;
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) luaL_argerror(L, 3, "names of fields are strings");
        lua_pushvalue(L, -1);
        error_set_field(L, -4, lua_tostring(L, -3));
    }
    return 1;
}

int luaopen_lilac_errors(lua_State *L) {
    static const luaL_Reg meta[] = {{"__index", error_index},
                                    {"__newindex", error_newindex},
                                    {"__tostring", error_tostring},
                                    {"__concat", error_concat},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"is", errors_is}, {"new", errors_new}, {NULL, NULL}};
    luaL_newmetatable(L, "lilac.Error");
    lua_pushliteral(L, "Error");
    lua_setfield(L, -2, "__name");
    luaL_setfuncs(L, meta, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, METATABLE_KEY);
    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawseti(L, LUA_REGISTRYINDEX, FIELDS_KEY);
    luaL_newlib(L, functions);
    return 1;
}
