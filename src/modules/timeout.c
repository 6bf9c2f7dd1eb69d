/*
 * Deadlines as scopes: timeout, timeout_at, move_on_after, wait_for. The scope's deadline cancels
 * what runs in it; when that cancellation leaves the scope, it becomes a TimeoutError. Timeouts are
 * many: to raise a second error would be half the cost of one. The function forms are the same
 * scope, to be closed when the C function returns.
 */
#include "../core/args.h"
#include "../core/object.h"
#include "../core/runtime.h"
#include "../core/scope.h"
#include "builtin.h"

struct timeout {
    const struct object_type *type;
    struct scope scope;
    uint64_t when_ns; /* NEVER_NS: never */
};

static const struct object_type timeout_type = {"Timeout", sizeof(struct timeout)};

static struct timeout *check_timeout(lua_State *L, int arg) {
    return object_check(L, arg, &timeout_type);
}

/* Pushes a scope that ends at `when_ns` (never: NEVER_NS) and enters it. Upvalue 1 of all functions
 * that do is the metatable. */
static struct timeout *push_timeout(lua_State *L, const char *by, double seconds, uint64_t when_ns,
                                    bool interrupt) {
    task_able_to_wait(L);
    struct timeout *timeout = lua_newuserdatauv(L, sizeof *timeout, 0);
    *timeout = (struct timeout){.type = &timeout_type, .when_ns = when_ns};
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
    timeout->scope.origin = cancel_origin_here(L, by, seconds);
    timeout->scope.interrupt = interrupt;
    scope_enter(L, &timeout->scope);
    if (when_ns != NEVER_NS && !scope_arm(&timeout->scope, when_ns)) {
        scope_exit(L, &timeout->scope);
        luaL_error(L, "timeout: not enough memory");
    }
    return timeout;
}

/* The moment `seconds` (argument `arg`; nil: never) from now. */
static uint64_t moment_after(lua_State *L, int arg) {
    if (lua_isnil(L, arg)) return NEVER_NS;
    uint64_t duration_ns = args_duration_ns(L, arg), now_ns = clock_now(&runtime_of(L)->clock);
    return duration_ns < NEVER_NS - now_ns ? now_ns + duration_ns : NEVER_NS;
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* __close(timeout, error) */
static int timeout_close(lua_State *L) {
    struct timeout *timeout = check_timeout(L, 1);
    if (timeout->scope.task && scope_owns(L, &timeout->scope, 2))
        error_become_timeout(lua_touserdata(L, 2));
    scope_exit(L, &timeout->scope);
    return 0;
}

/* ---- the scope ------------------------------------------------------------------------------- */

/* Calls the function at `first` with what follows, in the scope on top of the stack. */
static int call_done(lua_State *L, int status, lua_KContext base) {
    (void)status;
    return lua_gettop(L) - (int)base;
}

static int call_in_scope(lua_State *L, int first) {
    lua_insert(L, first);
    lua_toclose(L, first);
    lua_callk(L, lua_gettop(L) - first - 1, LUA_MULTRET, first, call_done);
    return lua_gettop(L) - first;
}

/* A table, but no callable object. */
static bool is_options(lua_State *L, int arg) {
    if (!lua_istable(L, arg)) return false;
    bool callable = luaL_getmetafield(L, arg, "__call") != LUA_TNIL;
    if (callable) lua_pop(L, 1);
    return !callable;
}

static int open_scope(lua_State *L, const char *by, uint64_t when_ns) {
    static const char *const options[] = {"interrupt", NULL};
    bool interrupt = false;
    int function = 2;
    if (is_options(L, 2)) {
        args_options(L, 2, options);
        interrupt = args_option_boolean(L, 2, "interrupt", false);
        function = 3;
    }
    if (!lua_isnone(L, function)) args_callable(L, function);
    push_timeout(L, by, lua_tonumber(L, 1), when_ns, interrupt);
    return lua_gettop(L) > function ? call_in_scope(L, function) : 1;
}

static int lilac_timeout(lua_State *L) {
    luaL_checkany(L, 1);
    return open_scope(L, lua_isnil(L, 1) ? "timeout(nil)" : "timeout(%g)", moment_after(L, 1));
}

static int lilac_timeout_at(lua_State *L) {
    luaL_checkany(L, 1);
    if (lua_isnil(L, 1)) return open_scope(L, "timeout_at(nil)", NEVER_NS);
    return open_scope(L, "timeout_at(%g)", args_duration_ns(L, 1));
}

/* t:when() → the time of the loop at which it expires or has expired, or nil */
static int timeout_when(lua_State *L) {
    uint64_t when_ns = check_timeout(L, 1)->when_ns;
    if (when_ns == NEVER_NS)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (double)when_ns / 1e9);
    return 1;
}

/* t:reschedule(when): a time of the loop, or nil for never */
static int timeout_reschedule(lua_State *L) {
    struct timeout *timeout = check_timeout(L, 1);
    struct scope *scope = &timeout->scope;
    luaL_checkany(L, 2);
    uint64_t when_ns = lua_isnil(L, 2) ? NEVER_NS : args_duration_ns(L, 2);
    if (!scope->task || scope->requested)
        return lilac_throw(L, "InvalidStateError", "reschedule: the timeout has %s",
                           scope->requested ? "expired" : "finished");
    if (when_ns == NEVER_NS)
        clock_disarm(&scope->task->runtime->clock, &scope->deadline);
    else if (!scope_arm(scope, when_ns))
        return luaL_error(L, "reschedule: not enough memory");
    timeout->when_ns = when_ns;
    return 0;
}

static int timeout_expired(lua_State *L) {
    lua_pushboolean(L, check_timeout(L, 1)->scope.requested);
    return 1;
}

static int timeout_tostring(lua_State *L) {
    const struct scope *scope = &check_timeout(L, 1)->scope;
    lua_pushstring(L, scope->requested ? "expired" : scope->task ? "active" : "finished");
    return object_tostring(L);
}

/* current_deadline() → the earliest deadline that the running task is under, or nil */
static int current_deadline(lua_State *L) {
    struct task *task = task_running(L);
    uint64_t first_ns = NEVER_NS;
    for (struct scope *scope = task ? task->scope : NULL; scope; scope = scope->outer) {
        if (scope->deadline.place == 0) continue;
        uint64_t when_ns = clock_when(&task->runtime->clock, &scope->deadline);
        if (when_ns < first_ns) first_ns = when_ns;
    }
    if (first_ns == NEVER_NS)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (double)first_ns / 1e9);
    return 1;
}

/* ---- move_on_after --------------------------------------------------------------------------- */

/* [seconds, scope, results…] or [seconds, scope, error] → finished, results… */
static int move_on_done(lua_State *L, int status, lua_KContext context) {
    (void)context;
    struct timeout *timeout = lua_touserdata(L, 2);
    bool failed = status != LUA_OK && status != LUA_YIELD;
    bool expired = failed && scope_owns(L, &timeout->scope, -1);
    bool has_room = lua_checkstack(L, LUA_MINSTACK);
    scope_exit(L, &timeout->scope);
    if (failed && !expired) return lua_error(L);
    if (!has_room) return luaL_error(L, "move_on_after: too many results");
    lua_pushboolean(L, !expired);
    if (expired) return 1;
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

static int lilac_move_on_after(lua_State *L) {
    luaL_checkany(L, 1);
    args_callable(L, 2);
    push_timeout(L, "move_on_after(%g)", lua_tonumber(L, 1), moment_after(L, 1), false);
    lua_insert(L, 2);
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 0, 0, move_on_done);
    return move_on_done(L, status, 0);
}

/* ---- wait_for -------------------------------------------------------------------------------- */

/* [future, seconds, scope]. Expired alone: what the future made of its cancellation counts. */
static int wait_for_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct task *task = task_running(L);
    struct future *future = lua_touserdata(L, 1);
    struct timeout *timeout = lua_touserdata(L, 3);
    if (!task_was_deferred(task)) return future_take(L, 1);
    future->taken = true;
    bool mine = !task->request && scope_pending(task) == &timeout->scope;
    if (mine && future->state != FUTURE_CANCELLED) {
        scope_exit(L, &timeout->scope);
        return future_take(L, 1);
    }
    if (future->state != FUTURE_FAILED) return task_raise_cancellation(L, task, 0);
    future_push_error(L, 1);
    return task_raise_cancellation(L, task, lua_gettop(L));
}

static const lilac_op op_wait_for = {.name = "wait_for",
                                     .cancel = future_join_cancel,
                                     .done = wait_for_done,
                                     .describe = future_join_describe,
                                     .holder = future_join_holder};

static int lilac_wait_for(lua_State *L) {
    struct future *future = future_test(L, 1);
    if (!future && !lua_isfunction(L, 1)) luaL_typeerror(L, 1, "function, Task or Future");
    lua_settop(L, 2);
    lilac_checkpoint(L);
    const char *by = lua_isnil(L, 2) ? "wait_for(nil)" : "wait_for(%g)";
    push_timeout(L, by, lua_tonumber(L, 2), moment_after(L, 2), false);
    if (!future) {
        lua_pushvalue(L, 1);
        lua_insert(L, 3);
        return call_in_scope(L, 3);
    }
    lua_toclose(L, 3);
    return future->state == FUTURE_PENDING ? future_join(L, &op_wait_for) : future_take(L, 1);
}

int luaopen_lilac_timeout(lua_State *L) {
    static const luaL_Reg methods[] = {{"when", timeout_when},
                                       {"reschedule", timeout_reschedule},
                                       {"expired", timeout_expired},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__close", timeout_close}, {"__tostring", timeout_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"timeout", lilac_timeout},
                                         {"timeout_at", lilac_timeout_at},
                                         {"move_on_after", lilac_move_on_after},
                                         {"wait_for", lilac_wait_for},
                                         {"current_deadline", current_deadline},
                                         {NULL, NULL}};
    object_class(L, "lilac.Timeout", methods, meta);
    luaL_newlibtable(L, functions);
    luaL_getmetatable(L, "lilac.Timeout");
    luaL_setfuncs(L, functions, 1);
    return 1;
}
