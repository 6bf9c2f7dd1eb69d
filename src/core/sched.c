/*
 * Tasks: creation, the trampoline, park and wake, the end. The turning of the loop is in loop.c,
 * cancellation in cancel.c, the printing in report.c.
 */
#include "sched.h"

#include <string.h>

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
        return task_raise_undone(L, task);
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
    task->raise = false;
    return task_raise_cancellation(L, task, 0);
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

/* ---- circles --------------------------------------------------------------------------------- */

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
