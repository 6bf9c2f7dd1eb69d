/*
 * to_thread and ThreadPool: Lua functions in threads that have a Lua state and a runtime of their
 * own (far.c). What travels is packed here and unpacked there, and back again. A job is a far_job;
 * the task that waits for it has it at the bottom of its stack, and nil in its place once it was
 * abandoned.
 *
 * As with other tasks, a cancellation is passed on and the wait goes on until the far end has
 * cleaned up; but not for ever: what is stuck in C is left behind.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../core/args.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "builtin.h"
#include "code.h"
#include "context.h"
#include "far.h"
#include "transfer.h"

/* Of its grace a job that is cancelled has so much before its thread is abandoned: the rest is for
 * those who wait for it. */
#define PATIENCE 0.9

#define MAX_THREADS 1024

struct pool {
    const struct object_type *type;
    struct crew *crew;
    struct list jobs;      /* that are not over for us */
    struct waitq shutters; /* tasks in shutdown */
    bool shut, ended;
};

/* A parcel that waits for another one to be packed, which may raise. */
struct unsent {
    const struct object_type *type;
    struct parcel *parcel;
};

static const struct object_type pool_type = {"ThreadPool", sizeof(struct pool)};
static const struct object_type unsent_type = {"ThreadPool parcel", sizeof(struct unsent)};
static const char default_key; /* the pool of to_thread */

/* ---- pools ----------------------------------------------------------------------------------- */

/* Whether a task has one of its jobs, and will look at it. */
static bool is_awaited(const struct pool *pool) {
    for (const struct list *at = pool->jobs.next; at != &pool->jobs; at = at->next) {
        const struct far_job *job = container_of(at, struct far_job, in_pool);
        if (job->wait || job->watch.future) return true;
    }
    return false;
}

/* The collector takes no pool that is awaited, but at the end, when no task is left; a script may
 * call this by hand. */
static int pool_gc(lua_State *L) {
    struct pool *pool = object_check(L, 1, &pool_type);
    if (!pool->crew || (runtime_of(L)->live > 0 && is_awaited(pool))) return 0;
    crew_end(pool->crew, NULL, NULL);
    crew_release(pool->crew);
    pool->crew = NULL;
    struct list *link;
    while ((link = list_shift(&pool->jobs))) /* they came back to tasks that were dropped */
        far_free(&container_of(link, struct far_job, in_pool)->job);
    return 0;
}

static void refuse_gone(lua_State *L) {
    luaL_error(L, "the ThreadPool was collected");
}

static struct pool *check(lua_State *L) {
    struct pool *pool = object_check(L, 1, &pool_type);
    if (!pool->crew) refuse_gone(L);
    return pool;
}

/* Pushes a new one. */
static struct pool *pool_new(lua_State *L, unsigned max, size_t memory) {
    struct pool *pool = object_new(L, &pool_type, "lilac.ThreadPool", 0);
    list_init(&pool->jobs);
    waitq_init(&pool->shutters);
    struct far_setup *setup = far_setup_new(L, memory);
    if (setup) pool->crew = crew_open(runtime_of(L), &far_crew, max, setup);
    if (!pool->crew) luaL_error(L, "ThreadPool: not enough memory");
    return pool;
}

/* Pushes the pool of to_thread, which lasts until the shutdown. */
static struct pool *push_default(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &default_key) == LUA_TUSERDATA) {
        struct pool *pool = lua_touserdata(L, -1);
        if (!crew_is_ending(pool->crew)) return pool;
    }
    lua_pop(L, 1);
    struct pool *pool = pool_new(L, crew_usual_max(), 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &default_key);
    return pool;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void wake_shutters(struct pool *pool) {
    if (list_empty(&pool->jobs)) waitq_wake_all(&pool->shutters);
}

/* It is over for its pool. */
static void leave_pool(struct far_job *job) {
    list_unlink(&job->in_pool);
    wake_shutters(job->pool);
}

/* It has come back and nobody needs it any more. */
static void finish(struct far_job *job) {
    leave_pool(job);
    far_free(&job->job);
}

static void on_done(struct job *base) {
    struct far_job *job = container_of(base, struct far_job, job);
    clock_disarm(&runtime_of_crew(base->crew)->clock, &job->late);
    if (job->wait) {
        lilac_wake(job->wait);
    } else if (job->watch.future) {
        job->arrived = true;
    } else {
        finish(job);
    }
}

/* Nobody waits for it any more: it may as well stop. */
static void on_drop(struct job *base) {
    struct far_job *job = container_of(base, struct far_job, job);
    struct runtime *runtime = runtime_of_crew(base->crew);
    clock_disarm(&runtime->clock, &job->late);
    leave_pool(job);
    if (job->stopped) return;
    job->origin = (struct cancel_origin){.by = "the end of its ThreadPool"};
    job->grace_s = runtime->options.grace_s;
    far_stop(job);
}

static const struct job_type far_type = {
    .run = far_run, .settle = far_settle, .done = on_done, .drop = on_drop, .free = far_free};

/* Stuck in C: its thread is left to itself, and the job with it. */
static void on_late(struct deadline *deadline) {
    struct far_job *job = container_of(deadline, struct far_job, late);
    lilac_wait *wait = job->wait;
    struct runtime *runtime = runtime_of_crew(job->job.crew);
    double grace_s = runtime->options.grace_s;
    leave_pool(job);
    if (!job_abandon(&job->job)) { /* it has ended just now */
        list_append(&job->pool->jobs, &job->in_pool);
        return;
    }
    char who[TASK_TEXT] = "a job";
    if (wait) task_text(wait->task, who, sizeof who);
    fprintf(stderr,
            "lilac: %s was cancelled, and its thread did not end within the grace of %g s: it is "
            "inside a C function. It is left behind, and another one takes its place\n",
            who, grace_s);
    fflush(stderr);
    if (!wait) return;
    lua_State *L = wait->task->parked_in;
    lua_pushnil(L);
    lua_replace(L, 1);
    lilac_wake(wait);
}

/* Asks the far end to stop, and gives it its time. */
static void stop(struct far_job *job, const struct cancel_origin *origin) {
    struct runtime *runtime = runtime_of_crew(job->job.crew);
    if (job->stopped) return;
    uint64_t now_ns = clock_now(&runtime->clock);
    uint64_t patience_ns = seconds_to_ns(runtime->options.grace_s * PATIENCE);
    job->origin = *origin;
    job->grace_s = runtime->options.grace_s;
    job->late.kind = DEADLINE_JOB;
    clock_arm(&runtime->clock, &job->late,
              patience_ns < NEVER_NS - now_ns ? now_ns + patience_ns : NEVER_NS);
    far_stop(job);
}

/* Whether no thread had begun it; then it is gone. */
static bool withdraw(struct far_job *job) {
    struct pool *pool = job->pool;
    struct list *next = job->in_pool.next;
    list_unlink(&job->in_pool);
    bool is_gone = job_leave_queued(&job->job);
    if (is_gone)
        wake_shutters(pool);
    else
        list_append(next, &job->in_pool); /* where it was: somebody may be going through them */
    return is_gone;
}

/* The task of a submitted job was cancelled before it began to wait. */
static void on_unbegun(struct watch *watch, struct future *future, lua_State *L, int index) {
    (void)L, (void)index;
    struct far_job *job = container_of(watch, struct far_job, watch);
    static const struct cancel_origin origin = {.by = "the cancellation of its task"};
    (void)future;
    if (job->arrived)
        finish(job);
    else if (!withdraw(job))
        stop(job, &origin);
}

static const struct watcher watcher = {on_unbegun};

static int unsent_gc(lua_State *L) {
    struct unsent *unsent = object_check(L, 1, &unsent_type);
    parcel_free(unsent->parcel);
    unsent->parcel = NULL;
    return 0;
}

/* Packs the variables of the context, and pushes who has them; pushes nil where there are none. */
static struct unsent *push_variables(lua_State *L) {
    static const struct wording wording = {.op = "context", .refusal = TRAVEL_NIL};
    context_push_all(L);
    if (lua_isnil(L, -1)) return NULL;
    struct unsent *unsent = object_new(L, &unsent_type, "lilac.ThreadPool parcel", 0);
    unsent->parcel = transfer_pack(L, -2, 1, &wording);
    return unsent;
}

/* Sends the function and `count - 1` arguments from index `first` on to a thread of the pool. */
static struct far_job *job_send(lua_State *L, struct pool *pool, const char *op, int first) {
    const struct wording wording = {.op = op, .root = "argument", .first = first};
    int count = lua_gettop(L) - first + 1;
    struct unsent *unsent = push_variables(L);
    struct parcel *call = transfer_pack(L, first, count, &wording);
    if (!pool->crew) { /* since a finaliser has run: see pool_gc */
        parcel_free(call);
        refuse_gone(L);
    }
    struct far_job *job = calloc(1, sizeof *job);
    int status = UV_ENOMEM;
    if (job) {
        job->job.type = &far_type;
        job->call = call;
        job->variables = unsent ? unsent->parcel : NULL;
        job->op = op;
        job->pool = pool;
        job->watch.watcher = &watcher;
        status = crew_submit(pool->crew, &job->job);
    }
    if (status == 0) {
        if (unsent) unsent->parcel = NULL;
        list_append(&pool->jobs, &job->in_pool);
        return job;
    }
    parcel_free(call);
    free(job);
    lilac_raise(L, status, "%s: no thread could be started", op);
    return NULL;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* At the top there may be what debug.getinfo has just put there. */
static struct far_job *job_of(const lilac_wait *wait) {
    return lua_touserdata(wait->task->parked_in, 1);
}

static bool wait_cancel(lilac_wait *wait) {
    struct far_job *job = job_of(wait);
    struct cancel_origin origin = task_pending_origin(wait->task);
    origin.place.line = 0; /* its chunk has another number there */
    if (withdraw(job)) return true;
    stop(job, &origin);
    return false;
}

/* [job] → the values of its outcome */
static int unpack_outcome(lua_State *L) {
    struct far_job *job = lua_touserdata(L, 1);
    return transfer_unpack(L, job->outcome);
}

/* Pushes the outcome of a job, which is freed whether that raises or not. */
static int take_outcome(lua_State *L, struct far_job *job) {
    int top = lua_gettop(L);
    lua_pushcfunction(L, unpack_outcome);
    lua_pushlightuserdata(L, job);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    finish(job);
    return status == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

/* The program is to end, as a thread has called os.exit. */
static int exit_with(lua_State *L, int code) {
    lua_getglobal(L, "os");
    lua_getfield(L, -1, "exit");
    lua_pushinteger(L, code);
    lua_call(L, 1, 0);
    return 0;
}

/* [job] */
static int job_done(lua_State *L, lilac_wait *wait) {
    struct task *task = task_running(L);
    struct far_job *job = lua_touserdata(L, 1);
    bool is_cancelled = task_was_deferred(task);
    (void)wait;
    if (!job) return task_raise_cancellation(L, task, 0); /* abandoned */
    enum ending ending = job->ending;
    int exit_code = job->exit_code, failure = job->failure;
    const char *op = job->op;
    task->runtime->untaken += job->untaken;
    if (!job->outcome || (is_cancelled && ending != ENDED_RAISED)) {
        finish(job);
        if (is_cancelled) return task_raise_cancellation(L, task, 0);
        if (ending == ENDED_RETURNED) return 0;
        if (ending == ENDED_EXITED) return exit_with(L, exit_code);
        if (failure != 0) return lilac_raise(L, failure, "%s: no thread could be started", op);
        return luaL_error(L, "%s: not enough memory in the thread", op);
    }
    int count = take_outcome(L, job);
    if (ending == ENDED_RETURNED) return count;
    if (is_cancelled) return task_raise_cancellation(L, task, lua_gettop(L) - 1);
    report_note_far(L, -2);
    return lua_error(L);
}

static void job_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, job_of(wait)->job.thread ? "in a thread" : "waiting for a thread");
}

static const lilac_op job_op = {
    .name = "thread", .cancel = wait_cancel, .done = job_done, .describe = job_describe};

static int await(lua_State *L, struct far_job *job) {
    lua_pushlightuserdata(L, job);
    lua_insert(L, 1);
    job->wait = lilac_own_wait(L);
    return job->arrived ? job_done(L, job->wait) : lilac_park(L, job->wait, &job_op);
}

/* ---- Lua ------------------------------------------------------------------------------------- */

/* to_thread(fn, …) → results… */
static int to_thread(lua_State *L) {
    args_callable(L, 1);
    lilac_checkpoint(L);
    struct pool *pool = push_default(L);
    lua_pop(L, 1); /* the registry has it */
    return await(L, job_send(L, pool, "to_thread", 1));
}

/* The body of the task of a submitted job: [pool, job]. */
static int await_job(lua_State *L) {
    struct far_job *job = lua_touserdata(L, 2);
    lua_settop(L, 1);
    future_unwatch(&job->watch);
    return await(L, job);
}

/* pool:submit(fn, …) → Task */
static int pool_submit(lua_State *L) {
    static const struct cancel_origin origin = {.by = "the end of its ThreadPool"};
    struct pool *pool = check(L);
    args_callable(L, 2);
    if (pool->shut)
        return lilac_throw(L, "InvalidStateError", "submit: the ThreadPool is shut down");
    struct far_job *job = job_send(L, pool, "submit", 2);
    lua_settop(L, 1);
    lua_pushcfunction(L, await_job);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, job);
    struct future *task = &task_create(L, 2)->future;
    if (!pool->crew) { /* since a finaliser has run; the job is gone */
        future_cancel(task, &origin);
        refuse_gone(L);
    }
    future_watch(task, &job->watch);
    return 1;
}

/* pool:map(fn, list [, {concurrency=}]) is Lua: lua/lilac/thread_map.lua. */
static int map_done(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L);
}

static int pool_map(lua_State *L) {
    unsigned max = crew_max(check(L)->crew);
    lua_settop(L, 4);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lilac.thread_map");
    lua_call(L, 1, 1);
    lua_insert(L, 1);
    lua_pushinteger(L, max);
    lua_callk(L, 5, LUA_MULTRET, 0, map_done);
    return map_done(L, LUA_OK, 0);
}

static void on_end(void *ctx) {
    struct pool *pool = ctx;
    pool->ended = true;
    waitq_wake_all(&pool->shutters);
}

/* Whether all its jobs and threads have ended; the threads are told when the jobs have. */
static bool is_over(struct pool *pool) {
    if (!pool->ended && list_empty(&pool->jobs)) crew_end(pool->crew, on_end, pool);
    return pool->ended;
}

static struct pool *pool_of(lilac_wait *wait) {
    return container_of(waitq_of(wait), struct pool, shutters);
}

static void shutdown_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, list_empty(&pool_of(wait)->jobs) ? "its threads" : "its jobs");
}

static int shutdown_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    static const lilac_op op = {.name = "pool:shutdown",
                                .cancel = waitq_cancel,
                                .done = shutdown_done,
                                .describe = shutdown_describe};
    struct pool *pool = check(L);
    return is_over(pool) ? 0 : waitq_park(L, &pool->shutters, &op);
}

/* pool:shutdown(): waits for the jobs, then for the threads. */
static int pool_shutdown(lua_State *L) {
    struct pool *pool = check(L);
    lua_settop(L, 1);
    lilac_checkpoint(L);
    pool->shut = true;
    return shutdown_done(L, NULL);
}

/* ---- the end of its scope -------------------------------------------------------------------- */

static void cancel_jobs(struct pool *pool, const struct cancel_origin *origin) {
    struct list *at = pool->jobs.next, *next;
    for (; at != &pool->jobs; at = next) {
        struct far_job *job = container_of(at, struct far_job, in_pool);
        next = at->next; /* the job may be gone */
        if (job->wait)
            task_cancel(job->wait->task, origin, LUA_NOREF);
        else if (job->watch.future)
            future_cancel(job->watch.future, origin);
    }
}

/* The wait goes on: no job is left to itself. */
static bool close_cancel(lilac_wait *wait) {
    struct cancel_origin origin = task_pending_origin(wait->task);
    cancel_jobs(pool_of(wait), &origin);
    return false;
}

/* [pool, error or nil]. A cancellation that came while it waited is raised in the end, unless there
 * is an error already. */
static int close_done(lua_State *L, lilac_wait *wait) {
    static const lilac_op op = {.name = "pool:close",
                                .cancel = close_cancel,
                                .done = close_done,
                                .describe = shutdown_describe};
    struct pool *pool = check(L);
    struct task *task = task_able_to_wait(L);
    (void)wait;
    if (!is_over(pool)) {
        struct cancel_origin origin = task_pending_origin(task);
        if (task->pending > 0) cancel_jobs(pool, &origin);
        waitq_append(&pool->shutters, &task->own);
        return task_park(L, &task->own, &op);
    }
    task_was_deferred(task); /* forgotten: it is pending still */
    return task->pending > 0 && lua_isnil(L, 2) ? task_raise_cancellation(L, task, 0) : 0;
}

/* Leaving it by an error cancels the jobs first. */
static int pool_close(lua_State *L) {
    struct pool *pool = check(L);
    struct cancel_origin origin = cancel_origin_here(L, "the end of its ThreadPool's scope", 0);
    lua_settop(L, 2);
    pool->shut = true;
    if (!lua_isnil(L, 2)) cancel_jobs(pool, &origin);
    return close_done(L, NULL);
}

static int pool_tostring(lua_State *L) {
    struct pool *pool = check(L);
    lua_Integer jobs = 0;
    for (struct list *at = pool->jobs.next; at != &pool->jobs; at = at->next)
        jobs++;
    lua_pushfstring(L, "%d/%d threads, %I jobs%s", (int)crew_threads(pool->crew),
                    (int)crew_max(pool->crew), (LUAI_UACINT)jobs, pool->shut ? ", shut down" : "");
    return object_tostring(L);
}

/* ThreadPool(threads [, {memory=}]) */
static int thread_pool(lua_State *L) {
    static const char *const known[] = {"memory", NULL};
    unsigned max = crew_usual_max();
    if (!lua_isnoneornil(L, 1))
        max = (unsigned)args_integer(L, 1, "number of threads", 1, MAX_THREADS);
    args_options(L, 2, known);
    pool_new(L, max, (size_t)args_option_count(L, 2, "memory", 0, LUA_MAXINTEGER));
    return 1;
}

/* cpu_count(): of those that this process may run on. */
static int cpu_count(lua_State *L) {
    lua_pushinteger(L, uv_available_parallelism());
    return 1;
}

int luaopen_lilac_thread(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"submit", pool_submit}, {"map", pool_map}, {"shutdown", pool_shutdown}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", pool_tostring}, {"__close", pool_close}, {"__gc", pool_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"to_thread", to_thread},
                                         {"ThreadPool", thread_pool},
                                         {"cpu_count", cpu_count},
                                         {NULL, NULL}};
    static const luaL_Reg no_methods[] = {{NULL, NULL}};
    static const luaL_Reg unsent_meta[] = {{"__gc", unsent_gc}, {NULL, NULL}};
    code_open(L);
    object_class(L, "lilac.ThreadPool", methods, meta);
    object_class(L, "lilac.ThreadPool parcel", no_methods, unsent_meta);
    runtime_of(L)->clock.fire[DEADLINE_JOB] = on_late;
    luaL_newlib(L, functions);
    return 1;
}
