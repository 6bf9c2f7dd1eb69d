/*
 * lilac.child: child processes, bare; lua/lilac/process.lua makes lilac.process of them.
 *
 * The one nursery of a runtime watches SIGCHLD, and asks for the end of each of its children by its
 * number: those of os.execute, io.popen or of C modules are left to them. A child is found ended
 * before it is reaped. Until then its number, and that of its group, cannot be anybody else's: a
 * signal goes to the right processes.
 *
 * A child is freed when it is reaped and its box is collected, whichever comes last.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/object.h"
#include "../core/waitq.h"
#include "builtin.h"
#include "child_stdio.h"
#include "launch.h"
#include "signame.h"

struct nursery {
    lilac_handle handle; /* first */
    uv_signal_t sigchld;
    struct list children; /* that were not reaped yet */
    unsigned awaited;     /* by so many tasks: they keep the loop alive */
};

struct child {
    struct nursery *nursery; /* NULL: reaped, or given up by the end of the runtime */
    struct list link;
    pid_t pid;
    int status; /* as waitpid has it, once it has ended */
    bool has_ended;
    bool has_group;
    bool is_kept;   /* not reaped before reap() */
    bool detached;  /* outlives the runtime */
    bool is_ending; /* by terminate(): what is left of its group ends with it */
    bool has_box;
    struct waitq waiters;
};

struct child_box {
    const struct object_type *type;
    struct child *child;
};

static const struct object_type child_type = {"Child", sizeof(struct child_box)};
static const char nursery_key;

static struct child *child_check(lua_State *L) {
    struct child_box *box = object_check(L, 1, &child_type);
    if (!box->child) lilac_throw(L, "ClosedError", "the Child is closed");
    return box->child;
}

/* ---- the end of a child ---------------------------------------------------------------------- */

static void child_signal(const struct child *child, int signo) {
    if (child->nursery) kill(child->has_group ? -child->pid : child->pid, signo);
}

static void child_forget(struct child *child) {
    child->nursery = NULL;
    list_unlink(&child->link);
    if (!child->has_box) free(child);
}

/* It has ended: lets its number go. */
static void child_reap(struct child *child) {
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    child_forget(child);
}

static void child_end(struct child *child, int status) {
    struct nursery *nursery = child->nursery;
    child->has_ended = true;
    child->status = status;
    if (child->is_ending) child_signal(child, SIGKILL);
    nursery->awaited -= (unsigned)waitq_wake_all(&child->waiters);
    if (nursery->awaited == 0) uv_unref((uv_handle_t *)&nursery->sigchld);
    if (!child->is_kept) child_reap(child);
}

/* Whether it has ended; then *status is how. */
static bool has_ended(pid_t pid, int *status) {
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid)
        return false;
    *status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0) : info.si_status;
    return true;
}

/* Whether a child is left that must not outlive the runtime. */
static bool has_children(const struct nursery *nursery) {
    for (struct list *at = nursery->children.next; at != &nursery->children; at = at->next) {
        struct child *child = container_of(at, struct child, link);
        if (!child->has_ended && !child->detached) return true;
    }
    return false;
}

static void on_sigchld(uv_signal_t *sigchld, int signo) {
    struct nursery *nursery = container_of(sigchld, struct nursery, sigchld);
    (void)signo;
    for (struct list *at = nursery->children.next, *next; at != &nursery->children; at = next) {
        struct child *child = container_of(at, struct child, link);
        int status;
        next = at->next;
        if (!child->has_ended && has_ended(child->pid, &status)) child_end(child, status);
    }
    if (nursery->handle.closed && !has_children(nursery)) lilac_handle_finish(&nursery->handle);
}

/* ---- the nursery ----------------------------------------------------------------------------- */

/* The end of the runtime: no child outlives it, but those that are to. */
static void nursery_on_close(lilac_handle *handle) {
    struct nursery *nursery = (struct nursery *)handle;
    for (struct list *at = nursery->children.next; at != &nursery->children; at = at->next) {
        struct child *child = container_of(at, struct child, link);
        if (child->detached) continue;
        child->is_ending = true;
        child_signal(child, SIGTERM);
    }
}

static bool nursery_lingers(lilac_handle *handle) {
    return has_children((struct nursery *)handle);
}

/* Reaps a child that has ended, or was killed. One that a broken disk or the like holds in the
 * system is left. */
static void reap_killed(pid_t pid) {
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 100 && waitpid(pid, NULL, WNOHANG) == 0; i++)
        nanosleep(&pause, NULL);
}

static void nursery_on_free(lilac_handle *handle) {
    struct nursery *nursery = (struct nursery *)handle;
    for (struct list *at = nursery->children.next, *next; at != &nursery->children; at = next) {
        struct child *child = container_of(at, struct child, link);
        next = at->next;
        if (!child->detached) child_signal(child, SIGKILL);
        if (!child->detached || child->has_ended) reap_killed(child->pid);
        child_forget(child);
    }
}

static const lilac_handle_type nursery_type = {.name = "lilac.Nursery",
                                               .size = sizeof(struct nursery),
                                               .on_close = nursery_on_close,
                                               .on_free = nursery_on_free,
                                               .lingers = nursery_lingers};

/* The nursery of this state, which is opened when it is not there; pushes nothing. */
static struct nursery *nursery_open(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &nursery_key);
    struct nursery *nursery = lua_isnil(L, -1) ? NULL : lilac_handle_test(L, -1, &nursery_type);
    lua_pop(L, 1);
    if (nursery) return nursery;
    nursery = lilac_handle_new(L, &nursery_type);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &nursery_key);
    list_init(&nursery->children);
    int status = uv_signal_init(lilac_loop(L), &nursery->sigchld);
    if (status != 0) lilac_raise(L, status, "spawn");
    lilac_handle_opened(&nursery->handle, (uv_handle_t *)&nursery->sigchld);
    uv_unref((uv_handle_t *)&nursery->sigchld);
    status = uv_signal_start(&nursery->sigchld, on_sigchld, SIGCHLD);
    if (status != 0) {
        lilac_handle_close(&nursery->handle);
        lilac_raise(L, status, "spawn");
    }
    return nursery;
}

/* ---- spawn ----------------------------------------------------------------------------------- */

/* Raises for the value at `index`, which is no string, or has a zero byte. */
static void refuse_text(lua_State *L, int index, int arg, const char *what) {
    const char *got =
        lua_type(L, index) == LUA_TSTRING ? "one with a zero byte" : luaL_typename(L, index);
    luaL_argerror(L, arg, lua_pushfstring(L, "%s: string expected, got %s", what, got));
}

/* The string at `index`, which something holds; NULL for anything else, or with a zero byte. */
static char *text_at(lua_State *L, int index) {
    size_t size;
    if (lua_type(L, index) != LUA_TSTRING) return NULL;
    const char *text = lua_tolstring(L, index, &size);
    return strlen(text) == size ? (char *)text : NULL;
}

/* Pushes a NULL-terminated array of the strings in the list at 1, and what holds them: a finaliser
 * may change the list. */
static char **push_argv(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    luaL_argcheck(L, count > 0, 1, "program expected, got an empty list");
    char **argv = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *argv, 0);
    lua_newtable(L);
    int held = lua_gettop(L);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, 1, i + 1);
        argv[i] = text_at(L, -1);
        if (!argv[i]) {
            int index = lua_gettop(L);
            refuse_text(L, index, 1,
                        i == 0 ? "program"
                               : lua_pushfstring(L, "argument %d of the program", (int)i));
        }
        lua_rawseti(L, held, i + 1);
    }
    argv[count] = NULL;
    return argv;
}

/* Takes a variable out of an environment. Returns the new end. */
static char **env_remove(char **env, char **end, const char *name) {
    size_t size = strlen(name);
    char **to = env;
    for (char **from = env; from < end; from++)
        if (strncmp(*from, name, size) != 0 || (*from)[size] != '=') *to++ = *from;
    return to;
}

/* The change of an environment on top of the stack: name, value → "name=value" in place of the
 * value; NULL, when the variable is to be removed. */
static char *env_entry(lua_State *L, const char **name) {
    *name = text_at(L, -2);
    if (!*name) refuse_text(L, -2, 5, "option 'env': name");
    if (**name == '\0' || strchr(*name, '='))
        luaL_argerror(L, 5, lua_pushfstring(L, "option 'env': '%s' is no name", *name));
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) return NULL;
    if (!text_at(L, -1)) {
        const char *what = lua_pushfstring(L, "option 'env': value of '%s'", *name);
        refuse_text(L, -2, 5, what);
    }
    lua_pushfstring(L, "%s=%s", *name, lua_tostring(L, -1));
    lua_replace(L, -2);
    return (char *)lua_tostring(L, -1);
}

/* Pushes the environment of this process with the changes of option 'env', and what holds its new
 * strings. NULL: there are no changes. */
static char **push_env(lua_State *L) {
    if (!lua_istable(L, 5) || lua_getfield(L, 5, "env") == LUA_TNIL) return NULL;
    int changes = lua_gettop(L);
    if (!lua_istable(L, changes))
        luaL_argerror(
            L, 5,
            lua_pushfstring(L, "option 'env': table expected, got %s", luaL_typename(L, changes)));
    size_t count = 0, more = 0;
    while (environ[count])
        count++;
    for (lua_pushnil(L); lua_next(L, changes); lua_pop(L, 1))
        more++;
    char **env = lua_newuserdatauv(L, (count + more + 1) * sizeof *env, 0), **end = env + count;
    memcpy(env, environ, count * sizeof *env);
    lua_createtable(L, (int)more, 0);
    for (lua_pushnil(L); lua_next(L, changes); lua_pop(L, 1)) {
        /* A finaliser may add some. */
        if (more-- == 0) luaL_argerror(L, 5, "option 'env' has changed while it was read");
        const char *name;
        char *entry = env_entry(L, &name);
        end = env_remove(env, end, name);
        if (!entry) continue;
        *end++ = entry;
        lua_pushvalue(L, -1);
        lua_rawsetp(L, changes + 2, entry);
    }
    *end = NULL;
    return env;
}

static int raise_launch(lua_State *L, const struct launch *launch, int status) {
    if (!launch->culprit) return lilac_raise(L, status, "spawn %s", launch->argv[0]);
    if (strcmp(launch->culprit, "cwd") == 0)
        return lilac_raise(L, status, "spawn %s: cwd %s", launch->argv[0], launch->cwd);
    return lilac_raise(L, status, "spawn %s: %s", launch->argv[0], launch->culprit);
}

/* Pushes a box with a new child in it, which is nobody's yet. */
static struct child *child_new(lua_State *L) {
    struct child_box *box = object_new(L, &child_type, "lilac.Child", 0);
    struct child *child = box->child = calloc(1, sizeof *child);
    if (!child) luaL_error(L, "spawn: not enough memory");
    child->has_box = true;
    list_init(&child->link);
    waitq_init(&child->waiters);
    return child;
}

/* spawn(argv, stdin, stdout, stderr [, options]) → child, stdin, stdout, stderr */
static int child_spawn(lua_State *L) {
    static const char *const known[] = {"cwd", "env", "group", "detached", "limit", "kept", NULL};
    struct child_stdio stdio;
    lua_settop(L, 5);
    struct launch launch = {.argv = push_argv(L)};
    args_options(L, 5, known);
    launch.cwd = args_option_string(L, 5, "cwd", NULL);
    launch.has_group = args_option_boolean(L, 5, "group", true);
    launch.env = push_env(L);
    bool detached = args_option_boolean(L, 5, "detached", false);
    bool is_kept = args_option_boolean(L, 5, "kept", false);
    size_t limit = (size_t)args_option_count(L, 5, "limit", STREAM_LIMIT, INT32_MAX);
    luaL_checkstack(L, 10, "spawn");
    struct nursery *nursery = nursery_open(L);
    struct child *child = child_new(L);
    child_stdio_check(L, 2, &stdio, launch.argv[0], limit);
    int status = child_stdio_open(&stdio);
    bool is_open = status == 0;
    for (int i = 0; i < 3 && is_open; i++)
        launch.fds[i] = stdio.ends[i].fd;
    if (is_open) status = launch_program(&launch);
    child_stdio_finish(&stdio, status > 0);
    if (status < 0) {
        return is_open ? raise_launch(L, &launch, status)
                       : lilac_raise(L, status, "spawn %s", launch.argv[0]);
    }
    child->pid = status;
    child->has_group = launch.has_group || detached;
    child->is_kept = is_kept;
    child->detached = detached;
    child->nursery = nursery;
    list_append(&nursery->children, &child->link);
    return 4;
}

/* ---- wait ------------------------------------------------------------------------------------ */

static struct child *child_of(lilac_wait *wait) {
    return container_of(waitq_of(wait), struct child, waiters);
}

static bool wait_cancel(lilac_wait *wait) {
    struct nursery *nursery = child_of(wait)->nursery;
    if (--nursery->awaited == 0) uv_unref((uv_handle_t *)&nursery->sigchld);
    return waitq_cancel(wait);
}

static int wait_done(lua_State *L, lilac_wait *wait) {
    const struct child *child = child_check(L);
    (void)wait;
    if (WIFEXITED(child->status)) {
        lua_pushinteger(L, WEXITSTATUS(child->status));
        lua_pushnil(L);
        return 2;
    }
    int signo = WTERMSIG(child->status);
    lua_pushnil(L);
    if (signame_text(signo))
        lua_pushstring(L, signame_text(signo));
    else
        lua_pushfstring(L, "signal %d", signo);
    return 2;
}

static void wait_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "process %d", (int)child_of(wait)->pid);
}

static const lilac_op wait_op = {
    .name = "process:wait", .cancel = wait_cancel, .done = wait_done, .describe = wait_describe};

/* wait() → exit status, or nil and the name of the signal that ended it */
static int child_wait(lua_State *L) {
    struct child *child = child_check(L);
    lilac_checkpoint(L);
    lua_settop(L, 1);
    if (child->has_ended) return wait_done(L, NULL);
    if (!child->nursery) return lilac_throw(L, "ClosedError", "wait: lilac has left the process");
    if (child->nursery->awaited++ == 0) uv_ref((uv_handle_t *)&child->nursery->sigchld);
    return waitq_park(L, &child->waiters, &wait_op);
}

/* ---- kill, terminate, reap ------------------------------------------------------------------- */

/* kill(name) → whether it was there to be signalled, with its group if it has one */
static int child_kill(lua_State *L) {
    struct child *child = child_check(L);
    int signo = signame_check(L, 2);
    lua_pushboolean(L, child->nursery && !child->has_ended);
    child_signal(child, signo);
    return 1;
}

/* terminate() → whether it was running; SIGTERM for its group, and when it has ended, SIGKILL for
 * what is left of that. */
static int child_terminate(lua_State *L) {
    struct child *child = child_check(L);
    child->is_ending = true;
    lua_pushboolean(L, child->nursery && !child->has_ended);
    child_signal(child, child->has_ended ? SIGKILL : SIGTERM);
    return 1;
}

/* reap(): lets a child go that was kept, now or when it ends. */
static int child_let_go(lua_State *L) {
    struct child *child = child_check(L);
    child->is_kept = false;
    if (child->nursery && child->has_ended) child_reap(child);
    return 0;
}

static int child_pid(lua_State *L) {
    lua_pushinteger(L, child_check(L)->pid);
    return 1;
}

static int child_gc(lua_State *L) {
    struct child_box *box = object_check(L, 1, &child_type);
    struct child *child = box->child;
    if (!child) return 0;
    box->child = NULL;
    child->has_box = child->is_kept = false;
    if (!child->nursery)
        free(child);
    else if (child->has_ended)
        child_reap(child);
    return 0;
}

static int child_tostring(lua_State *L) {
    struct child_box *box = object_check(L, 1, &child_type);
    const struct child *child = box->child;
    if (child)
        lua_pushfstring(L, child->has_ended ? "%d, ended" : "%d", (int)child->pid);
    else
        lua_pushliteral(L, "closed");
    return object_tostring(L);
}

int luaopen_lilac_child(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"wait", child_wait},   {"kill", child_kill}, {"terminate", child_terminate},
        {"reap", child_let_go}, {"pid", child_pid},   {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", child_gc}, {"__tostring", child_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"spawn", child_spawn}, {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    lilac_handle_metatable(L, &nursery_type, NULL, NULL);
    object_class(L, "lilac.Child", methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
