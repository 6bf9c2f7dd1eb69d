/*
 * Blocking C in libuv's thread pool, awaited. A job has two ends: the pool's (the work is over) and
 * Lua's (the outcome was taken, or the task gave up). Whoever comes last frees it, so a cancelled
 * task goes on at once and the work finishes behind its back.
 */
#include <stdlib.h>

#include "../lilac.h"
#include "list.h"

struct job {
    uv_work_t request;
    lilac_wait wait;
    void (*work)(void *data);
    int (*done)(lua_State *L, void *data);
    void (*release)(void *data);
    void *data;
    bool over, left; /* the pool's end; Lua's end */
};

static void job_free(struct job *job) {
    job->release(job->data);
    free(job);
}

/* In a thread of the pool. */
static void on_work(uv_work_t *request) {
    struct job *job = container_of(request, struct job, request);
    job->work(job->data);
}

static void on_worked(uv_work_t *request, int status) {
    struct job *job = container_of(request, struct job, request);
    (void)status; /* UV_ECANCELED only after job_cancel */
    job->over = true;
    if (job->left) {
        job_free(job);
    } else {
        lilac_wake(&job->wait);
    }
}

static bool job_cancel(lilac_wait *wait) {
    struct job *job = container_of(wait, struct job, wait);
    job->left = true;
    uv_cancel((uv_req_t *)&job->request); /* succeeds when no thread has begun it yet */
    return true;
}

/* Runs the job's done() with the arguments where the blocking function left them. */
static int job_call(lua_State *L) {
    struct job *job = lua_touserdata(L, 1);
    lua_remove(L, 1);
    return job->done(L, job->data);
}

/* The job is freed whether its done() returns or raises: hence the protected call, whose frame gets
 * a copy of the arguments. */
static int job_done(lua_State *L, lilac_wait *wait) {
    struct job *job = container_of(wait, struct job, wait);
    int arguments = lua_gettop(L);
    if (!lua_checkstack(L, arguments + LUA_MINSTACK)) {
        job_free(job);
        return luaL_error(L, "stack overflow");
    }
    lua_pushcfunction(L, job_call);
    lua_pushlightuserdata(L, job);
    for (int i = 1; i <= arguments; i++)
        lua_pushvalue(L, i);
    int status = lua_pcall(L, arguments + 1, LUA_MULTRET, 0);
    job_free(job);
    if (status != LUA_OK) return lua_error(L);
    return lua_gettop(L) - arguments;
}

static const lilac_op job_op = {.name = "thread pool", .cancel = job_cancel, .done = job_done};

int lilac_work(lua_State *L, void (*work)(void *data), int (*done)(lua_State *L, void *data),
               void *data, void (*release)(void *data)) {
    if (!release) release = free;
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        release(data);
        return luaL_error(L, "not enough memory");
    }
    job->work = work;
    job->done = done;
    job->data = data;
    job->release = release;
    int status = uv_queue_work(lilac_loop(L), &job->request, on_work, on_worked);
    if (status != 0) {
        job_free(job);
        return lilac_raise(L, status, "uv_queue_work");
    }
    return lilac_park(L, &job->wait, &job_op);
}
