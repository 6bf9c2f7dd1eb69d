/*
 * A callback is a userdata on the ready queue, or with a deadline, or watching a future. While it
 * is pending the table `pending` anchors it.
 */
#include "callback.h"

#include "../core/args.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "builtin.h"

struct callback {
    const struct object_type *type;
    struct runtime *runtime;
    lilac_wait ready;
    struct deadline deadline;
    struct watch watch;
    uint64_t when_ns;
    bool pending, cancelled;
    bool standing; /* stays pending when it has run */
};

enum {
    CALL = 1,
    CONTEXT = 2
}; /* uservalues: {function, arguments…, n}, and the context variables */

static const struct object_type callback_type = {"Handle", sizeof(struct callback)};
static const char pending_key;

/* Anchors or releases (the value on top) the callback, by its address. */
static void set_pending(lua_State *L, struct callback *callback) {
    callback->pending = !lua_isnil(L, -1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pending_key);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, callback);
    lua_pop(L, 1);
}

/* The callback on top of the stack is to see the context variables of who schedules it. */
static void keep_context(lua_State *L, struct runtime *runtime) {
    struct task *task = runtime->current ? runtime->current : &runtime->root;
    if (!task->has_context) return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->contexts_ref);
    lua_rawgetp(L, -1, task);
    lua_setiuservalue(L, -3, CONTEXT);
    lua_pop(L, 1);
}

/* Pops context variables, or nil, and makes them those of what runs outside of tasks. Pushes those
 * that were so before. */
static void swap_context(lua_State *L, struct runtime *runtime) {
    if (lua_isnil(L, -1) && !runtime->root.has_context) return;
    runtime->root.has_context = !lua_isnil(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->contexts_ref);
    lua_rawgetp(L, -1, &runtime->root);
    lua_rotate(L, -3, 1);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, &runtime->root);
    lua_pop(L, 1);
}

/* [function, arguments…] at the top → the callback. */
static struct callback *callback_new(lua_State *L, int count) {
    lua_createtable(L, count, 1);
    lua_insert(L, -count - 1);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, -i - 1, i);
    lua_pushinteger(L, count);
    lua_setfield(L, -2, "n");
    struct callback *callback = object_new(L, &callback_type, "lilac.Handle", 2);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, CALL);
    callback->runtime = runtime_of(L);
    keep_context(L, callback->runtime);
    callback->deadline.kind = DEADLINE_CALLBACK;
    lua_pushvalue(L, -1);
    set_pending(L, callback);
    return callback;
}

static void make_ready(struct callback *callback) {
    waitq_append(&callback->runtime->ready, &callback->ready);
}

static void on_due(struct deadline *deadline) {
    make_ready(container_of(deadline, struct callback, deadline));
}

static void on_ended(struct watch *watch, struct future *future, lua_State *L, int index) {
    (void)future, (void)L, (void)index;
    make_ready(container_of(watch, struct callback, watch));
}

static const struct watcher watcher = {on_ended};

static int on_throw(lua_State *L) {
    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        luaL_traceback(L, L, NULL, 1);
    else
        lua_pushliteral(L, "<no error object>");
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 2);
    lua_rawseti(L, 1, 1);
    return 1;
}

/* Pushes the function and the arguments of the callback on top of the stack; returns how many of
 * them. */
static int push_call(lua_State *L) {
    lua_getiuservalue(L, -1, CALL);
    int call = lua_gettop(L);
    lua_getfield(L, call, "n");
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, count, "too many arguments");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, call, i);
    return count - 1;
}

/* What on_throw has made of the error is on top of the stack. */
static void report_callback(lua_State *L, struct runtime *runtime) {
    bool caught = lua_istable(L, -1); /* else not even on_throw could run */
    if (caught) lua_rawgeti(L, -1, 1);
    if (caught)
        lua_rawgeti(L, -2, 2);
    else
        lua_pushnil(L);
    struct error *error = error_test(L, -2);
    if (runtime->exiting && error && error->task_id == CANCELLED_CALLBACK) return; /* os.exit */
    runtime->untaken++;
    report_exception(L, "a callback failed", -2, lua_gettop(L), 0);
}

/* Called by the loop with what was in the ready queue. */
static void run_callback(lua_State *L, lilac_wait *ready) {
    struct callback *callback = container_of(ready, struct callback, ready);
    struct runtime *runtime = callback->runtime;
    int top = lua_gettop(L);
    luaL_checkstack(L, 10, "callback");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pending_key);
    lua_rawgetp(L, -1, callback);
    lua_replace(L, top + 1);
    if (!callback->standing) {
        lua_pushnil(L);
        set_pending(L, callback);
    }
    lua_getiuservalue(L, top + 1, CONTEXT);
    swap_context(L, runtime);
    lua_pushcfunction(L, on_throw);
    lua_pushvalue(L, top + 1);
    int count = push_call(L);
    runtime->running = L;
    int status = lua_pcall(L, count, 0, top + 3);
    runtime->running = NULL;
    if (status != LUA_OK) report_callback(L, runtime);
    lua_settop(L, top + 2);
    swap_context(L, runtime);
    lua_settop(L, top);
}

/* ---- Lua ------------------------------------------------------------------------------------- */

static int call_soon(lua_State *L) {
    args_callable(L, 1);
    make_ready(callback_new(L, lua_gettop(L)));
    return 1;
}

/* Schedules the function at 2 and its arguments. */
static int schedule(lua_State *L, uint64_t when_ns) {
    args_callable(L, 2);
    struct callback *callback = callback_new(L, lua_gettop(L) - 1);
    callback->when_ns = when_ns;
    if (!clock_arm(&callback->runtime->clock, &callback->deadline, when_ns)) {
        lua_pushnil(L);
        set_pending(L, callback);
        return luaL_error(L, "not enough memory");
    }
    return 1;
}

static int call_later(lua_State *L) {
    uint64_t delay_ns = args_duration_ns(L, 1), now_ns = clock_now(&runtime_of(L)->clock);
    return schedule(L, delay_ns < NEVER_NS - now_ns ? now_ns + delay_ns : NEVER_NS);
}

static int call_at(lua_State *L) {
    return schedule(L, args_duration_ns(L, 1));
}

void callback_cancel(lua_State *L, struct callback *callback) {
    if (!callback->pending) return;
    clock_disarm(&callback->runtime->clock, &callback->deadline);
    waitq_unlink(&callback->ready);
    future_unwatch(&callback->watch);
    callback->cancelled = true;
    lua_pushnil(L);
    set_pending(L, callback);
}

static int handle_cancel(lua_State *L) {
    struct callback *callback = object_check(L, 1, &callback_type);
    lua_pushboolean(L, callback->pending);
    callback_cancel(L, callback);
    return 1;
}

static int handle_cancelled(lua_State *L) {
    struct callback *callback = object_check(L, 1, &callback_type);
    lua_pushboolean(L, callback->cancelled);
    return 1;
}

static int handle_when(lua_State *L) {
    struct callback *callback = object_check(L, 1, &callback_type);
    if (callback->when_ns == 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (double)callback->when_ns / 1e9);
    return 1;
}

static int handle_tostring(lua_State *L) {
    struct callback *callback = object_check(L, 1, &callback_type);
    lua_pushstring(L, callback->cancelled ? "cancelled" : callback->pending ? "pending" : "done");
    return object_tostring(L);
}

void callback_when_done(lua_State *L, int future_index, int function) {
    struct future *future = future_test(L, future_index);
    future_index = lua_absindex(L, future_index);
    lua_pushvalue(L, function);
    lua_pushvalue(L, future_index);
    struct callback *callback = callback_new(L, 2);
    callback->watch.watcher = &watcher;
    if (future->state == FUTURE_PENDING)
        future_watch(future, &callback->watch);
    else
        make_ready(callback);
    lua_pop(L, 1);
}

int callback_remove(lua_State *L, int future_index, int function) {
    struct future *future = future_test(L, future_index);
    function = lua_absindex(L, function);
    int removed = 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pending_key);
    lilac_wait *node = future->waiters, *last = node ? node->prev : NULL, *next;
    for (; node; node = next) {
        next = node != last ? node->next : NULL;
        struct watch *watch = container_of(node, struct watch, node);
        if (!node->task && watch->watcher == &watcher) {
            struct callback *callback = container_of(watch, struct callback, watch);
            lua_rawgetp(L, -1, callback);
            lua_getiuservalue(L, -1, CALL);
            lua_rawgeti(L, -1, 1);
            if (lua_rawequal(L, -1, function)) {
                future_unwatch(watch);
                lua_pushnil(L);
                set_pending(L, callback);
                removed++;
            }
            lua_pop(L, 3);
        }
    }
    lua_pop(L, 1);
    return removed;
}

struct callback *callback_standing(lua_State *L, int count) {
    struct callback *callback = callback_new(L, count);
    callback->standing = true;
    return callback;
}

void callback_fire(struct callback *callback) {
    bool is_ready = callback->ready.next != NULL;
    if (callback->pending && !is_ready) make_ready(callback);
}

int luaopen_lilac_callback(lua_State *L) {
    static const luaL_Reg methods[] = {{"cancel", handle_cancel},
                                       {"cancelled", handle_cancelled},
                                       {"when", handle_when},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", handle_tostring}, {"__close", handle_cancel}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"call_soon", call_soon}, {"call_later", call_later}, {"call_at", call_at}, {NULL, NULL}};
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &pending_key);
    object_class(L, "lilac.Handle", methods, meta);
    runtime_of(L)->clock.fire[DEADLINE_CALLBACK] = on_due;
    runtime_of(L)->run_callback = run_callback;
    luaL_newlib(L, functions);
    return 1;
}
