#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "crew.h"
#include "dump.h"
#include "handle.h"
#include "interrupt.h"
#include "loop.h"
#include "report.h"
#include "scope.h"
#include "stage.h"

#define DRY_MS 1000

/* ---- opening --------------------------------------------------------------------------------- */

const char runtime_key;

static int new_table_ref(lua_State *L, const char *mode) {
    lua_newtable(L);
    if (mode) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void on_sleep_over(struct deadline *deadline) {
    task_wake(container_of(deadline, struct task, deadline));
}

static void on_grace_over(struct deadline *deadline) {
    (void)deadline;
}

/* It keeps the loop alive only while nothing but letters can come. */
static void on_wakeup(uv_async_t *wakeup) {
    struct runtime *runtime = container_of(wakeup, struct runtime, wakeup);
    mailbox_deliver(runtime->mailbox);
    if (runtime->expected == 0) uv_unref((uv_handle_t *)wakeup);
}

static void free_tables(struct runtime *runtime) {
    clock_free(&runtime->clock);
    free(runtime->slots.free);
    free(runtime->scope_slots.free);
    free(runtime->coroutines);
    if (runtime->requests) allocator_close(runtime->requests);
}

static atomic_bool left_behind;

/* The last word, from lua_close: by now the loop has run dry, unless Lua was closed without a
 * shutdown. */
static int runtime_gc(lua_State *L) {
    struct runtime **box = lua_touserdata(L, 1), *runtime = *box;
    *box = NULL;
    if (!runtime) return 0;
    if (runtime->open) {
        interrupt_close(runtime);
        crews_end(runtime);
        crews_abandon(runtime);
        mailbox_close(runtime->mailbox);
        handle_close_all(runtime);
        uv_close((uv_handle_t *)&runtime->timer, NULL);
        uv_close((uv_handle_t *)&runtime->wakeup, NULL);
        uv_run(&runtime->loop, UV_RUN_NOWAIT);
        handle_free_all(runtime);
    }
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task))
        task_drop_request(task);
    free_tables(runtime);
    if (runtime->L)
        *(struct task **)lua_getextraspace(runtime->L) = NULL; /* see adopt in sched.c */
    /* A thread of the pool that is stuck in a system call may still write to the loop. */
    if (runtime->open && uv_loop_close(&runtime->loop) != 0)
        left_behind = true;
    else
        free(runtime);
    return 0;
}

bool runtime_give_up(lua_State *L) {
    struct task *root = *(struct task **)lua_getextraspace(L);
    struct runtime *runtime = root ? root->runtime : NULL;
    if (!runtime || !runtime->polling) return false;
    interrupt_close(runtime);
    crews_end(runtime);
    crews_abandon(runtime);
    mailbox_close(runtime->mailbox);
    left_behind = true;
    return true;
}

bool runtime_left_threads(void) {
    return left_behind || crews_lost() > 0;
}

static void open_loop(lua_State *L, struct runtime *runtime) {
    int code = uv_loop_init(&runtime->loop);
    if (code < 0) lilac_raise(L, code, "uv_loop_init");
    code = uv_async_init(&runtime->loop, &runtime->wakeup, on_wakeup);
    if (code < 0) {
        uv_loop_close(&runtime->loop);
        lilac_raise(L, code, "uv_async_init");
    }
    runtime->mailbox = mailbox_open(&runtime->wakeup);
    if (!runtime->mailbox) {
        uv_close((uv_handle_t *)&runtime->wakeup, NULL);
        uv_run(&runtime->loop, UV_RUN_NOWAIT);
        uv_loop_close(&runtime->loop);
        luaL_error(L, "lilac: not enough memory");
    }
    uv_timer_init(&runtime->loop, &runtime->timer);
    uv_unref((uv_handle_t *)&runtime->wakeup);
    runtime->open = true;
}

struct runtime *runtime_open(lua_State *L, const struct runtime_options *options) {
    luaL_requiref(L, "lilac.errors", luaopen_lilac_errors, 0); /* for what fails here */
    lua_pop(L, 1);
    struct runtime **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, runtime_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &runtime_key);
    struct runtime *runtime = *box = calloc(1, sizeof *runtime);
    if (!runtime) luaL_error(L, "lilac: not enough memory");
    runtime->options = *options;
    runtime->root.future.magic = TASK_MAGIC;
    runtime->root.runtime = runtime;
    runtime->random = options->shuffle_seed | 1;
    runtime->handles.next = runtime->handles.prev = &runtime->handles;
    loop_init(runtime);
    list_init(&runtime->failed_gathers);
    list_init(&runtime->crews);
    list_init(&runtime->stages);
    runtime->clock.fire[DEADLINE_SLEEP] = on_sleep_over;
    runtime->clock.fire[DEADLINE_SCOPE] = scope_on_deadline;
    runtime->clock.fire[DEADLINE_REPORT] = report_on_deadline;
    runtime->clock.fire[DEADLINE_GRACE] = on_grace_over;
    runtime->report_deadline.kind = DEADLINE_REPORT;
    runtime->exception_handler_ref = LUA_NOREF;
    runtime->spare_request = cancel_request_by("somebody, out of memory");
    runtime->spare_request.tasks = 1;     /* so that it is never freed */
    runtime->requests = allocator_open(); /* from here on runtime_gc can end what has begun */
    if (!runtime->requests) luaL_error(L, "lilac: not enough memory");
    open_loop(L, runtime);
    ages_look(&runtime->ages, 0, clock_coarse_ns());
    runtime->tasks_ref = new_table_ref(L, NULL);
    runtime->scopes_ref = new_table_ref(L, NULL);
    runtime->names_ref = new_table_ref(L, "k");
    runtime->tracebacks_ref = new_table_ref(L, "k");
    runtime->rethrown_ref = new_table_ref(L, "k");
    runtime->contexts_ref = new_table_ref(L, NULL);
    runtime->failures_ref = new_table_ref(L, NULL);
    runtime->transparent_ref = new_table_ref(L, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    runtime->L = lua_tothread(L, -1);
    *(struct task **)lua_getextraspace(runtime->L) = &runtime->root;
    *(struct task **)lua_getextraspace(L) = &runtime->root;
    lua_pop(L, 1);
    return runtime;
}

/* ---- main and shutdown ----------------------------------------------------------------------- */

static void push_deadlock(lua_State *L) {
    dump_push_tasks(L, false);
    lua_pushfstring(L, "nothing is ready, and no timer or I/O is left to wait for; parked are:%s",
                    lua_tostring(L, -1));
    lua_remove(L, -2);
    error_new(L, "DeadlockError");
}

/* A main that was told already, and waits for the end of something that does not end, never gets
 * out. */
static void raise_deadlock(struct runtime *runtime) {
    lua_State *L = runtime->L;
    if (runtime->main->deferred) {
        runtime->deadlocked = true;
        return;
    }
    push_deadlock(L);
    task_throw(runtime->main, luaL_ref(L, LUA_REGISTRYINDEX));
}

/* Cancels all live tasks that were not cancelled by an earlier call: `last_id` is the newest of
 * those. */
static uint32_t cancel_left(struct runtime *runtime, uint32_t last_id) {
    static const struct cancel_origin origin = {.by = "the end of the program"};
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task))
        if (task->id > last_id && !task->leaving) task_cancel(task, &origin, LUA_NOREF);
    return runtime->last_id;
}

static void report_dropped(struct runtime *runtime, const char *why) {
    lua_State *L = runtime->L;
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task)) {
        char name[TASK_TEXT];
        task_text(task, name, sizeof name);
        report_push_stack(L, task);
        fprintf(stderr, "lilac: %s was cancelled and %s\n%s\n", name, why, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
}

/* Takes the tasks, not the callbacks, out of a ready queue. */
static void drop_ready(struct waitq *queue) {
    for (lilac_wait *wait = queue->head.next, *next; wait != &queue->head; wait = next) {
        next = wait->next;
        if (wait->task) waitq_unlink(wait);
    }
}

/* Undoes the waits of tasks that will never run again, so that no callback finds them, nor a later
 * main of this thread. */
static void drop_left(struct runtime *runtime) {
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task)) {
        if (task->parked_on && task->op->cancel) task->op->cancel(task->parked_on);
        scope_leave_all(task);
        task->parked_on = NULL;
    }
    /* Their objects and coroutines stay where they are, as others may still point at them. */
    for (struct task *task = task_next(runtime, NULL); task; task = task_next(runtime, task)) {
        task_drop_request(task);
        if (!stage_has(task)) runtime->coroutines[task->slot - 1] = NULL;
    }
    drop_ready(&runtime->arrived);
    drop_ready(&runtime->ready);
    runtime->live = 0;
}

/* Cancels and awaits all tasks, until the end of the grace. */
static void drain(struct runtime *runtime, uint64_t end_ns) {
    struct deadline grace = {.kind = DEADLINE_GRACE};
    clock_arm(&runtime->clock, &grace, end_ns);
    runtime->grace_end_ns = end_ns;
    interrupt_watch(runtime);
    bool stuck = false, late = false;
    for (uint32_t last_id = 0; runtime->live > 0 && !stuck && !late;) {
        if (runtime->last_id != last_id) last_id = cancel_left(runtime, last_id);
        stuck = !loop_turn(runtime);
        late = clock_now(&runtime->clock) >= end_ns;
    }
    interrupt_unwatch(runtime);
    clock_disarm(&runtime->clock, &grace);
    if (runtime->live == 0) return;
    char why[80] = "waits for what nobody is left to do";
    if (!stuck)
        snprintf(why, sizeof why, "did not end within the grace of %g s", runtime->options.grace_s);
    report_dropped(runtime, why);
    drop_left(runtime);
}

/* Runs the loop until the last handle, request and thread are done with. What nobody awaits any
 * more, and cannot be stopped (a read of a dead disk, C in a thread), is not waited for longer than
 * DRY_MS. */
static void run_dry(struct runtime *runtime) {
    uv_update_time(&runtime->loop);
    uv_timer_start(&runtime->timer, loop_on_timer, DRY_MS, 0);
    uv_unref((uv_handle_t *)&runtime->timer);
    if (runtime->expected > 0) uv_ref((uv_handle_t *)&runtime->wakeup);
    loop_poll(runtime, UV_RUN_DEFAULT);
    uv_unref((uv_handle_t *)&runtime->wakeup);
    uv_timer_stop(&runtime->timer);
    uv_ref((uv_handle_t *)&runtime->timer);
}

/* When a grace that begins now ends. */
static uint64_t grace_end(struct runtime *runtime) {
    uint64_t now_ns = clock_now(&runtime->clock),
             grace_ns = seconds_to_ns(runtime->options.grace_s);
    return grace_ns < NEVER_NS - now_ns ? now_ns + grace_ns : NEVER_NS;
}

static void shut_down(struct runtime *runtime) {
    runtime->closing = true;
    drain(runtime, grace_end(runtime));
    report_due(runtime, true);
    crews_end(runtime);
    handle_close_all(runtime);
    run_dry(runtime);
    crews_abandon(runtime);
    runtime->closing = false;
}

/* The outcome of main (its object at `index`): prints the error that ended it. */
static int main_status(struct runtime *runtime, int index) {
    lua_State *L = runtime->L;
    struct future *main = future_test(L, index);
    if (main->state == FUTURE_DONE || runtime->exiting) return 0;
    future_push_error(L, index);
    if (main->state == FUTURE_CANCELLED && interrupt_ended_main(runtime, -1)) return 1;
    report_push_traceback(L, index);
    report_push_error(L, -2, -1);
    fprintf(stderr, "lilac: %s\n", lua_tostring(L, -1));
    fflush(stderr);
    return error_is(L, -3, "DeadlockError") ? 3 : 1;
}

/* Prints the deadlock that main could not be told of. */
static int deadlock_status(lua_State *L) {
    push_deadlock(L);
    report_push_error(L, -1, 0);
    fprintf(stderr, "lilac: %s\n", lua_tostring(L, -1));
    fflush(stderr);
    lua_pop(L, 2);
    return 3;
}

/* Runs the function and its arguments as main until it ends, os.exit is called, or it is stuck for
 * good; leaves its object. */
static void turn_until_over(struct runtime *runtime, lua_State *L, int nargs) {
    ages_look(&runtime->ages, runtime->last_id, clock_coarse_ns());
    runtime->main = task_create(L, nargs);
    while (!loop_is_over(runtime))
        if (!loop_turn(runtime)) raise_deadlock(runtime);
    if (!runtime->main->L) runtime->main = NULL;
}

static void run_main(struct runtime *runtime, lua_State *L, int nargs) {
    runtime->L = L;
    interrupt_open(runtime);
    mailbox_count_work(1);
    turn_until_over(runtime, L, nargs);
}

static void finish(struct runtime *runtime) {
    lua_State *L = runtime->L;
    shut_down(runtime);
    mailbox_count_work(-1);
    if (!runtime->exiting) interrupt_end(runtime);
    interrupt_close(runtime);
    runtime->main = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD); /* L may be a coroutine, and not last */
    runtime->L = lua_tothread(L, -1);
    lua_pop(L, 1);
}

int runtime_main(lua_State *L, int nargs) {
    struct runtime *runtime = runtime_of(L);
    run_main(runtime, L, nargs);
    int status = runtime->deadlocked ? deadlock_status(L)
                 : runtime->main     ? 0
                                     : main_status(runtime, lua_gettop(L));
    finish(runtime);
    lua_pop(L, 1);
    if (runtime->exiting) return runtime->exit_code;
    return status == 0 && runtime->untaken > 0 ? 1 : status;
}

int runtime_run(lua_State *L, int nargs) {
    struct runtime *runtime = runtime_of(L);
    struct nesting *nesting = runtime->nesting; /* the host may call from a coroutine */
    lua_State *running = runtime->running;
    runtime->nesting = NULL;
    run_main(runtime, L, nargs);
    bool deadlocked = runtime->deadlocked;
    if (deadlocked)
        push_deadlock(L);
    else
        future_test(L, -1)->taken = true; /* below */
    finish(runtime);
    runtime->deadlocked = false;
    runtime->nesting = nesting;
    runtime->running = running;
    if (runtime->exiting) exit(runtime->exit_code);
    return deadlocked ? lua_error(L) : future_take(L, lua_gettop(L));
}

int runtime_exit_signal(lua_State *L) {
    return runtime_of(L)->exit_signal;
}

/* ---- a runtime in a thread of another one ---------------------------------------------------- */

void runtime_begin(lua_State *L) {
    interrupt_open(runtime_of(L));
}

struct future *runtime_run_one(lua_State *L, int nargs) {
    struct runtime *runtime = runtime_of(L);
    turn_until_over(runtime, L, nargs);
    future_test(L, -1)->taken = true;
    if (runtime->live > 0) {
        runtime->closing = true;
        drain(runtime, grace_end(runtime));
        runtime->closing = false;
    }
    if (runtime->failures_first < runtime->failures_last) report_due(runtime, true);
    /* What was closed is to be closed for everybody. */
    if (uv_loop_alive(&runtime->loop)) loop_poll(runtime, UV_RUN_NOWAIT);
    if (runtime->stopping) interrupt_unwatch(runtime);
    runtime->stopping = false;
    runtime->main = NULL;
    if (runtime->deadlocked) push_deadlock(L);
    runtime->deadlocked = false;
    return future_test(L, -1);
}

void runtime_finish(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    shut_down(runtime);
    interrupt_close(runtime);
}

void runtime_stop(struct runtime *runtime, const struct cancel_origin *origin, uint64_t end_ns) {
    if (!runtime->main || runtime->stopping) return;
    runtime->stopping = true;
    runtime->grace_end_ns = end_ns;
    interrupt_watch(runtime);
    task_cancel(runtime->main, origin, LUA_NOREF);
}
