#include "refuse.h"

#include <stdio.h>
#include <string.h>

#include "runtime.h"

/* Looks for a function in the module on top of the stack, whose name is below it. Makes its name
 * ("table.sort") the value at `best` when it is shorter than that. */
static void look_into_module(lua_State *L, int function, int best) {
    int module = lua_gettop(L);
    const char *prefix = lua_tostring(L, module - 1);
    for (lua_pushnil(L); lua_next(L, module); lua_settop(L, module + 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, function)) continue;
        if (strcmp(prefix, "_G") == 0)
            lua_pushvalue(L, -2);
        else
            lua_pushfstring(L, "%s.%s", prefix, lua_tostring(L, -2));
        if (!lua_toboolean(L, best) || lua_rawlen(L, -1) < lua_rawlen(L, best))
            lua_replace(L, best);
    }
}

/* Pushes the name under which a function stands in a loaded module, or nothing: first that of stock
 * Lua, as others may export it too, else the shortest. */
static bool push_global_name(lua_State *L, int function) {
    static const char *const stock[] = {"_G", "table", "string", "io", "os", "utf8", "debug", NULL};
    function = lua_absindex(L, function);
    lua_pushboolean(L, 0);
    int best = lua_gettop(L), loaded = best + 1;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (int i = 0; stock[i] && !lua_toboolean(L, best); i++, lua_settop(L, loaded)) {
        lua_pushstring(L, stock[i]);
        if (lua_getfield(L, loaded, stock[i]) == LUA_TTABLE) look_into_module(L, function, best);
    }
    bool is_stock = lua_toboolean(L, best);
    for (lua_pushnil(L); !is_stock && lua_next(L, loaded); lua_settop(L, loaded + 1))
        if (lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING)
            look_into_module(L, function, best);
    bool found = lua_toboolean(L, best);
    lua_settop(L, found ? best : best - 1);
    return found;
}

/* Pushes the name of the blocking function at the top of L's stack: "sleep". */
static const char *push_operation(lua_State *L) {
    lua_Debug ar;
    if (!lua_getstack(L, 0, &ar) || !lua_getinfo(L, "nf", &ar)) return lua_pushliteral(L, "await");
    bool is_global = !ar.name && push_global_name(L, -1);
    const char *name = is_global ? lua_tostring(L, -1) : ar.name ? ar.name : "await";
    return lua_pushstring(L, strncmp(name, "lilac.", 6) == 0 ? name + 6 : name);
}

void refuse_no_task(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    const char *operation = push_operation(L);
    if (runtime->current)
        lilac_throw(L, "InvalidStateError",
                    "%s: cannot await in a coroutine that a C module has resumed; resume it with "
                    "coroutine.resume or coroutine.wrap",
                    operation);
    if (runtime->main)
        lilac_throw(L, "InvalidStateError",
                    "%s: cannot await in a callback; let it start a task with create_task",
                    operation);
    lilac_throw(L, "InvalidStateError", "%s: cannot await outside of lilac.run", operation);
}

/* As a function, or, for closures that are made again and again, as what they are closures of. */
static bool is_transparent(lua_State *L, int function) {
    function = lua_absindex(L, function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->transparent_ref);
    lua_pushvalue(L, function);
    bool transparent = lua_rawget(L, -2) != LUA_TNIL;
    if (lua_iscfunction(L, function))
        lua_pushcfunction(L, lua_tocfunction(L, function));
    else
        lua_pushnil(L);
    transparent = lua_rawget(L, -3) != LUA_TNIL || transparent;
    lua_pop(L, 3);
    return transparent;
}

static const char message_handler[] = "a message handler of xpcall";
static const char finaliser[] = "a finaliser (__gc)";

static int keep_error(lua_State *L) {
    lua_settop(L, 1);
    return 1;
}

/* The error that is about to be raised in a message handler leaves xpcall as it is: Lua would call
 * the handler with it again, and then again, until the stack overflows. */
static void skip_handler(lua_State *L) {
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "f", &ar);
        bool is_xpcall = lua_tocfunction(L, -1) == runtime_of(L)->xpcall;
        lua_pop(L, 1);
        if (!is_xpcall) continue;
        lua_pushcfunction(L, keep_error);
        if (!lua_setlocal(L, &ar, 2)) lua_pop(L, 1);
        return;
    }
}

/* Pushes what is in the way at this frame ("'table.sort'"), or nothing. The function is on top. */
static bool push_obstacle(lua_State *L, const lua_Debug *ar) {
    if (strcmp(ar->namewhat, "metamethod") == 0 && strcmp(ar->name, "__gc") == 0) {
        lua_pushstring(L, finaliser);
        return true;
    }
    if (strcmp(ar->namewhat, "hook") == 0) {
        lua_pushliteral(L, "a debug hook");
        return true;
    }
    if (*ar->what != 'C' || is_transparent(L, -1)) return false;
    if (push_global_name(L, -1)) {
        bool is_error = strcmp(lua_tostring(L, -1), "error") == 0;
        if (is_error)
            lua_pushstring(L, message_handler);
        else
            lua_pushfstring(L, "'%s'", lua_tostring(L, -1));
        lua_remove(L, -2);
        return true;
    }
    if (strcmp(ar->namewhat, "for iterator") == 0)
        lua_pushliteral(L, "an iterator in C (as that of ipairs)");
    else if (ar->name)
        lua_pushfstring(L, "the C function '%s'", ar->name);
    else
        lua_pushliteral(L, "a C function");
    return true;
}

void refuse_unyieldable(lua_State *L) {
    luaL_checkstack(L, 20, "refuse");
    const char *operation = push_operation(L);
    struct nesting *nesting = runtime_of(L)->nesting;
    lua_State *at = L;
    while (lua_isyieldable(at) && nesting) {
        at = nesting->from;
        nesting = nesting->outer;
    }
    lua_Debug ar;
    bool found = false;
    for (int level = at == L ? 1 : 0; !found && lua_getstack(at, level, &ar); level++) {
        lua_getinfo(at, "nSf", &ar);
        lua_xmove(at, L, 1);
        found = push_obstacle(L, &ar);
        if (!found) lua_pop(L, 1);
    }
    if (!found) lua_pushstring(L, message_handler);
    if (strcmp(lua_tostring(L, -1), message_handler) == 0) skip_handler(at);
    bool is_finaliser = strcmp(lua_tostring(L, -1), finaliser) == 0;
    const char *message = lua_pushfstring(
        L, "%s: cannot await inside %s, which Lua cannot suspend; await before or after it",
        operation, lua_tostring(L, -1));
    /* Of an error that leaves a finaliser Lua tells the text when it is a string, and no object. */
    if (is_finaliser) lua_warning(L, message, 0);
    lilac_throw(L, "InvalidStateError", "%s", message);
}

void refuse_cycle(lua_State *L, struct task *self, struct task *holder) {
    char name[TASK_TEXT];
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, "deadlock: ");
    task_text(self, name, sizeof name);
    luaL_addstring(&text, name);
    luaL_addstring(&text, " would wait for ");
    for (struct task *at = holder; at != self; at = at->op->holder(at->parked_on)) {
        task_text(at, name, sizeof name);
        luaL_addstring(&text, name);
        luaL_addstring(&text, ", which waits (");
        luaL_addstring(&text, at->op->name);
        luaL_addstring(&text, ") for ");
    }
    luaL_addstring(&text, holder == self ? "itself" : "the first");
    luaL_pushresult(&text);
    lilac_throw(L, "DeadlockError", "%s", lua_tostring(L, -1));
}
