/*
 * lilac.file: opening files, and what File objects do besides reading (file_read.c) and writing
 * (file_write.c). See file.h.
 *
 * A job's result goes to the file on the loop, whoever has asked for it, and wakes the task whose
 * turn it is. A closed file lingers until its last bytes are written and its descriptor is closed.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "builtin.h"
#include "request.h"

struct file *file_check(lua_State *L, const char *op) {
    return lilac_handle_check(L, 1, &file_type, op);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void run_close(struct file_job *job) {
    /* What may be polled is closed on the loop, when libuv has forgotten it: its number may be that
     * of another descriptor at once. */
    if (job->seekable) job->status = request_result(close(job->fd));
}

/* The file is closed for good. */
static void file_end(struct file *file) {
    lilac_handle_finish(&file->handle);
    if (file->last_fd >= 0) close(file->last_fd);
    file->last_fd = -1;
}

static void close_over(struct file *file) {
    if (!file->job->seekable) file->last_fd = file->job->fd;
    file->job->fd = -1;
    if (file->write_status == 0) file->write_status = file->job->status;
    if (lilac_waiting(&file->closer))
        lilac_wake(&file->closer); /* which ends it, as it looks at it once more */
    else
        file_end(file);
}

static const struct file_job_type close_job = {.run = run_close, .over = close_over};

/* One whose file is gone closes for it. */
static void job_free(struct file_job *job) {
    bool is_closed = job->fd < 0 || (job->type == &close_job && job->seekable);
    if (!is_closed) close(job->fd);
    buffer_free(&job->data);
    free(job);
}

/* In a thread of the pool. */
static void on_run(uv_work_t *work) {
    struct file_job *job = container_of(work, struct file_job, work);
    job->type->run(job);
}

/* What comes next when no job is going on. */
static void file_go_on(struct file *file) {
    if (file->job->type || file->job->fd < 0) return;
    if (file->handle.closed) {
        if (file_flushed(file)) file_start(file, &close_job);
    } else if (lilac_waiting(&file->waiter)) {
        lilac_wake(&file->waiter);
    }
}

static void on_over(uv_work_t *work, int status) {
    struct file_job *job = container_of(work, struct file_job, work);
    struct file *file = job->file;
    (void)status; /* no job is cancelled */
    job->in_pool = false;
    if (!file) {
        job_free(job);
        return;
    }
    if (job->status == UV_EAGAIN && file->polled && job->type->poll_events == UV_WRITABLE) {
        file_start(file, job->type); /* with the rest */
        return;
    }
    const struct file_job_type *type = job->type;
    job->type = NULL;
    type->over(file);
    file_go_on(file);
}

/* It fails for lack of a callback only. */
static void job_queue(struct file_job *job, uv_loop_t *loop) {
    job->in_pool = true;
    uv_queue_work(loop, &job->work, on_run, on_over);
}

/* It can be read or written without blocking; or tells what is wrong when that is tried. */
static void on_ready(uv_poll_t *poll, int status, int events) {
    struct file *file = container_of(poll, struct file, uv.poll);
    (void)status, (void)events;
    uv_poll_stop(poll);
    job_queue(file->job, poll->loop);
}

void file_start(struct file *file, const struct file_job_type *type) {
    file->job->type = type;
    file->job->status = 0;
    if (!file->polled || !type->poll_events ||
        uv_poll_start(&file->uv.poll, type->poll_events, on_ready) != 0)
        job_queue(file->job, file->uv.any.loop);
}

/* Nobody waits for what there may be to read some day. */
static void stop_polling_to_read(struct file *file) {
    if (!file->polled || !uv_is_active(&file->uv.any)) return;
    if (file->job->type->poll_events != UV_READABLE) return;
    uv_poll_stop(&file->uv.poll);
    file->job->type = NULL;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static const struct file_op *op_at_top(lua_State *L) {
    return lua_touserdata(L, -1);
}

/* "read": the name without what it is an operation of. */
static const char *op_name(const struct file_op *op) {
    return strchr(op->wait.name, ':') + 1;
}

int file_begin(lua_State *L, const struct file_op *op) {
    lilac_checkpoint(L);
    struct file *file = file_check(L, op_name(op)); /* a finaliser may have closed it */
    lua_pushlightuserdata(L, (void *)op);
    if (file->taken) return waitq_park(L, &file->turns, &op->turn);
    file->taken = true;
    file->stage = 0;
    return op->go(L, file);
}

int file_turn_done(lua_State *L, lilac_wait *wait) {
    const struct file_op *op = op_at_top(L);
    struct file *file = file_check(L, op_name(op));
    (void)wait;
    file->stage = 0;
    return op->go(L, file);
}

void file_leave(struct file *file) {
    file->taken = waitq_wake_one(&file->turns);
}

int file_wait(lua_State *L, struct file *file) {
    return lilac_park(L, &file->waiter, &op_at_top(L)->wait);
}

bool file_wait_cancel(lilac_wait *wait) {
    struct file *file = container_of(wait, struct file, waiter);
    stop_polling_to_read(file);
    file_leave(file);
    return true;
}

/* The file may have been closed, and be gone: only the stack can tell. */
int file_wait_done(lua_State *L, lilac_wait *wait) {
    const struct file_op *op = op_at_top(L);
    (void)wait;
    return op->go(L, file_check(L, op_name(op)));
}

void file_wait_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", container_of(wait, struct file, waiter)->path);
}

int file_fail(lua_State *L, struct file *file, int status) {
    file_leave(file);
    return request_raise(L, status, op_at_top(L)->wait.name, file->path, NULL);
}

int file_go_through(lua_State *L, struct file *file) {
    const struct file_op *op = op_at_top(L);
    if (file->stage == 0) {
        if (!file_flushed(file) || file->job->type) return file_wait(L, file);
        int status = file_take_write_status(file);
        if (status < 0) return file_fail(L, file, status);
        file->stage = 1;
        if (op->job) {
            file_start(file, op->job);
            return file_wait(L, file);
        }
    }
    if (op->job && file->job->status < 0) return file_fail(L, file, file->job->status);
    file_leave(file);
    return op->push(L, file);
}

static int push_self(lua_State *L, struct file *file) {
    (void)file;
    lua_pushvalue(L, 1);
    return 1;
}

/* ---- flush, sync, truncate, stat ------------------------------------------------------------- */

/* Most jobs leave their result where the operation takes it. */
static void over(struct file *file) {
    (void)file;
}

static const struct file_op flush_op = {FILE_OP("flush", file_go_through), .push = push_self};

/* file:flush() → file */
static int file_flush(lua_State *L) {
    file_check(L, "flush");
    return file_begin(L, &flush_op);
}

static void run_sync(struct file_job *job) {
    job->status = request_result(fsync(job->fd));
}

static const struct file_job_type sync_job = {.run = run_sync, .over = over};

static const struct file_op sync_op = {FILE_OP("sync", file_go_through), .job = &sync_job,
                                       .push = push_self};

/* file:sync() → file */
static int file_sync(lua_State *L) {
    file_check(L, "sync");
    return file_begin(L, &sync_op);
}

static void run_truncate(struct file_job *job) {
    job->status = request_result(ftruncate(job->fd, job->at));
}

static const struct file_job_type truncate_job = {.run = run_truncate,
                                                  .over = file_discard_received};

static int truncate_go(lua_State *L, struct file *file) {
    /* What is being written goes where it was to go. */
    if (file->stage == 0 && file_flushed(file) && !file->job->type)
        file->job->at = lua_isnoneornil(L, 2) ? file->position : lua_tointeger(L, 2);
    return file_go_through(L, file);
}

static const struct file_op truncate_op = {FILE_OP("truncate", truncate_go), .job = &truncate_job,
                                           .push = push_self};

/* file:truncate([size]) → file */
static int file_truncate(lua_State *L) {
    file_check(L, "truncate");
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) args_integer(L, 2, "size", 0, LUA_MAXINTEGER);
    return file_begin(L, &truncate_op);
}

static void run_stat(struct file_job *job) {
    uv_fs_t fs;
    job->status = uv_fs_fstat(NULL, &fs, job->fd, NULL);
    job->stat = fs.statbuf;
    uv_fs_req_cleanup(&fs);
}

static int push_stat(lua_State *L, struct file *file) {
    return request_push_stat(L, &file->job->stat);
}

static const struct file_job_type stat_job = {.run = run_stat, .over = over};

static const struct file_op stat_op = {FILE_OP("stat", file_go_through), .job = &stat_job,
                                       .push = push_stat};

/* file:stat() → table */
static int file_stat(lua_State *L) {
    file_check(L, "stat");
    return file_begin(L, &stat_op);
}

/* ---- seek ------------------------------------------------------------------------------------ */

/* Its end, and with that its size; of the position of the descriptor only appending makes use. */
static void run_find_end(struct file_job *job) {
    job->result = lseek(job->fd, 0, SEEK_END);
    job->status = request_result(job->result);
}

static const struct file_job_type find_end_job = {.run = run_find_end, .over = over};

static int push_position(lua_State *L, struct file *file) {
    lua_pushinteger(L, file->position);
    return 1;
}

enum whence { WHENCE_SET, WHENCE_CUR, WHENCE_END };

/* Moves to a position, and keeps what was read of it. */
static void move(struct file *file, int64_t position) {
    int64_t onwards = position - file->position;
    if (onwards >= 0 && onwards <= (int64_t)file->received.size)
        buffer_drop(&file->received, (size_t)onwards);
    else
        file_discard_received(file);
    file->position = position;
}

/* [file, whence, offset, the operation] */
static int seek_go(lua_State *L, struct file *file) {
    enum whence whence = (enum whence)lua_tointeger(L, 2);
    lua_Integer offset = lua_tointeger(L, 3);
    if (file->stage == 0) {
        if (!file->job->seekable) return file_fail(L, file, UV_ESPIPE);
        if (!file_flushed(file)) return file_wait(L, file);
        int status = file_take_write_status(file);
        if (status < 0) return file_fail(L, file, status);
        if (whence == WHENCE_END) {
            if (file->job->type) return file_wait(L, file); /* it reads ahead */
            file->stage = 1;
            file_start(file, &find_end_job);
            return file_wait(L, file);
        }
    } else if (file->job->status < 0) {
        return file_fail(L, file, file->job->status);
    }
    int64_t from = whence == WHENCE_SET   ? 0
                   : whence == WHENCE_CUR ? file->position
                                          : file->job->result;
    if (offset < -from || offset > INT64_MAX - from) return file_fail(L, file, UV_EINVAL);
    file_leave(file);
    move(file, from + offset);
    return push_position(L, file);
}

static const struct file_op seek_op = {FILE_OP("seek", seek_go)};

/* file:seek([whence [, offset]]) → position */
static int file_seek(lua_State *L) {
    static const char *const names[] = {"set", "cur", "end", NULL};
    file_check(L, "seek");
    int whence = luaL_checkoption(L, 2, "cur", names);
    lua_Integer offset = luaL_optinteger(L, 3, 0);
    lua_settop(L, 1);
    lua_pushinteger(L, whence);
    lua_pushinteger(L, offset);
    return file_begin(L, &seek_op);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void file_on_close(lilac_handle *handle) {
    struct file *file = (struct file *)handle;
    stop_polling_to_read(file);
    lilac_wake(&file->waiter);
    waitq_wake_all(&file->turns);
}

/* Until its descriptor is closed. */
static bool file_lingers(lilac_handle *handle) {
    struct file *file = (struct file *)handle;
    file_go_on(file);
    return file->job->fd >= 0;
}

static void file_on_free(lilac_handle *handle) {
    struct file *file = (struct file *)handle;
    buffer_free(&file->received);
    buffer_free(&file->ahead);
    buffer_free(&file->queued);
    free(file->path);
    if (file->last_fd >= 0) close(file->last_fd);
    if (!file->job) return;
    file->job->file = NULL;
    if (!file->job->in_pool) job_free(file->job);
}

const lilac_handle_type file_type = {.name = "lilac.File",
                                     .size = sizeof(struct file),
                                     .on_close = file_on_close,
                                     .on_free = file_on_free,
                                     .lingers = file_lingers};

static bool close_cancel(lilac_wait *wait) {
    (void)wait; /* it is closed all the same: see close_over */
    return true;
}

static int close_done(lua_State *L, lilac_wait *wait) {
    struct file *file = container_of(wait, struct file, closer);
    int status = file->write_status;
    if (status < 0) lua_pushstring(L, file->path);
    file_end(file);
    return status < 0 ? request_raise(L, status, "file:close", lua_tostring(L, -1), NULL) : 0;
}

static void close_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", container_of(wait, struct file, closer)->path);
}

static const lilac_op close_op = {
    .name = "file:close", .cancel = close_cancel, .done = close_done, .describe = close_describe};

/* file:close(), and leaving the scope. It begins in any case, also when this raises. */
static int file_close(lua_State *L) {
    struct file *file = lilac_handle_test(L, 1, &file_type);
    if (!file) return 0;
    lilac_handle_release(L, 1);
    lilac_checkpoint(L);
    return lilac_park(L, &file->closer, &close_op);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int file_tostring(lua_State *L) {
    struct file *file = lilac_handle_test(L, 1, &file_type);
    lua_pushfstring(L, "File (%s): %p", file ? file->path : "closed", lua_topointer(L, 1));
    return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What can block for ever is polled; what cannot be polled does not. */
static void init_handle(uv_loop_t *loop, struct file *file, const struct file_source *source) {
    file->polled = !source->seekable && uv_poll_init(loop, &file->uv.poll, source->fd) == 0;
    if (!file->polled) uv_idle_init(loop, &file->uv.idle);
    lilac_handle_opened(&file->handle, &file->uv.any);
}

void file_push(lua_State *L, const struct file_source *source) {
    struct file *file = lilac_handle_new(L, &file_type);
    waitq_init(&file->turns);
    file->last_fd = -1;
    file->path = strdup(source->path);
    file->job = calloc(1, sizeof *file->job);
    if (!file->path || !file->job) {
        free(file->job);
        file->job = NULL;
        luaL_error(L, "open: not enough memory");
    }
    file->job->file = file;
    file->job->fd = source->fd;
    file->job->seekable = source->seekable;
    file->job->appends = source->appends;
    file->readable = source->readable;
    file->writable = source->writable;
    file->position = source->position;
    file->room = FILE_ROOM;
    file_discard_received(file);
    init_handle(lilac_loop(L), file, source);
}

/* What kind of file was opened (answer: whether one can seek in it), and where it begins. */
static void run_look(struct request *request, bool at_end) {
    struct stat found;
    request->status = request_result(fstat(request->fd, &found));
    if (request->status < 0) return;
    if (S_ISDIR(found.st_mode)) request->status = UV_EISDIR;
    request->answer = S_ISREG(found.st_mode) || S_ISBLK(found.st_mode);
    request->size = at_end && request->answer ? lseek(request->fd, 0, SEEK_END) : 0;
}

/* flags = the request's `mode`, permissions its `stat.st_mode` */
static void run_open(struct request *request) {
    request->status = request_open(request->path, request->mode, (int)request->stat.st_mode);
    if (request->status < 0) return;
    request->fd = request->status;
    bool is_writer = (request->mode & O_ACCMODE) == O_WRONLY;
    run_look(request, (request->mode & O_APPEND) && is_writer);
}

static int push_file(lua_State *L, struct request *request) {
    int access = request->mode & O_ACCMODE;
    struct file_source source = {.fd = request->fd,
                                 .path = request->path,
                                 .readable = access != O_WRONLY,
                                 .writable = access != O_RDONLY,
                                 .appends = (request->mode & O_APPEND) != 0,
                                 .seekable = request->answer,
                                 .position = request->size};
    file_push(L, &source);
    request->fd = -1;
    return 1;
}

static void undo_open(struct request *request) {
    close(request->fd);
    request->fd = -1;
}

static const struct request_op open_op = {
    .wait = REQUEST_WAIT("open"), .run = run_open, .push = push_file, .undo = undo_open};

/* The flags of open(2) for a mode of io's: "r", "w+", "ab", … */
static int check_flags(lua_State *L, int arg) {
    const char *mode = luaL_optstring(L, arg, "r");
    static const struct {
        char letter;
        int alone, with_plus;
    } kinds[] = {{'r', O_RDONLY, O_RDWR},
                 {'w', O_WRONLY | O_CREAT | O_TRUNC, O_RDWR | O_CREAT | O_TRUNC},
                 {'a', O_WRONLY | O_CREAT | O_APPEND, O_RDWR | O_CREAT | O_APPEND}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (*mode != kinds[i].letter) continue;
        bool plus = mode[1] == '+';
        const char *end = mode + 1 + plus;
        end += strspn(end, "b");
        if (*end == '\0') return plus ? kinds[i].with_plus : kinds[i].alone;
    }
    return luaL_argerror(L, arg, lua_pushfstring(L, "invalid mode '%s'", mode));
}

/* open(path [, mode [, {mode=, exclusive=}]]) → File */
static int open_file(lua_State *L) {
    static const char *const known[] = {"mode", "exclusive", NULL};
    enum { NEW_MODE = 0666 };
    const char *path = request_check_path(L, 1);
    int flags = check_flags(L, 2);
    args_options(L, 3, known);
    int mode = request_option_mode(L, 3, "mode");
    if (args_option_boolean(L, 3, "exclusive", false)) {
        luaL_argcheck(L, flags & O_CREAT, 3, "option 'exclusive': it is to make the file");
        flags |= O_EXCL;
    }
    struct request *request = request_new(L, &open_op, path, NULL);
    request->mode = flags;
    request->stat.st_mode = mode < 0 ? NEW_MODE : (uint64_t)mode;
    return request_park(L, request);
}

/* size = that of the suffix */
static void run_mkstemp(struct request *request) {
    request->fd = mkostemps(request->path, (int)request->size, O_CLOEXEC);
    request->status = request_result(request->fd);
    request->mode = O_RDWR;
    if (request->status == 0) run_look(request, false);
}

static int push_file_and_path(lua_State *L, struct request *request) {
    push_file(L, request);
    lua_pushstring(L, request->path);
    return 2;
}

static void undo_mkstemp(struct request *request) {
    undo_open(request);
    unlink(request->path);
}

static const struct request_op mkstemp_op = {.wait = REQUEST_WAIT("mkstemp"),
                                             .run = run_mkstemp,
                                             .push = push_file_and_path,
                                             .undo = undo_mkstemp};

/* mkstemp([{dir=, prefix=, suffix=}]) → File, path */
static int file_mkstemp(lua_State *L) {
    static const char *const known[] = {"dir", "prefix", "suffix", NULL};
    int suffix_size;
    args_options(L, 1, known);
    const char *template = request_push_template(L, 1, &suffix_size);
    struct request *request = request_new(L, &mkstemp_op, template, NULL);
    request->size = suffix_size;
    return request_park(L, request);
}

void file_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"close", file_close}, {"flush", file_flush}, {"lines", file_lines},
        {"read", file_read},   {"seek", file_seek},   {"setvbuf", file_setvbuf},
        {"stat", file_stat},   {"sync", file_sync},   {"truncate", file_truncate},
        {"write", file_write}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__close", file_close}, {"__tostring", file_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &file_type, methods, meta);
}

int luaopen_lilac_file(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"mkstemp", file_mkstemp}, {"open", open_file}, {NULL, NULL}};
    lilac_check_version(L);
    file_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
