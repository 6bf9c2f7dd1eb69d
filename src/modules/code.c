#include "code.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../core/object.h"

struct code {
    atomic_uint references;
    uint64_t serial; /* by which states know it */
    int upvalues;
    bool is_global; /* the only upvalue is _ENV, by name */
    char *module, *field;
    size_t size, room;
    char *bytes;
};

static const char codes_key;  /* function → box of its code; weak keys */
static const char loaded_key; /* serial → plain function; weak values */
static const char box_key;    /* the boxes' metatable */

struct code *code_ref(struct code *code) {
    atomic_fetch_add(&code->references, 1);
    return code;
}

void code_unref(struct code *code) {
    if (atomic_fetch_sub(&code->references, 1) > 1) return;
    free(code->module);
    free(code->field);
    free(code->bytes);
    free(code);
}

static int box_gc(lua_State *L) {
    struct code **box = lua_touserdata(L, 1);
    if (*box) code_unref(*box);
    *box = NULL;
    return 0;
}

static int on_dumped(lua_State *L, const void *bytes, size_t size, void *ud) {
    struct code *code = ud;
    (void)L;
    if (code->room - code->size < size) {
        size_t room = (code->size + size) * 2;
        char *more = realloc(code->bytes, room);
        if (!more) return 1;
        code->bytes = more;
        code->room = room;
    }
    memcpy(code->bytes + code->size, bytes, size);
    code->size += size;
    return 0;
}

/* Looks for the function in the module on top of the stack; pushes the key. */
static bool find_field(lua_State *L, int function) {
    int module = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, module); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, function)) continue;
        lua_pop(L, 1);
        return true;
    }
    return false;
}

static bool is_stock(const char *name) {
    static const char *const stock[] = {"_G", "coroutine", "debug",  "io",    "math",
                                        "os", "package",   "string", "table", "utf8"};
    for (size_t i = 0; i < sizeof stock / sizeof *stock; i++)
        if (strcmp(stock[i], name) == 0) return true;
    return false;
}

bool code_find(lua_State *L, int index, bool everywhere) {
    int function = lua_absindex(L, index), loaded = lua_gettop(L) + 1;
    luaL_checkstack(L, 8, "transfer");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    /* The globals come last: a script may have its own names for what modules have. */
    for (int round = 0; round < (everywhere ? 2 : 1); round++) {
        for (lua_pushnil(L); lua_next(L, loaded); lua_settop(L, loaded + 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) continue;
            const char *name = lua_tostring(L, -2);
            bool is_globals = strcmp(name, "_G") == 0;
            if (is_globals != (round == 1) || (!everywhere && is_stock(name))) continue;
            if (!find_field(L, function)) continue;
            lua_remove(L, -2);
            lua_remove(L, loaded);
            return true;
        }
    }
    lua_settop(L, loaded - 1);
    return false;
}

/* Fills the code from the function on top of the stack. Raises nothing. */
static bool fill(lua_State *L, struct code *code) {
    static _Atomic uint64_t serials;
    code->serial = atomic_fetch_add(&serials, 1) + 1;
    const char *name;
    while ((name = lua_getupvalue(L, -1, code->upvalues + 1))) {
        code->upvalues++;
        code->is_global = code->upvalues == 1 && strcmp(name, "_ENV") == 0;
        lua_pop(L, 1);
    }
    return lua_dump(L, on_dumped, code, 0) == 0;
}

bool code_is_plain(const struct code *code) {
    return code->upvalues == 0 || (code->upvalues == 1 && code->is_global);
}

/* Pushes a box with the code of the function at `function`. */
static struct code *box_new(lua_State *L, int function) {
    struct code **box = lua_newuserdatauv(L, sizeof *box, 0), *code;
    *box = NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key);
    lua_setmetatable(L, -2);
    code = *box = calloc(1, sizeof *code);
    if (!code) luaL_error(L, "not enough memory");
    code->references = 1;
    lua_pushvalue(L, function);
    if (!fill(L, code)) luaL_error(L, "not enough memory");
    lua_pop(L, 1);
    if (!code_is_plain(code) && code_find(L, function, false)) {
        code->module = strdup(lua_tostring(L, -2));
        code->field = strdup(lua_tostring(L, -1));
        if (!code->module || !code->field) luaL_error(L, "not enough memory");
        lua_pop(L, 2);
    }
    return code;
}

struct code *code_of(lua_State *L, int index) {
    int function = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &codes_key);
    lua_pushvalue(L, function);
    if (lua_rawget(L, -2) == LUA_TUSERDATA) {
        struct code *code = *(struct code **)lua_touserdata(L, -1);
        lua_pop(L, 2);
        return code;
    }
    lua_pop(L, 1);
    struct code *code = box_new(L, function);
    lua_pushvalue(L, function);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return code;
}

const char *code_module(const struct code *code) {
    return code->module;
}

const char *code_field(const struct code *code) {
    return code->field;
}

void code_load(lua_State *L, const struct code *code) {
    if (luaL_loadbufferx(L, code->bytes, code->size, "=?", "b") != LUA_OK) lua_error(L);
}

void code_load_plain(lua_State *L, const struct code *code) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &loaded_key);
    if (lua_rawgeti(L, -1, (lua_Integer)code->serial) == LUA_TNIL) {
        lua_pop(L, 1);
        code_load(L, code);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)code->serial);
    }
    lua_remove(L, -2);
}

void code_open(lua_State *L) {
    object_weak_table(L, &codes_key, "k");
    object_weak_table(L, &loaded_key, "v");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
}
