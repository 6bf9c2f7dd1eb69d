/*
 * ContextVar: values that belong to a task and that the tasks it creates inherit. The variables of
 * a task are one immutable table {var = value}; see context_copy in core/sched.c.
 */
#include "context.h"

#include <stdatomic.h>

#include "../core/object.h"
#include "../core/runtime.h"
#include "builtin.h"

struct variable {
    const struct object_type *type;
    uint64_t identity; /* the same in all threads; 0: it has not left this one */
};

/* What set() returns: uservalue 1 the variable, 2 its value before. */
struct token {
    const struct object_type *type;
    const struct task *task;
    uint32_t task_id;
    bool had_value, used;
};

enum { NAME = 1, DEFAULT = 2 };          /* uservalues of a variable */
enum { VARIABLE = 1, VALUE_BEFORE = 2 }; /* of a token */

static const char travelled_key; /* identity → variable; weak values */

static const struct object_type variable_type = {"ContextVar", sizeof(struct variable)};
static const struct object_type token_type = {"Token", sizeof(struct token)};

/* The task whose context this is; outside of tasks there is one for all callbacks. */
static struct task *context_task(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    return runtime->current ? runtime->current : &runtime->root;
}

/* Pushes the value of the variable at 1 in the context of the task; false when there is none. */
static bool push_value(lua_State *L, const struct task *task) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->contexts_ref);
    if (!task->has_context || lua_rawgetp(L, -1, task) != LUA_TTABLE) {
        lua_pushnil(L);
        return false;
    }
    lua_pushvalue(L, 1);
    return lua_rawget(L, -2) != LUA_TNIL;
}

/* Pops a value and makes it that of the variable at 1, in a new table. */
static void set_value(lua_State *L, struct task *task) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->contexts_ref);
    lua_newtable(L);
    if (task->has_context && lua_rawgetp(L, -2, task) == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -5);
        }
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -4);
    lua_rawset(L, -3);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 2);
    task->has_context = true;
}

/* ContextVar(name [, default]) */
static int variable_new(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 2);
    object_new(L, &variable_type, "lilac.ContextVar", 2);
    lua_insert(L, 1);
    lua_setiuservalue(L, 1, DEFAULT);
    lua_setiuservalue(L, 1, NAME);
    return 1;
}

static int variable_get(lua_State *L) {
    object_check(L, 1, &variable_type);
    if (!push_value(L, context_task(L))) lua_getiuservalue(L, 1, DEFAULT);
    return 1;
}

static int variable_set(lua_State *L) {
    object_check(L, 1, &variable_type);
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "a value but nil expected; reset(token) unsets");
    lua_settop(L, 2);
    struct task *task = context_task(L);
    struct token *token = object_new(L, &token_type, "lilac.Token", 2);
    token->task = task;
    token->task_id = task->id;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, VARIABLE);
    token->had_value = push_value(L, task);
    lua_setiuservalue(L, 3, VALUE_BEFORE);
    lua_pushvalue(L, 2);
    set_value(L, task);
    lua_settop(L, 3);
    return 1;
}

static int variable_reset(lua_State *L) {
    object_check(L, 1, &variable_type);
    struct token *token = object_check(L, 2, &token_type);
    struct task *task = context_task(L);
    lua_getiuservalue(L, 2, VARIABLE);
    if (!lua_rawequal(L, -1, 1))
        return lilac_throw(L, "InvalidStateError", "reset: the token is of another variable");
    if (token->task != task || token->task_id != task->id)
        return lilac_throw(L, "InvalidStateError", "reset: the token is of another task");
    if (token->used)
        return lilac_throw(L, "InvalidStateError", "reset: the token was used already");
    token->used = true;
    lua_getiuservalue(L, 2, VALUE_BEFORE);
    set_value(L, task);
    return 0;
}

/* ---- in other threads ------------------------------------------------------------------------ */

static void keep_identity(lua_State *L, int index, uint64_t identity) {
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &travelled_key);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, (lua_Integer)identity);
    lua_pop(L, 1);
}

uint64_t context_variable(lua_State *L, int index) {
    static _Atomic uint64_t identities;
    struct variable *variable = lua_touserdata(L, index);
    if (lua_rawlen(L, index) != sizeof *variable || variable->type != &variable_type) return 0;
    if (variable->identity == 0) {
        uint64_t identity = atomic_fetch_add(&identities, 1) + 1;
        keep_identity(L, index, identity);
        variable->identity = identity;
    }
    return variable->identity;
}

void context_push_variable(lua_State *L, uint64_t identity) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &travelled_key);
    if (lua_rawgeti(L, -1, (lua_Integer)identity) == LUA_TNIL) {
        lua_pop(L, 1);
        struct variable *variable = object_new(L, &variable_type, "lilac.ContextVar", 2);
        variable->identity = identity;
        keep_identity(L, -1, identity);
    }
    lua_remove(L, -2);
}

void context_push_all(lua_State *L) {
    struct task *task = context_task(L);
    if (!task->has_context) {
        lua_pushnil(L);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->contexts_ref);
    lua_rawgetp(L, -1, task);
    lua_remove(L, -2);
}

void context_set_all(lua_State *L) {
    struct task *task = context_task(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->contexts_ref);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
    task->has_context = true;
}

static int variable_tostring(lua_State *L) {
    object_check(L, 1, &variable_type);
    lua_getiuservalue(L, 1, NAME);
    return object_tostring(L);
}

int luaopen_lilac_context(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"get", variable_get}, {"set", variable_set}, {"reset", variable_reset}, {NULL, NULL}};
    static const luaL_Reg token_methods[] = {{NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", variable_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"ContextVar", variable_new}, {NULL, NULL}};
    object_class(L, "lilac.ContextVar", methods, meta);
    object_class(L, "lilac.Token", token_methods, NULL);
    object_weak_table(L, &travelled_key, "v");
    luaL_newlib(L, functions);
    return 1;
}
