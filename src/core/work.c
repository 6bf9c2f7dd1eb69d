/*
 * A job has two ends: the thread's (the work is over) and Lua's (the outcome was taken, or the task
 * gave up). Whoever comes last frees it, so a cancelled task goes on at once and the work finishes
 * behind its back.
 */
#include "work.h"

#include <stdlib.h>

#include "crew.h"
#include "runtime.h"

/* The arguments of lilac_work. */
struct work {
    void (*work)(void *data);
    int (*done)(lua_State *L, void *data);
    void *data;
    void (*release)(void *data);
};

struct work_job {
    struct job job;
    lilac_wait wait;
    struct work work;
};

static struct work_job *job_of(struct job *job) {
    return container_of(job, struct work_job, job);
}

static bool work_run(struct job *job, void *context) {
    (void)context;
    job_of(job)->work.work(job_of(job)->work.data);
    return true;
}

static void on_worked(struct job *job) {
    lilac_wake(&job_of(job)->wait);
}

static void work_free(struct job *job) {
    job_of(job)->work.release(job_of(job)->work.data);
    free(job);
}

static const struct job_type work_type = {.run = work_run, .done = on_worked, .free = work_free};

/* The job, and `wait` in it, is freed at once where no thread has begun it: so out of it first. */
static bool work_cancel(lilac_wait *wait) {
    lilac_wake(wait);
    job_leave(&container_of(wait, struct work_job, wait)->job);
    return true;
}

/* Runs the work's done() with the arguments where the blocking function left them. */
static int work_call(lua_State *L) {
    struct work *work = lua_touserdata(L, 1);
    lua_remove(L, 1);
    return work->done(L, work->data);
}

/* The job is freed whether its done() returns or raises: hence the protected call, whose frame gets
 * a copy of the arguments. */
static int work_done(lua_State *L, lilac_wait *wait) {
    struct work_job *job = container_of(wait, struct work_job, wait);
    int arguments = lua_gettop(L);
    if (!lua_checkstack(L, arguments + LUA_MINSTACK)) {
        work_free(&job->job);
        return luaL_error(L, "stack overflow");
    }
    lua_pushcfunction(L, work_call);
    lua_pushlightuserdata(L, &job->work);
    for (int i = 1; i <= arguments; i++)
        lua_pushvalue(L, i);
    int status = lua_pcall(L, arguments + 1, LUA_MULTRET, 0);
    work_free(&job->job);
    if (status != LUA_OK) return lua_error(L);
    return lua_gettop(L) - arguments;
}

static const lilac_op work_op = {.name = "thread pool", .cancel = work_cancel, .done = work_done};

/* ---- lanes ----------------------------------------------------------------------------------- */

static const struct crew_type lane_types[LANES] = {
    [LANE_WORK] = {.name = "work"}, [LANE_LOOKUP] = {.name = "lookup"}};

struct crew *lane_crew(lua_State *L, enum lane lane) {
    struct runtime *runtime = runtime_of(L);
    if (!runtime->lanes[lane])
        runtime->lanes[lane] = crew_open(runtime, &lane_types[lane], crew_usual_max(), NULL);
    return runtime->lanes[lane];
}

int lilac_work(lua_State *L, void (*work)(void *data), int (*done)(lua_State *L, void *data),
               void *data, void (*release)(void *data)) {
    struct work_job *job = calloc(1, sizeof *job);
    struct crew *crew = job ? lane_crew(L, LANE_WORK) : NULL;
    int status = UV_ENOMEM;
    if (!release) release = free;
    if (crew) {
        job->job.type = &work_type;
        job->work = (struct work){work, done, data, release};
        status = crew_submit(crew, &job->job);
    }
    if (status == 0) return lilac_park(L, &job->wait, &work_op);
    release(data);
    free(job);
    return lilac_raise(L, status, "work: no thread could be started");
}
