/*
 * Cancellation: it is asked for, undoes the wait of the task, and is raised at its await, as an
 * error that knows who asked.
 */
#include "alloc.h"
#include "report.h"
#include "runtime.h"
#include "scope.h"

static void undo_wait(struct task *task) {
    if (!task->parked_on) return; /* running or ready: raised at the next await */
    task->raise = !task->op->cancel || task->op->cancel(task->parked_on);
    task->deferred = !task->raise;
    if (task->raise) task_wake(task);
}

/* A cancelled task may cancel what it awaits, and so on: one after the other and each once, as such
 * a chain can be long, and even a circle. */
void task_interrupt(struct task *task) {
    struct runtime *runtime = task->runtime;
    if (!task->parked_on || task->interrupted_next) return;
    task->interrupted_next = &runtime->root; /* the end of the chain */
    if (runtime->interrupted_last) {
        runtime->interrupted_last->interrupted_next = task;
        runtime->interrupted_last = task;
        return;
    }
    runtime->interrupted_last = task;
    for (struct task *at = task; at != &runtime->root; at = at->interrupted_next)
        undo_wait(at);
    runtime->interrupted_last = NULL;
    for (struct task *at = task, *next; at != &runtime->root; at = next) {
        next = at->interrupted_next;
        at->interrupted_next = NULL;
    }
}

static bool is_plain(const struct cancel_request *request) {
    return request->message_ref == LUA_NOREF && request->error_ref == LUA_NOREF;
}

static bool is_same(const struct cancel_request *a, const struct cancel_request *b) {
    const struct cancel_origin *x = &a->origin, *y = &b->origin;
    return a->own == b->own && x->by == y->by && x->seconds == y->seconds &&
           x->place.line == y->place.line && x->place.source == y->place.source;
}

static void unref(struct runtime *runtime, const struct cancel_request *request) {
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, request->message_ref);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, request->error_ref);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, request->shared_ref);
}

/* Without memory a cancellation is carried out nevertheless, and only forgets who has asked. */
static struct cancel_request *request_new(struct runtime *runtime,
                                          const struct cancel_request *asked) {
    struct cancel_request *request = allocator_realloc(runtime->requests, NULL, 0, sizeof *request);
    if (!request) {
        unref(runtime, asked);
        return &runtime->spare_request;
    }
    *request = *asked;
    if (is_plain(request)) runtime->last_request = request;
    return request;
}

/* Tasks that are cancelled in a loop share one request; none joins when its error is there already,
 * as it might have come to the task before. */
static struct cancel_request *request_take(struct runtime *runtime,
                                           const struct cancel_request *asked) {
    struct cancel_request *last = runtime->last_request;
    bool shared = last && last->shared == 0 && is_plain(asked) && is_same(last, asked);
    struct cancel_request *request = shared ? last : request_new(runtime, asked);
    request->tasks++;
    return request;
}

void task_drop_request(struct task *task) {
    struct runtime *runtime = task->runtime;
    struct cancel_request *request = task->request;
    if (!request) return;
    task->request = NULL;
    task->pending--;
    if (--request->tasks > 0) return;
    if (request == runtime->last_request) runtime->last_request = NULL;
    unref(runtime, request);
    allocator_realloc(runtime->requests, request, sizeof *request, 0);
}

/* Asks in place of the request that is pending, if any. A task that waits for itself among others
 * is not asked again by what its own cancellation comes to. */
static void ask(struct task *task, const struct cancel_request *asked) {
    bool again = task->interrupted_next && task->request;
    if (task->future.state != FUTURE_PENDING || again) {
        unref(task->runtime, asked);
        return;
    }
    struct cancel_request *request = request_take(task->runtime, asked);
    task_drop_request(task);
    task->request = request;
    task->pending++;
    task_interrupt(task);
}

void task_cancel(struct task *task, const struct cancel_origin *origin, int message_ref) {
    struct cancel_request asked = cancel_request_by(NULL);
    asked.origin = *origin;
    asked.message_ref = message_ref;
    asked.own = task == task->runtime->current;
    ask(task, &asked);
}

void task_throw(struct task *task, int error_ref) {
    struct cancel_request asked = cancel_request_by("an error");
    asked.error_ref = error_ref;
    ask(task, &asked);
}

struct cancel_origin task_pending_origin(const struct task *task) {
    if (task->request) return task->request->origin;
    struct scope *scope = scope_pending(task);
    return scope ? scope->origin : (struct cancel_origin){.by = "nobody"};
}

/* Whether the task can have the error that others of its request have: not where it has shared one
 * before, which it has to know still; and not main's, which gets a traceback. */
static bool can_share(const struct task *task) {
    const struct cancel_request *request = task->request;
    bool others = request->tasks > 1 || request->shared != 0;
    return is_plain(request) && others && task->shared == 0 && task != task->runtime->main;
}

/* A number that no other error has had, but for the last four billion of them; never 0. */
static uint32_t next_number(struct runtime *runtime) {
    return runtime->last_error = runtime->last_error % UINT32_MAX + 1;
}

/* Pushes an error for the request of the task: one that is not shared, if it is to be `alone`. A
 * finaliser that runs when an object is made may ask anew, or call off what was asked. */
static void push_cancelled(lua_State *L, struct task *task, bool alone) {
    static const struct cancel_origin nobody = {.by = "nobody"};
    bool has_message = task->request->message_ref != LUA_NOREF;
    struct error *error = error_new_cancelled(L, task->id, !has_message, &nobody);
    struct cancel_request *request = task->request;
    if (!request) return;
    error->origin = request->origin;
    if (!alone && can_share(task)) {
        lua_pushvalue(L, -1);
        request->shared_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        error->is_shared = true;
        task->shared = request->shared = error->number = next_number(task->runtime);
    } else if (request->message_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, request->message_ref);
        error_set_field(L, -2, "message");
    }
}

/* Pushes the error of the task's own request. */
static void push_requested(lua_State *L, struct task *task, bool alone) {
    struct cancel_request *request = task->request;
    if (request->error_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, request->error_ref);
    } else if (!alone && request->shared != 0 && can_share(task)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, request->shared_ref);
        task->shared = request->shared;
    } else {
        push_cancelled(L, task, alone);
    }
}

static bool take_cancellation(lua_State *L, struct task *task, bool alone) {
    luaL_checkstack(L, 8, "cancellation");
    if (task->request) {
        push_requested(L, task, alone);
        task_drop_request(task);
        return true;
    }
    struct scope *scope = scope_pending(task);
    if (!scope) return false;
    scope->delivered = true;
    task->pending--;
    struct error *error = error_new_cancelled(L, task->id, false, &scope->origin);
    error->by_scope = true;
    scope->error = error->number = next_number(task->runtime);
    return true;
}

bool task_take_cancellation(lua_State *L, struct task *task) {
    return take_cancellation(L, task, true);
}

static int raise_cancellation(lua_State *L, struct task *task, int cause, bool alone) {
    if (!take_cancellation(L, task, alone)) return luaL_error(L, "cancelled by nobody");
    if (cause != 0 && error_test(L, -1)) {
        lua_pushvalue(L, cause);
        error_set_field(L, -2, "cause");
    }
    report_hide_from_handlers(L);
    return lua_error(L);
}

int task_raise_cancellation(lua_State *L, struct task *task, int cause) {
    return raise_cancellation(L, task, cause, true);
}

int task_raise_undone(lua_State *L, struct task *task) {
    return raise_cancellation(L, task, 0, false);
}

bool task_was_deferred(struct task *task) {
    bool deferred = task->deferred;
    task->deferred = false;
    return deferred;
}

bool task_owns(const struct task *task, const struct error *error) {
    if (!error) return false;
    return error->is_shared ? error->number == task->shared : error->task_id == task->id;
}

void task_unshare(lua_State *L, struct task *task) {
    const struct error *shared = error_test(L, -1);
    task_push(L, task);
    future_push_own(L, -1, task->id, &shared->origin);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

bool task_is_own_cancellation(lua_State *L, int index) {
    struct task *task = task_running(L);
    return task && task_owns(task, error_test(L, index));
}

void task_rearm(lua_State *L, struct task *task, int index) {
    struct error *error = error_test(L, index);
    if (error->by_scope) {
        scope_rearm(task, error);
        return;
    }
    lua_pushvalue(L, index);
    task_throw(task, luaL_ref(L, LUA_REGISTRYINDEX));
}
