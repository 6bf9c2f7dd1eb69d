#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/error.h"
#include "../core/list.h"

enum { MAX_MODE = 07777, SUBJECT_ROOM = 4096 };

/* ---- arguments ------------------------------------------------------------------------------- */

const char *request_check_path(lua_State *L, int arg) {
    size_t size;
    const char *path = luaL_checklstring(L, arg, &size);
    luaL_argcheck(L, strlen(path) == size, arg, "path contains a zero byte");
    return path;
}

/* The permissions at `index`, which are (part of) argument `arg` and called `what`. */
static int check_mode(lua_State *L, int index, int arg, const char *what) {
    lua_Integer mode = -1;
    if (lua_type(L, index) == LUA_TNUMBER) {
        int is_integer;
        mode = lua_tointegerx(L, index, &is_integer);
        if (!is_integer) mode = -1;
    } else if (lua_type(L, index) == LUA_TSTRING) {
        const char *text = lua_tostring(L, index);
        size_t size = strlen(text);
        bool is_octal = size > 0 && size <= 5 && strspn(text, "01234567") == lua_rawlen(L, index);
        if (is_octal) mode = strtol(text, NULL, 8);
    }
    if (mode >= 0 && mode <= MAX_MODE) return (int)mode;
    const char *got = luaL_tolstring(L, index, NULL);
    return luaL_argerror(L, arg,
                         lua_pushfstring(L,
                                         "%s: octal string such as '644', or integer up to 4095, "
                                         "expected, got %s",
                                         what, got));
}

int request_check_mode(lua_State *L, int arg) {
    return lua_isnoneornil(L, arg) ? -1 : check_mode(L, arg, arg, "mode");
}

int request_option_mode(lua_State *L, int arg, const char *name) {
    if (!lua_istable(L, arg)) return -1;
    if (lua_getfield(L, arg, name) == LUA_TNIL) return -1;
    int index = lua_gettop(L);
    return check_mode(L, index, arg, lua_pushfstring(L, "option '%s'", name));
}

/* Pushes a string among the options, without zero bytes. */
static const char *option_text(lua_State *L, int arg, const char *name, const char *otherwise) {
    const char *text = args_option_string(L, arg, name, otherwise);
    if (strlen(text) != lua_rawlen(L, -1))
        luaL_argerror(L, arg, lua_pushfstring(L, "option '%s' contains a zero byte", name));
    return text;
}

/* Likewise, for a part of a file's name. */
static const char *option_name(lua_State *L, int arg, const char *name, const char *otherwise) {
    const char *part = option_text(L, arg, name, otherwise);
    if (!strchr(part, '/')) return part;
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "option '%s': name expected, got path '%s'", name, part));
    return NULL;
}

const char *request_push_template(lua_State *L, int arg, int *suffix_size) {
    const char *standard = getenv("TMPDIR");
    const char *dir = option_text(L, arg, "dir", standard && *standard ? standard : "/tmp");
    const char *prefix = option_name(L, arg, "prefix", "tmp");
    const char *suffix = suffix_size ? option_name(L, arg, "suffix", "") : "";
    if (suffix_size) *suffix_size = (int)strlen(suffix);
    return lua_pushfstring(L, "%s%s%sXXXXXX%s", dir, *dir ? "/" : "", prefix, suffix);
}

/* ---- results --------------------------------------------------------------------------------- */

const char *request_type(uint64_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "link";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    default: return "unknown";
    }
}

static void set_time(lua_State *L, const char *name, const uv_timespec_t *time) {
    lua_pushnumber(L, (double)time->tv_sec + (double)time->tv_nsec / 1e9);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

int request_push_stat(lua_State *L, const uv_stat_t *stat) {
    lua_createtable(L, 0, 14);
    lua_pushstring(L, request_type(stat->st_mode));
    lua_setfield(L, -2, "type");
    set_integer(L, "mode", stat->st_mode & MAX_MODE);
    set_integer(L, "size", stat->st_size);
    set_integer(L, "uid", stat->st_uid);
    set_integer(L, "gid", stat->st_gid);
    set_integer(L, "nlink", stat->st_nlink);
    set_integer(L, "dev", stat->st_dev);
    set_integer(L, "ino", stat->st_ino);
    set_integer(L, "blocks", stat->st_blocks);
    set_integer(L, "blksize", stat->st_blksize);
    set_time(L, "atime", &stat->st_atim);
    set_time(L, "mtime", &stat->st_mtim);
    set_time(L, "ctime", &stat->st_ctim);
    set_time(L, "birthtime", &stat->st_birthtim);
    return 1;
}

/* ---- the request ----------------------------------------------------------------------------- */

void request_free(struct request *request) {
    if (request->fd >= 0) close(request->fd);
    buffer_free(&request->data);
    free(request->path);
    free(request->other);
    free(request);
}

/* In a thread of the pool. */
static void on_run(uv_work_t *work) {
    struct request *request = container_of(work, struct request, work);
    request->op->run(request);
}

static void on_undo(uv_work_t *work) {
    struct request *request = container_of(work, struct request, work);
    request->op->undo(request);
}

static void on_undone(uv_work_t *work, int status) {
    (void)status;
    request_free(container_of(work, struct request, work));
}

static void on_over(uv_work_t *work, int status) {
    struct request *request = container_of(work, struct request, work);
    if (status != 0) request->status = status; /* UV_ECANCELED: it never ran */
    if (!request_is_left(request))
        lilac_wake(&request->wait);
    else if (request->status < 0 || !request->op->undo ||
             uv_queue_work(work->loop, work, on_undo, on_undone) != 0)
        request_free(request);
}

bool request_cancel(lilac_wait *wait) {
    struct request *request = container_of(wait, struct request, wait);
    atomic_store_explicit(&request->left, true, memory_order_relaxed);
    uv_cancel((uv_req_t *)&request->work); /* succeeds when no thread has begun it yet */
    return true;
}

void request_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", container_of(wait, struct request, wait)->path);
}

int request_raise(lua_State *L, int status, const char *op, const char *path, const char *other) {
    const char *colon = strchr(op, ':');
    lua_pushfstring(L, other ? "%s %s to %s" : "%s %s", colon ? colon + 1 : op, path, other);
    error_new_system(L, status);
    lua_pushstring(L, path);
    error_set_field(L, -2, "path");
    error_add_traceback(L, -1, 1);
    return lua_error(L);
}

/* [request] → the results, or the error. */
static int request_outcome(lua_State *L) {
    struct request *request = lua_touserdata(L, 1);
    const struct request_op *op = request->op;
    if (request->status < 0)
        return request_raise(L, request->status, op->wait.name, request->path, request->other);
    return op->push ? op->push(L, request) : 0;
}

/* The request is freed whether its results could be pushed or not: hence the protected call. */
int request_done(lua_State *L, lilac_wait *wait) {
    struct request *request = container_of(wait, struct request, wait);
    int before = lua_gettop(L);
    lua_pushcfunction(L, request_outcome);
    lua_pushlightuserdata(L, request);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    request_free(request);
    return status == LUA_OK ? lua_gettop(L) - before : lua_error(L);
}

struct request *request_new(lua_State *L, const struct request_op *op, const char *path,
                            const char *other) {
    lilac_checkpoint(L);
    struct request *request = calloc(1, sizeof *request);
    if (request) {
        request->op = op;
        request->fd = -1;
        request->path = strdup(path);
        request->other = other ? strdup(other) : NULL;
        if (request->path && (request->other || !other)) return request;
        request_free(request);
    }
    luaL_error(L, "%s: not enough memory", op->wait.name);
    return NULL;
}

int request_park(lua_State *L, struct request *request) {
    int status = uv_queue_work(lilac_loop(L), &request->work, on_run, on_over);
    if (status == 0) return lilac_park(L, &request->wait, &request->op->wait);
    request->status = status;
    return request_done(L, &request->wait);
}

/* ---- in the pool ----------------------------------------------------------------------------- */

int request_result(int64_t result) {
    return result < 0 ? uv_translate_sys_error(errno) : 0;
}

/* SIGXFSZ goes to the thread that writes: blocked there it stays pending, and harms nobody. Other
 * threads keep the disposition that the program has. */
void request_block_signals(void) {
    static _Thread_local bool is_blocked;
    sigset_t set;
    if (is_blocked) return;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    is_blocked = pthread_sigmask(SIG_BLOCK, &set, NULL) == 0;
}

int request_open(const char *path, int flags, int mode) {
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? request_result(fd) : fd;
}
