/*
 * Tasks and futures as Lua sees them, and sleeping.
 */
#include <stdio.h>
#include <string.h>

#include "../core/args.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "../core/scope.h"
#include "builtin.h"
#include "callback.h"

static struct future *check_future(lua_State *L) {
    struct future *future = future_test(L, 1);
    if (!future) luaL_typeerror(L, 1, "Task or Future");
    return future;
}

static struct task *check_task(lua_State *L) {
    struct task *task = task_test(L, 1);
    if (!task) luaL_typeerror(L, 1, "Task");
    return task;
}

/* ---- sleeping -------------------------------------------------------------------------------- */

static bool sleep_cancel(lilac_wait *wait) {
    clock_disarm(&wait->task->runtime->clock, &wait->task->deadline);
    return true;
}

/* sleep(seconds, result) and sleep_until(when, result) return their second argument. */
HOT static int sleep_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    if (lua_gettop(L) < 2) return 0;
    lua_settop(L, 2);
    return 1;
}

static void sleep_describe(lilac_wait *wait, char *text, size_t size) {
    struct clock *clock = &wait->task->runtime->clock;
    uint64_t when_ns = clock_when(clock, &wait->task->deadline), now_ns = clock_now(clock);
    double left_s = when_ns > now_ns ? (double)(when_ns - now_ns) / 1e9 : 0;
    if (when_ns == NEVER_NS)
        snprintf(text, size, "for ever");
    else
        snprintf(text, size, "%.3g s left", left_s);
}

static const lilac_op op_sleep = {
    .name = "sleep", .cancel = sleep_cancel, .done = sleep_done, .describe = sleep_describe};

/* sleep(0) is parked in the ready queue itself: its turn comes after all that is ready now. */
static const lilac_op op_yield = {.name = "sleep(0)", .done = sleep_done};

static int park_until(lua_State *L, struct task *task, uint64_t when_ns) {
    lilac_checkpoint(L);
    task->deadline = (struct deadline){.kind = DEADLINE_SLEEP};
    if (!clock_arm(&task->runtime->clock, &task->deadline, when_ns))
        return luaL_error(L, "sleep: not enough memory");
    return task_park(L, &task->own, &op_sleep);
}

static int sleep_zero(lua_State *L) {
    lilac_checkpoint(L);
    struct task *task = runtime_of(L)->current;
    waitq_append(&task->runtime->ready, &task->own);
    return task_park(L, &task->own, &op_yield);
}

HOT static int task_sleep(lua_State *L) {
    int is_integer; /* sleep(0) is a switch, the hottest call there is: looked for first */
    if (lua_tointegerx(L, 1, &is_integer) == 0 && is_integer) return sleep_zero(L);
    uint64_t duration_ns = args_duration_ns(L, 1);
    if (duration_ns == 0) return sleep_zero(L);
    struct runtime *runtime = runtime_of(L);
    uint64_t now_ns = clock_now(&runtime->clock);
    uint64_t when_ns = duration_ns < NEVER_NS - now_ns ? now_ns + duration_ns : NEVER_NS;
    return park_until(L, runtime->current, when_ns);
}

static int task_sleep_until(lua_State *L) {
    uint64_t when_ns = args_duration_ns(L, 1);
    return park_until(L, runtime_of(L)->current, when_ns);
}

static int task_time(lua_State *L) {
    lua_pushnumber(L, (double)clock_now(&runtime_of(L)->clock) / 1e9);
    return 1;
}

/* ---- futures --------------------------------------------------------------------------------- */

static int future_new(lua_State *L) {
    struct future *future = lua_newuserdatauv(L, sizeof *future, 1);
    *future = (struct future){.magic = FUTURE_MAGIC};
    luaL_setmetatable(L, "lilac.Future");
    return 1;
}

static int m_await(lua_State *L) {
    check_future(L);
    return future_await(L);
}

static int m_done(lua_State *L) {
    lua_pushboolean(L, check_future(L)->state != FUTURE_PENDING);
    return 1;
}

static int m_cancelled(lua_State *L) {
    lua_pushboolean(L, check_future(L)->state == FUTURE_CANCELLED);
    return 1;
}

static int m_failed(lua_State *L) {
    lua_pushboolean(L, check_future(L)->state == FUTURE_FAILED);
    return 1;
}

static int is_future(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, future_test(L, 1) != NULL);
    return 1;
}

static struct future *check_ended(lua_State *L, const char *what) {
    struct future *future = check_future(L);
    if (future->state == FUTURE_PENDING)
        lilac_throw(L, "InvalidStateError", "%s: the %s has not ended yet", what,
                    future_is_task(future) ? "task" : "future");
    return future;
}

static int m_result(lua_State *L) {
    check_ended(L, "result");
    return future_take(L, 1);
}

/* The error of a failed one, nil after success; of a cancelled one the cancellation is raised. */
static int m_exception(lua_State *L) {
    struct future *future = check_ended(L, "exception");
    if (future->state == FUTURE_CANCELLED) return future_take(L, 1);
    future->taken = true;
    if (future->state == FUTURE_DONE)
        lua_pushnil(L);
    else
        future_push_error(L, 1);
    return 1;
}

/* Ends the plain future at 1 as cancelled, with the message at 2 or none. A finaliser that runs
 * when an object is made may have ended it. */
static bool cancel_plain(lua_State *L, struct future *future, bool has_message) {
    struct cancel_origin origin = cancel_origin_here(L, "future:cancel()", 0);
    error_new_cancelled(L, CANCELLED_FUTURE, !has_message, &origin);
    if (has_message) {
        lua_pushvalue(L, 2);
        error_set_field(L, -2, "message");
    }
    if (future->state != FUTURE_PENDING) return false;
    future_end(L, 1, future, FUTURE_CANCELLED, 1);
    return true;
}

static int m_cancel(lua_State *L) {
    struct future *future = check_future(L);
    bool pending = future->state == FUTURE_PENDING, has_message = !lua_isnoneornil(L, 2);
    if (has_message) lua_settop(L, 2);
    if (pending && future_is_task(future)) {
        struct task *task = future_task(future);
        struct cancel_origin origin = cancel_origin_here(L, "task:cancel()", 0);
        if (task->cancelling < UINT16_MAX) task->cancelling++;
        task_cancel(task, &origin, has_message ? luaL_ref(L, LUA_REGISTRYINDEX) : LUA_NOREF);
    } else if (pending) {
        pending = cancel_plain(L, future, has_message);
    }
    lua_pushboolean(L, pending);
    return 1;
}

static int m_add_done_callback(lua_State *L) {
    check_future(L);
    args_callable(L, 2);
    callback_when_done(L, 1, 2);
    return 0;
}

static int m_remove_done_callback(lua_State *L) {
    check_future(L);
    args_callable(L, 2);
    lua_pushinteger(L, callback_remove(L, 1, 2));
    return 1;
}

static struct future *check_pending(lua_State *L, const char *what) {
    struct future *future = future_test(L, 1);
    if (!future || future_is_task(future)) luaL_typeerror(L, 1, "Future");
    if (future->state != FUTURE_PENDING)
        lilac_throw(L, "InvalidStateError", "%s: the future has ended already", what);
    return future;
}

static int m_set_result(lua_State *L) {
    struct future *future = check_pending(L, "set_result");
    future_end(L, 1, future, FUTURE_DONE, lua_gettop(L) - 1);
    return 0;
}

static int m_set_exception(lua_State *L) {
    struct future *future = check_pending(L, "set_exception");
    args_value(L, 2, "error");
    lua_settop(L, 2);
    future_end(L, 1, future, FUTURE_FAILED, 1);
    return 0;
}

static const char *const state_names[] = {"pending", "done", "failed", "cancelled"};

static int future_tostring(lua_State *L) {
    lua_pushfstring(L, "Future (%s): %p", state_names[check_future(L)->state], lua_topointer(L, 1));
    return 1;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int create_task(lua_State *L) {
    args_body(L, 1);
    task_create(L, lua_gettop(L) - 1);
    return 1;
}

static int current_task(lua_State *L) {
    struct task *task = task_running(L);
    if (task)
        task_push(L, task);
    else
        lua_pushnil(L);
    return 1;
}

static int all_tasks(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    lua_createtable(L, (int)runtime->live, 0);
    lua_Integer count = 0;
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task)) {
        task_push(L, task);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int m_uncancel(lua_State *L) {
    struct task *task = check_task(L);
    if (task->cancelling > 0) task->cancelling--;
    if (task->cancelling == 0 && !task->raise && !task->deferred) task_drop_request(task);
    lua_pushinteger(L, task->cancelling);
    return 1;
}

static int m_cancelling(lua_State *L) {
    lua_pushinteger(L, check_task(L)->cancelling);
    return 1;
}

static int m_traceback(lua_State *L) {
    struct task *task = check_task(L);
    if (task->L)
        report_push_stack(L, task);
    else
        report_push_traceback(L, 1);
    return 1;
}

static void push_name(lua_State *L, const struct task *task) {
    if (task->has_name) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->names_ref);
        lua_pushvalue(L, 1);
        lua_rawget(L, -2);
    } else {
        lua_pushfstring(L, "Task-%d", (int)task->id);
    }
}

static int task_tostring(lua_State *L) {
    struct task *task = check_task(L);
    const char *state = state_names[task->future.state];
    if (task->L) state = task->parked_on ? task->op->name : "ready";
    if (task == task->runtime->current) state = "running";
    push_name(L, task);
    lua_pushfstring(L, "Task '%s' (%s): %p", lua_tostring(L, -1), state, lua_topointer(L, 1));
    return 1;
}

/* Methods, and the field `name`. Upvalue 1: the table of methods, where the name is `true`. */
static int task_index(lua_State *L) {
    if (lua_gettop(L) != 2) lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TBOOLEAN) push_name(L, check_task(L));
    return 1;
}

static int task_newindex(lua_State *L) {
    check_task(L);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "name") != 0) return luaL_error(L, "a Task has no field '%s' to set", key);
    if (!lua_isstring(L, 3))
        return luaL_error(L, "the name of a Task is a string, not a %s value", luaL_typename(L, 3));
    lua_tostring(L, 3); /* a number becomes a string */
    lua_settop(L, 3);
    task_set_name(L, 1);
    return 0;
}

/* Leaving the scope: cancels the task and waits for its end; how it ends is its own affair. */
static int close_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    task_was_deferred(task_running(L));
    check_future(L)->taken = true;
    return 0;
}

static const lilac_op op_close = {.name = "task:close",
                                  .cancel = future_join_cancel,
                                  .done = close_done,
                                  .describe = future_join_describe,
                                  .holder = future_join_holder};

static int task_close(lua_State *L) {
    struct task *task = check_task(L);
    lua_settop(L, 1);
    if (!task->L) return 0;
    struct cancel_origin origin = cancel_origin_here(L, "the end of its <close> scope", 0);
    task_cancel(task, &origin, LUA_NOREF);
    task_able_to_wait(L);
    return future_join(L, &op_close);
}

/* shield(aw): awaits it; cancelling the caller leaves it running. */
static int lilac_shield(lua_State *L) {
    if (!future_test(L, 1) && !lua_isfunction(L, 1))
        return luaL_typeerror(L, 1, "function, Task or Future");
    lilac_checkpoint(L);
    lua_settop(L, 1);
    if (lua_isfunction(L, 1)) task_create(L, 0);
    return future_await_shielded(L);
}

/* run(fn, …): the entry point in a Lua host that is not the interpreter; in a task a plain call. */
static int run_done(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L);
}

static int lilac_run(lua_State *L) {
    args_callable(L, 1);
    struct runtime *runtime = runtime_of(L);
    bool is_inside = runtime->main || runtime->closing;
    if (!is_inside) return runtime_run(L, lua_gettop(L) - 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, run_done);
    return lua_gettop(L);
}

static int set_exception_handler(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    if (!lua_isnoneornil(L, 1)) args_callable(L, 1);
    lua_settop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, runtime->exception_handler_ref);
    runtime->exception_handler_ref = lua_isnil(L, 1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* call_exception_handler{message=, exception=, traceback=, task=}: as asyncio's; prints by default.
 * Without a traceback, that of the error is taken; false: none. */
static int call_exception_handler(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    static const char *const fields[] = {"message", "exception", "traceback", "task"};
    for (int i = 0; i < 4; i++)
        lua_getfield(L, 1, fields[i]);
    const char *message = lua_isstring(L, 2) ? lua_tostring(L, 2) : "an error";
    bool is_task = task_test(L, 5) != NULL;
    if (lua_isnil(L, 4) && is_task) {
        report_push_traceback(L, 5);
        lua_replace(L, 4);
    }
    if (lua_isnil(L, 4) && error_test(L, 3)) {
        error_push_field(L, 3, "traceback");
        lua_replace(L, 4);
    }
    report_exception(L, message, 3, lua_isstring(L, 4) ? 4 : 0, is_task ? 5 : 0);
    return 0;
}

static int set_debug(lua_State *L) {
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    runtime_of(L)->options.debug = lua_toboolean(L, 1);
    return 0;
}

static const luaL_Reg future_methods[] = {{"await", m_await},
                                          {"done", m_done},
                                          {"cancelled", m_cancelled},
                                          {"failed", m_failed},
                                          {"result", m_result},
                                          {"exception", m_exception},
                                          {"cancel", m_cancel},
                                          {"add_done_callback", m_add_done_callback},
                                          {"remove_done_callback", m_remove_done_callback},
                                          {NULL, NULL}};

static void open_future(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"set_result", m_set_result}, {"set_exception", m_set_exception}, {NULL, NULL}};
    luaL_newmetatable(L, "lilac.Future");
    object_seal(L);
    lua_pushliteral(L, "Future");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, future_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, future_methods);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* Who has the fields of the error at 1, which tasks share: the one that runs, if it is of them, and
 * if not, the error, which has none. At 2: whether one is to be set. */
static int fields_holder(lua_State *L) {
    struct task *task = task_running(L);
    bool is_set = lua_toboolean(L, 2);
    lua_settop(L, 1);
    if (task && task_owns(task, error_test(L, 1))) {
        if (is_set) task->future.noted = true;
        task_push(L, task);
    } else if (is_set) {
        return lilac_throw(
            L, "InvalidStateError",
            "set a field of a CancelledError: it is that of several tasks, which were "
            "cancelled together; await one of them for an error of its own");
    }
    return 1;
}

static void open_task(lua_State *L) {
    static const luaL_Reg methods[] = {{"uncancel", m_uncancel},
                                       {"cancelling", m_cancelling},
                                       {"traceback", m_traceback},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__newindex", task_newindex},
                                    {"__tostring", task_tostring},
                                    {"__close", task_close},
                                    {NULL, NULL}};
    luaL_newmetatable(L, "lilac.Task");
    object_seal(L);
    lua_pushliteral(L, "Task");
    lua_setfield(L, -2, "__name");
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, future_methods);
    luaL_setfuncs(L, methods, 0);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "name");
    lua_pushcclosure(L, task_index, 1);
    lua_setfield(L, -2, "__index");
    runtime_of(L)->task_meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    error_set_holder(L, fields_holder);
}

int luaopen_lilac_task(lua_State *L) {
    static const luaL_Reg functions[] = {{"create_task", create_task},
                                         {"current_task", current_task},
                                         {"all_tasks", all_tasks},
                                         {"sleep", task_sleep},
                                         {"sleep_until", task_sleep_until},
                                         {"time", task_time},
                                         {"Future", future_new},
                                         {"is_future", is_future},
                                         {"set_exception_handler", set_exception_handler},
                                         {"call_exception_handler", call_exception_handler},
                                         {"set_debug", set_debug},
                                         {"shield", lilac_shield},
                                         {"run", lilac_run},
                                         {NULL, NULL}};
    open_future(L);
    open_task(L);
    luaL_newlib(L, functions);
    return 1;
}
