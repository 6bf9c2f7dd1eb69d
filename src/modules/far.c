#include "far.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "../core/interrupt.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "../core/state.h"
#include "builtin.h"
#include "context.h"
#include "transfer.h"

/* Of its grace a job gets so much for its clean-up; then what clings to its life is cancelled
 * again. Only C is left behind when the near end gives up, a little later. */
#define CLEAN_UP 0.8

struct far_setup {
    struct runtime_options options;
    bool ignores_environment;
    size_t memory;
    size_t path_size;
    char paths[]; /* package.path, package.cpath */
};

/* The context of a thread. */
struct far {
    lua_State *L;
    struct runtime *runtime;
    bool broken;
    int failure; /* why it could not be opened, a libuv code; 0: it is open */
};

struct far_setup *far_setup_new(lua_State *L, size_t memory) {
    size_t path_size = 0, cpath_size = 0;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "cpath");
    const char *path = luaL_tolstring(L, -2, &path_size);
    const char *cpath = luaL_tolstring(L, -2, &cpath_size);
    struct far_setup *setup = malloc(sizeof *setup + path_size + cpath_size + 2);
    if (setup) {
        setup->options = runtime_of(L)->options;
        setup->options.is_thread = true;
        setup->options.is_guest = false;
        setup->memory = memory;
        setup->path_size = path_size + 1;
        memcpy(setup->paths, path, path_size + 1);
        memcpy(setup->paths + path_size + 1, cpath, cpath_size + 1);
        lua_getfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
        setup->ignores_environment = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 5);
    return setup;
}

/* ---- a job ----------------------------------------------------------------------------------- */

static int job_returned(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L) - 1;
}

/* The main task of a job, which is at 1. First come the modules that its values belong to, as their
 * loading may await; `next` is where to look for more of them. */
static int job_main(lua_State *L, int status, lua_KContext next) {
    struct far_job *job = lua_touserdata(L, 1);
    uint32_t at = (uint32_t)next;
    const char *missing;
    (void)status;
    lua_settop(L, 1);
    while ((missing = transfer_missing(L, job->call, &at))) {
        lua_getglobal(L, "require");
        lua_pushstring(L, missing);
        lua_callk(L, 1, 0, (lua_KContext)at, job_main);
    }
    if (job->variables && transfer_unpack(L, job->variables)) context_set_all(L);
    int count = transfer_unpack(L, job->call);
    lua_callk(L, count - 1, LUA_MULTRET, 0, job_returned);
    return job_returned(L, LUA_OK, 0);
}

static int job_begin(lua_State *L) {
    return job_main(L, LUA_OK, 0);
}

/* [job, task that returned] */
static int pack_results(lua_State *L) {
    static const struct wording wording = {.op = "to_thread", .root = "result", .first = 1};
    struct far_job *job = lua_touserdata(L, 1);
    int count = future_take(L, 2);
    job->outcome = transfer_pack(L, lua_gettop(L) - count + 1, count, &wording);
    job->ending = ENDED_RETURNED;
    return 0;
}

/* [job, error, traceback] */
static int pack_error(lua_State *L) {
    static const struct wording wording = {
        .op = "to_thread", .root = "error", .refusal = TRAVEL_TEXT};
    struct far_job *job = lua_touserdata(L, 1);
    if (lua_type(L, 2) == LUA_TUSERDATA && !error_test(L, 2)) { /* its text says more */
        error_push_text(L, 2);
        lua_replace(L, 2);
    }
    job->outcome = transfer_pack(L, 2, 2, &wording);
    return 0;
}

/* The same; what stands in the way of the error, as its size may, goes in its place. */
static void send_error(lua_State *L, enum ending ending) {
    struct far_job *job = lua_touserdata(L, 1);
    job->ending = ending;
    lua_pushcfunction(L, pack_error);
    for (int i = 1; i <= 3; i++)
        lua_pushvalue(L, i);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
    lua_replace(L, 2);
    lua_pushnil(L);
    lua_replace(L, 3);
    pack_error(L);
}

/* [job] → nothing. What it raises breaks the runtime. */
static int run_protected(lua_State *L) {
    struct far_job *job = lua_touserdata(L, 1);
    struct runtime *runtime = runtime_of(L);
    state_make_room(L);
    lua_pushcfunction(L, job_begin);
    lua_pushvalue(L, 1);
    struct future *future = runtime_run_one(L, 1);
    job->untaken = runtime->untaken;
    runtime->untaken = 0;
    if (runtime->exiting) {
        job->ending = ENDED_EXITED;
        job->exit_code = runtime->exit_code;
        runtime->exiting = false;
        return 0;
    }
    if (future && future->state == FUTURE_DONE && future->results == 0) {
        job->ending = ENDED_RETURNED;
        return 0;
    }
    if (future && future->state == FUTURE_DONE) {
        lua_pushcfunction(L, pack_results);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        if (lua_pcall(L, 2, 0, 0) == LUA_OK) return 0;
        lua_pushnil(L);
    } else if (future) {
        future_push_error(L, 2);
        report_push_traceback(L, 2);
    } else {
        lua_pushnil(L);
    }
    lua_remove(L, 2); /* the task */
    send_error(L, future && future->state == FUTURE_CANCELLED ? ENDED_CANCELLED : ENDED_RAISED);
    return 0;
}

/* [job, what broke the runtime] */
static int pack_panic(lua_State *L) {
    luaL_tolstring(L, 2, NULL);
    lua_pushfstring(L, "%s (raised outside of all Lua code: the thread is given up)",
                    lua_tostring(L, -1));
    lua_replace(L, 2);
    lua_settop(L, 3);
    send_error(L, ENDED_RAISED);
    return 0;
}

bool far_run(struct job *base, void *context) {
    struct far_job *job = container_of(base, struct far_job, job);
    struct far *far = context;
    job->ending = ENDED_BROKEN;
    if (far) job->failure = far->failure;
    if (!far || far->failure != 0) return false;
    lua_State *L = far->L;
    lua_settop(L, 0);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, job);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_OK) return true;
    far->broken = true;
    job->ending = ENDED_BROKEN;
    lua_pushcfunction(L, pack_panic);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, job);
    lua_insert(L, 2);
    if (status != LUA_ERRMEM) lua_pcall(L, 2, 0, 0);
    return false;
}

void far_settle(struct job *base, void *context) {
    struct far_job *job = container_of(base, struct far_job, job);
    struct far *far = context;
    if (!far || !job->runtime) return;
    mailbox_withdraw(far->runtime->mailbox, &job->stop);
    interrupt_unpoke(far->runtime);
}

void far_free(struct job *base) {
    struct far_job *job = container_of(base, struct far_job, job);
    parcel_free(job->call);
    parcel_free(job->variables);
    parcel_free(job->outcome);
    free(job);
}

/* In the thread. */
static void on_stop(struct letter *letter) {
    struct far_job *job = container_of(letter, struct far_job, stop);
    uint64_t now_ns = clock_now(&job->runtime->clock);
    uint64_t grace_ns = seconds_to_ns(job->grace_s * CLEAN_UP);
    uint64_t end_ns = grace_ns < NEVER_NS - now_ns ? now_ns + grace_ns : NEVER_NS;
    runtime_stop(job->runtime, &job->origin, end_ns);
}

/* The thread cannot leave the job meanwhile. */
static void poke(struct job *base, void *context) {
    struct far_job *job = container_of(base, struct far_job, job);
    struct far *far = context;
    if (far->failure != 0) return;
    job->runtime = far->runtime;
    letter_init(&job->stop, on_stop);
    mailbox_post(far->runtime->mailbox, &job->stop);
    mailbox_wake(far->runtime->mailbox);
    interrupt_poke(far->runtime);
}

void far_stop(struct far_job *job) {
    if (!job->stopped) job_poke(&job->job, poke);
    job->stopped = true;
}

/* ---- a thread -------------------------------------------------------------------------------- */

static int open_protected(lua_State *L) {
    const struct far_setup *setup = lua_touserdata(L, 1);
    struct far *far = lua_touserdata(L, 2);
    if (setup->ignores_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    far->runtime = runtime_open(L, &setup->options);
    lilac_open_modules(L);
    lua_getglobal(L, "package");
    lua_pushstring(L, setup->paths);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, setup->paths + setup->path_size);
    lua_setfield(L, -2, "cpath");
    lua_rawgeti(L, LUA_REGISTRYINDEX, far->runtime->transparent_ref);
    lua_pushcfunction(L, job_begin);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    runtime_begin(L);
    return 0;
}

static int close_protected(lua_State *L) {
    runtime_finish(L);
    return 0;
}

static void far_close(void *context) {
    struct far *far = context;
    lua_State *L = far->L;
    if (far->runtime && !far->broken) {
        lua_settop(L, 0);
        lua_pushcfunction(L, close_protected);
        far->broken = lua_pcall(L, 0, 0, 0) != LUA_OK;
    }
    if (!far->broken || !runtime_give_up(L)) state_close(L);
    free(far);
    place_free_names();
}

/* [error, far]: keeps what the system has said, such as that there are too many open files. */
static int keep_failure(lua_State *L) {
    struct far *far = lua_touserdata(L, 2);
    if (!error_test(L, 1)) return 0;
    error_push_field(L, 1, "errno");
    if (lua_isinteger(L, -1)) far->failure = -(int)lua_tointeger(L, -1);
    return 0;
}

static void *far_open(void *setup) {
    struct far *far = calloc(1, sizeof *far);
    if (!far) return NULL;
    far->L = state_open(((struct far_setup *)setup)->memory);
    if (!far->L) {
        free(far);
        return NULL;
    }
    lua_pushcfunction(far->L, open_protected);
    lua_pushlightuserdata(far->L, setup);
    lua_pushlightuserdata(far->L, far);
    if (lua_pcall(far->L, 2, 0, 0) == LUA_OK) return far;
    far->broken = true;
    far->failure = UV_ENOMEM;
    lua_pushcfunction(far->L, keep_failure);
    lua_insert(far->L, 1);
    lua_pushlightuserdata(far->L, far);
    lua_pcall(far->L, 2, 0, 0);
    return far;
}

const struct crew_type far_crew = {.name = "thread", .open = far_open, .close = far_close};
