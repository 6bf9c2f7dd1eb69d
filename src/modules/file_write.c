/*
 * Writing to files. What is written is queued, and goes to the file when the queue is full: behind
 * the back of the task, which waits only while a full queue has to wait itself. So what write() has
 * accepted is written whole, whether its task is cancelled or not. An error is raised once, by the
 * next operation that writes or lets all be written; what was queued then is dropped.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../core/args.h"
#include "file.h"
#include "request.h"

/* ---- the job --------------------------------------------------------------------------------- */

/* result: how much was written; at: where it ends */
static void run_write(struct file_job *job) {
    const char *bytes = buffer_bytes(&job->data);
    size_t size = job->data.size, written = 0;
    request_block_signals();
    while (written < size && job->status == 0) {
        size_t left = size - written;
        ssize_t count = job->seekable && !job->appends
                            ? pwrite(job->fd, bytes + written, left, job->at + (int64_t)written)
                            : write(job->fd, bytes + written, left);
        if (count >= 0)
            written += (size_t)count;
        else if (errno != EINTR)
            job->status = request_result(count);
    }
    buffer_drop(&job->data, written);
    job->at =
        job->appends && job->seekable ? lseek(job->fd, 0, SEEK_CUR) : job->at + (int64_t)written;
}

static void write_over(struct file *file) {
    struct file_job *job = file->job;
    if (job->status < 0) {
        file->write_status = job->status;
        buffer_free(&job->data);
        buffer_free(&file->queued);
    }
    file->position = job->at + (int64_t)file->queued.size;
}

static const struct file_job_type write_job = {
    .run = run_write, .over = write_over, .poll_events = UV_WRITABLE};

static void write_start(struct file *file) {
    struct file_job *job = file->job;
    job->at = file->position - (int64_t)file->queued.size;
    buffer_swap(&job->data, &file->queued);
    file_start(file, &write_job);
}

bool file_flushed(struct file *file) {
    if (file->job->type == &write_job) return false;
    if (file->queued.size == 0) return true;
    if (!file->job->type) write_start(file);
    return false;
}

int file_take_write_status(struct file *file) {
    int status = file->write_status;
    file->write_status = 0;
    return status;
}

/* ---- write ----------------------------------------------------------------------------------- */

/* Queues the values at 2 … last. False: out of memory, and nothing was queued. */
static bool queue_values(lua_State *L, struct file *file, int last) {
    size_t before = file->queued.size;
    for (int i = 2; i <= last; i++) {
        size_t size;
        const char *bytes = lua_tolstring(L, i, &size);
        if (!buffer_append(&file->queued, bytes, size)) {
            file->queued.size = before;
            return false;
        }
    }
    file->position += (int64_t)(file->queued.size - before);
    return true;
}

/* Whether the values have a line that is to be seen at once. */
static bool is_urgent(lua_State *L, const struct file *file, int last) {
    if (file->buffering != BUFFER_LINE) return file->buffering == BUFFER_NONE;
    for (int i = 2; i <= last; i++) {
        size_t size;
        const char *bytes = lua_tolstring(L, i, &size);
        if (memchr(bytes, '\n', size)) return true;
    }
    return false;
}

/* [file, values…, the operation] */
static int write_go(lua_State *L, struct file *file) {
    int last = lua_gettop(L) - 1;
    if (file->stage == 0 && file->write_status == 0) {
        if (file->job->seekable) file_discard_received(file);
        if (!queue_values(L, file, last)) return file_fail(L, file, UV_ENOMEM);
        file->stage = 1;
    }
    bool is_full = file->queued.size >= file->room, is_waited_for = is_urgent(L, file, last);
    if (is_full || is_waited_for) {
        bool is_flushed = file_flushed(file);
        /* Started right now, the queue is empty again. */
        is_full = file->queued.size >= file->room;
        if (is_full || (is_waited_for && !is_flushed)) return file_wait(L, file);
    }
    int status = file_take_write_status(file);
    if (status < 0) return file_fail(L, file, status);
    file_leave(file);
    lua_settop(L, 1);
    return 1;
}

static const struct file_op write_op = {FILE_OP("write", write_go)};

int file_write(lua_State *L) {
    struct file *file = file_check(L, "write");
    int last = lua_gettop(L);
    for (int i = 2; i <= last; i++)
        luaL_checkstring(L, i); /* makes strings of numbers, before anything is queued */
    if (!file->writable) {
        lilac_checkpoint(L);
        return lilac_throw(L, "InvalidStateError", "write %s: the File was opened for reading",
                           file->path);
    }
    return file_begin(L, &write_op);
}

/* file:setvbuf(mode [, size]) → file */
int file_setvbuf(lua_State *L) {
    static const char *const names[] = {"full", "line", "no", NULL};
    struct file *file = file_check(L, "setvbuf");
    int buffering = luaL_checkoption(L, 2, NULL, names);
    lua_Integer room = lua_isnoneornil(L, 3) ? FILE_ROOM : args_integer(L, 3, "size", 1, INT32_MAX);
    file->buffering = (enum file_buffering)buffering;
    file->room = (size_t)room;
    lua_settop(L, 1);
    return 1;
}
