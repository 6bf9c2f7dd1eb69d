/*
 * Tasks: creation, the trampoline, park and wake, cancellation, the end. The turning of the loop is
 * in runtime.c, the printing in report.c.
 */
#include "sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "interrupt.h"
#include "pool.h"
#include "refuse.h"
#include "report.h"
#include "runtime.h"
#include "scope.h"
#include "stage.h"

#define TRAMPOLINE_SIZE 2 /* see push_trampoline */

/* A coroutine that is older than the runtime (lilac was loaded as a module) has nothing there yet;
 * what is finalised after it, as it is older too, finds it closed. */
COLD static struct task *adopt(lua_State *L) {
    if (!lua_checkstack(L, 1) || lua_rawgetp(L, LUA_REGISTRYINDEX, &runtime_key) != LUA_TUSERDATA)
        luaL_error(L, "lilac is not loaded in this Lua state");
    struct runtime *runtime = *(struct runtime **)lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!runtime) luaL_error(L, "lilac is closed");
    return *(struct task **)lua_getextraspace(L) = &runtime->root;
}

static inline struct task *slot_of(lua_State *L) {
    struct task *task = *(struct task **)lua_getextraspace(L);
    return task ? task : adopt(L);
}

struct runtime *runtime_of(lua_State *L) {
    return slot_of(L)->runtime;
}

struct task *task_running(lua_State *L) {
    return slot_of(L)->runtime->current;
}

uv_loop_t *lilac_loop(lua_State *L) {
    return &slot_of(L)->runtime->loop;
}

lilac_wait *lilac_own_wait(lua_State *L) {
    return &slot_of(L)->own;
}

/* ---- creation -------------------------------------------------------------------------------- */

/* The trampoline: [handler, task, function, arguments…] → the task, and results or one error. A
 * coroutine that dies bare would skip its <close> variables; under the pcall they run, and may
 * await. The task is at hand at its end, where looking it up would mean to wait for memory. */
static int trampoline_done(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (status != LUA_OK && status != LUA_YIELD) slot_of(L)->failed = true;
    return lua_gettop(L) - 1;
}

int task_trampoline(lua_State *L) {
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 1, 0, trampoline_done);
    return trampoline_done(L, status, 0);
}

/* What lies under the task object, the function and the arguments when a task begins. */
static void push_trampoline(lua_State *co) {
    lua_pushcfunction(co, task_trampoline);
    lua_pushcfunction(co, report_on_throw);
}

/* The context variables of a task are an immutable table: setting one makes a new table, so a new
 * task simply has its creator's. `from` NULL: forgets them. */
static void context_copy(lua_State *L, struct task *from, struct task *to) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, to->runtime->contexts_ref);
    if (from)
        lua_rawgetp(L, -1, from);
    else
        lua_pushnil(L);
    lua_rawsetp(L, -2, to);
    lua_pop(L, 1);
    to->has_context = from != NULL;
}

struct task *task_create(lua_State *L, int count) {
    struct runtime *runtime = runtime_of(L);
    struct task *task = lua_newuserdatauv(L, sizeof *task, 1);
    memset(task, 0, sizeof *task);
    task->future.magic = TASK_MAGIC;
    task->runtime = runtime;
    task->own.task = task;
    task->created = place_of(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->task_meta_ref);
    lua_setmetatable(L, -2);
    struct task *creator = runtime->current ? runtime->current : &runtime->root;
    task->creator = creator->id % CREATOR_IDS;
    if (creator->has_context) context_copy(L, creator, task);
    lua_State *co = pool_next(runtime, TRAMPOLINE_SIZE + count + 3); /* the task twice */
    if (co) {
        pool_take(L, task);
        push_trampoline(co);
        lua_pushvalue(L, -1);
        lua_xmove(L, co, 1);
        lua_xmove(L, co, count + 2); /* with the task itself, which comes back */
        lua_xmove(co, L, 1);
    } else {
        stage_put(L, task, count);
    }
    task->id = ++runtime->last_id;
    runtime->live++;
    waitq_append(&runtime->ready, &task->own);
    return task;
}

void task_push(lua_State *L, struct task *task) {
    if (stage_has(task))
        stage_push(L, task);
    else
        pool_push(L, task);
}

void task_set_name(lua_State *L, int index) {
    struct task *task = task_test(L, index);
    index = lua_absindex(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->names_ref);
    lua_pushvalue(L, index);
    lua_rotate(L, -3, -1); /* names, task, name */
    lua_rawset(L, -3);
    lua_pop(L, 1);
    task->has_name = true;
}

static struct task *next_staged(const struct runtime *runtime, const lilac_wait *ready) {
    for (; ready != &runtime->ready.head; ready = ready->next)
        if (ready->task && stage_has(ready->task)) return ready->task;
    return NULL;
}

struct task *task_next(struct runtime *runtime, struct task *task) {
    if (task && stage_has(task)) return next_staged(runtime, task->own.next);
    for (uint32_t slot = task ? task->slot : 0; slot < runtime->slots.count; slot++) {
        lua_State *co = runtime->coroutines[slot];
        struct task *found = co ? slot_of(co) : NULL;
        if (found && found != &runtime->root) return found;
    }
    return next_staged(runtime, runtime->ready.head.next);
}

/* ---- park and wake --------------------------------------------------------------------------- */

HOT static int parked_done(lua_State *L, int status, lua_KContext context) {
    (void)status;
    struct task *task = slot_of(L);
    if (task->raise) {
        task->raise = false;
        return task_raise_cancellation(L, task, 0);
    }
    return task->op->done(L, (lilac_wait *)context);
}

static inline struct task *park_at(lua_State *L, lilac_wait *wait, const lilac_op *op) {
    struct task *task = slot_of(L);
    wait->task = task;
    task->parked_on = wait;
    task->parked_in = L;
    task->op = op;
    task->deferred = false;
    return task;
}

HOT int task_park(lua_State *L, lilac_wait *wait, const lilac_op *op) {
    park_at(L, wait, op);
    return lua_yieldk(L, 0, (lua_KContext)wait, parked_done);
}

/* It was cancelled after it was woken, and before it came to park again. */
static int park_cancelled(lua_State *L, struct task *task, lilac_wait *wait) {
    task_interrupt(task);
    if (task->parked_on) return lua_yieldk(L, 0, (lua_KContext)wait, parked_done);
    waitq_unlink(&task->own); /* woken, while it runs */
    return parked_done(L, LUA_YIELD, (lua_KContext)wait);
}

int lilac_park(lua_State *L, lilac_wait *wait, const lilac_op *op) {
    if (!wait) wait = lilac_own_wait(L);
    struct task *task = park_at(L, wait, op);
    if (task->pending > 0) return park_cancelled(L, task, wait);
    return lua_yieldk(L, 0, (lua_KContext)wait, parked_done);
}

void task_wake(struct task *task) {
    lilac_wait *wait = task->parked_on;
    if (!wait) return;
    task->parked_on = NULL;
    if (wait == &task->own)
        waitq_unlink(wait);
    else
        wait->task = NULL;
    waitq_append(&task->runtime->ready, &task->own);
}

void lilac_wake(lilac_wait *wait) {
    if (wait->task) task_wake(wait->task);
}

static bool nesting_can_park(const struct runtime *runtime) {
    for (const struct nesting *at = runtime->nesting; at; at = at->outer)
        if (!lua_isyieldable(at->from)) return false;
    return true;
}

HOT struct task *task_able_to_wait(lua_State *L) {
    struct task *task = slot_of(L);
    struct runtime *runtime = task->runtime;
    if (task != runtime->current || task == &runtime->root) refuse_no_task(L);
    if (!lua_isyieldable(L) || (runtime->nesting && !nesting_can_park(runtime)))
        refuse_unyieldable(L);
    return task;
}

HOT void lilac_checkpoint(lua_State *L) {
    struct task *task = task_able_to_wait(L);
    if (task->pending > 0) task_raise_cancellation(L, task, 0);
}

void lilac_refuse_second(lua_State *L, const lilac_wait *wait, const char *what) {
    if (!wait->task) return;
    char first[TASK_TEXT], second[TASK_TEXT];
    task_text(wait->task, first, sizeof first);
    task_text(slot_of(L), second, sizeof second);
    lilac_throw(L, "InvalidStateError", "%s: %s is at it already (%s), and %s came second", what,
                first, wait->task->op->name, second);
}

/* ---- cancellation ---------------------------------------------------------------------------- */

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

/* Tasks that are cancelled in a loop share one request. */
static struct cancel_request *request_take(struct runtime *runtime,
                                           const struct cancel_request *asked) {
    struct cancel_request *last = runtime->last_request;
    bool shared = last && is_plain(asked) && is_same(last, asked);
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
    if (task->future.state != FUTURE_PENDING || task->interrupted_next) {
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
    bool is_first = task->shared == 0 || task->shared == request->shared;
    return is_plain(request) && others && is_first && task != task->runtime->main;
}

static void push_shared(lua_State *L, struct task *task) {
    struct cancel_request *request = task->request;
    if (request->shared == 0) {
        struct error *error = error_new_cancelled(L, CANCELLED_FUTURE, true, &request->origin);
        error->is_shared = true;
        error->number = ++task->runtime->last_error;
        request->shared_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        request->shared = error->number;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, request->shared_ref);
    task->shared = request->shared;
}

/* Pushes the error of the task's own request; one that is not shared, if it is to be `alone`. */
static void push_requested(lua_State *L, struct task *task, bool alone) {
    struct cancel_request *request = task->request;
    if (request->error_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, request->error_ref);
    } else if (!alone && can_share(task)) {
        push_shared(L, task);
    } else {
        bool has_message = request->message_ref != LUA_NOREF;
        error_new_cancelled(L, task->id, !has_message, &request->origin);
        if (has_message) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, request->message_ref);
            error_set_field(L, -2, "message");
        }
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
    scope->error = error->number = ++task->runtime->last_error;
    return true;
}

bool task_take_cancellation(lua_State *L, struct task *task) {
    return take_cancellation(L, task, false);
}

int task_raise_cancellation(lua_State *L, struct task *task, int cause) {
    if (!take_cancellation(L, task, cause != 0)) return luaL_error(L, "cancelled by nobody");
    if (cause != 0 && error_test(L, -1)) {
        lua_pushvalue(L, cause);
        error_set_field(L, -2, "cause");
    }
    report_hide_from_handlers(L);
    return lua_error(L);
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

bool task_is_own_cancellation(lua_State *L, int index) {
    struct task *task = slot_of(L)->runtime->current;
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

bool task_closes_cycle(lua_State *L, struct task *holder) {
    struct task *self = slot_of(L);
    bool has_deadline = scope_has_deadline(self);
    struct task *at = holder;
    uint32_t steps = 0; /* a circle without self may be there already, if it had a deadline once */
    for (; at && at != self && !has_deadline; at = at->op->holder(at->parked_on)) {
        has_deadline = scope_has_deadline(at);
        if (!at->parked_on || !at->op->holder || ++steps > self->runtime->live) return false;
    }
    return at && !has_deadline;
}

void task_refuse_cycle(lua_State *L, struct task *holder) {
    if (task_closes_cycle(L, holder)) refuse_cycle(L, slot_of(L), holder);
}

/* ---- running and ending ---------------------------------------------------------------------- */

/* Whether the cancellation on top of the stack, which ends the task, comes from a scope that is
 * still entered, as `local t = timeout(1)` without <close> leaves it: nobody has cancelled the task
 * then. The error is made to say what is missing. */
static bool blame_open_scope(lua_State *L, struct task *task, const struct error *error) {
    const struct scope *scope = error->by_scope ? task->scope : NULL;
    while (scope && scope->error != error->number)
        scope = scope->outer;
    if (!scope || !lua_checkstack(L, 6)) return false;
    lua_pushliteral(L, "its scope was not closed; write: local _ <close> = ...");
    error_set_field(L, -2, "message");
    return true;
}

/* How a task ends that returned, or whose error is on top of the stack. A cancellation that came
 * with the result of its last await comes too late, as the result would be lost; one that the task
 * asked for itself and then returned, counts, as in asyncio. */
static enum future_state end_state(lua_State *L, struct task *task, bool failed) {
    if (!failed) return task->request && task->request->own ? FUTURE_CANCELLED : FUTURE_DONE;
    const struct error *error = error_test(L, -1);
    if (!task_owns(task, error)) return FUTURE_FAILED;
    return blame_open_scope(L, task, error) ? FUTURE_FAILED : FUTURE_CANCELLED;
}

/* Ends a task: on top of the stack are its object and `count` results, or one error. Pops them. */
static void task_end(lua_State *L, struct task *task, enum future_state state, int count) {
    int object = lua_gettop(L) - count;
    if (task->scope) scope_leave_all(task);
    if (task->request) task_drop_request(task);
    if (task->has_context) context_copy(L, NULL, task);
    bool awaited = task->future.waiters != NULL;
    /* Whoever is told may still look for the task. */
    future_end(L, object, &task->future, state, count);
    if (stage_has(task))
        stage_leave(task);
    else if (task->L)
        pool_give(L, task);
    task->runtime->live--;
    if (state == FUTURE_FAILED && !awaited) report_failure(L, object);
    lua_settop(L, object - 1);
}

/* Ends a task that has run: the same is all there is on its coroutine. Mostly it is ended there,
 * where no object is made; the stack of the loop is for what may make one, and so may raise. */
static void end_on_coroutine(struct task *task, bool failed, int count) {
    lua_State *L = task->runtime->L, *co = task->L;
    enum future_state state = end_state(co, task, failed);
    if (state == FUTURE_CANCELLED && !failed) {
        lua_pop(co, count);
        count = 1;
        task_take_cancellation(co, task);
    }
    if (count > 1 || state == FUTURE_FAILED) {
        luaL_checkstack(L, count + 8, "too many results");
        lua_xmove(co, L, count + 1);
    } else {
        L = co;
    }
    task_end(L, task, state, count);
}

/* Ends a task with the error that is all there is on its coroutine. */
static void end_bare(struct task *task) {
    task_push(task->L, task);
    lua_insert(task->L, -2);
    end_on_coroutine(task, true, 1);
}

/* Ends a task that was cancelled before it began: its body never runs. */
static void end_unbegun(struct task *task) {
    lua_State *L = task->runtime->L;
    waitq_append(&task->runtime->ready, &task->own); /* where it is found if there is no memory */
    task_push(L, task);
    task_take_cancellation(L, task);
    waitq_unlink(&task->own);
    task_end(L, task, end_state(L, task, true), 1);
}

/* Gives a staged task a coroutine. False: there is no memory for one, and the task has failed. */
static bool leave_stage(struct task *task) {
    struct runtime *runtime = task->runtime;
    lua_State *L = runtime->L;
    int size = TRAMPOLINE_SIZE + (int)task->staged;
    bool can_begin = pool_next(runtime, size) != NULL;
    stage_push(L, task);
    if (!can_begin) {
        lua_pushcfunction(L, pool_add);
        lua_pushinteger(L, size);
        can_begin = lua_pcall(L, 1, 0, 0) == LUA_OK;
    }
    if (!can_begin) {
        task_end(L, task, FUTURE_FAILED, 1);
        return false;
    }
    lua_State *co = pool_next(runtime, size);
    push_trampoline(co);
    stage_push_all(co, task);
    stage_leave(task);
    pool_take(L, task);
    lua_pop(L, 1);
    return true;
}

HOT void task_resume(struct task *task) {
    struct runtime *runtime = task->runtime;
    int count = 0;
    if (!task->started) {
        if (task->pending > 0) {
            end_unbegun(task);
            return;
        }
        if (stage_has(task) && !leave_stage(task)) return;
        task->started = true;
        count = lua_gettop(task->L) - 1;
    }
    lua_State *co = task->L;
    task->parked_on = NULL; /* a sleep(0) is parked in the ready queue itself */
    runtime->current = task;
    runtime->running = co;
    int status = lua_resume(co, runtime->L, count, &count);
    runtime->running = NULL;
    runtime->current = NULL;
    if (status == LUA_YIELD && task->parked_on) return;
    if (status == LUA_OK) {
        end_on_coroutine(task, task->failed, count - 1);
        return;
    }
    if (status == LUA_YIELD) lua_pushliteral(co, "a C function yielded outside of any coroutine");
    lua_xmove(co, runtime->L, 1);
    lua_resetthread(co);
    lua_settop(co, 0);
    lua_xmove(runtime->L, co, 1);
    end_bare(task);
}

void lilac_check_abi(lua_State *L, int abi) {
    if (abi != LILAC_ABI)
        luaL_error(
            L, "this module was built for version %d of lilac.h, lilac " LILAC_VERSION " has %d",
            abi, LILAC_ABI);
}
