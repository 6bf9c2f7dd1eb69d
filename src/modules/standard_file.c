/*
 * Files, devices, and whatever else cannot be polled, at the position that the open file has, as
 * other processes may read or write there too. Reading, which may wait for a disk, is done in the
 * pool, on a block of its own that outlives a stream which is closed meanwhile. Writing is done at
 * once: the system keeps what is written in memory, and `print` and streams stay in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/list.h"
#include "standard.h"

enum { CHUNK = 64 * 1024 };

struct filed {
    struct standard standard; /* first */
    struct stream *stream;    /* NULL: gone */
    uv_work_t work;
    bool is_working;
    int result; /* of the work: a number of bytes, or a libuv code */
    _Alignas(BUFFER_ALIGNMENT) char chunk[CHUNK]; /* last: nothing puts zeros there */
};

/* ---- reading --------------------------------------------------------------------------------- */

static void do_read(uv_work_t *work) {
    struct filed *filed = container_of(work, struct filed, work);
    ssize_t size;
    do {
        size = read(filed->standard.fd, filed->chunk, sizeof filed->chunk);
    } while (size < 0 && errno == EINTR);
    filed->result = size >= 0 ? (int)size : uv_translate_sys_error(errno);
}

static void filed_release(struct filed *filed) {
    if (filed->standard.fd >= 0) close(filed->standard.fd);
    free(filed);
}

static int begin_read(struct filed *filed, uv_after_work_cb then) {
    int status = uv_queue_work(filed->stream->uv.handle.loop, &filed->work, do_read, then);
    filed->is_working = status == 0;
    return status;
}

static void on_read(uv_work_t *work, int status) {
    struct filed *filed = container_of(work, struct filed, work);
    struct stream *stream = filed->stream;
    (void)status; /* nobody cancels it */
    filed->is_working = false;
    if (!stream) {
        filed_release(filed);
    } else if (filed->result <= 0) {
        stream_ended(stream, filed->result == 0 ? UV_EOF : filed->result);
    } else {
        stream_received(stream, filed->chunk, (size_t)filed->result);
        status = stream->reading ? begin_read(filed, on_read) : 0;
        if (status != 0) stream_ended(stream, status);
    }
}

static int filed_start(struct stream *stream) {
    struct filed *filed = stream->own;
    if (filed->standard.number != STDIN_FILENO) return UV_EBADF;
    return filed->is_working ? 0 : begin_read(filed, on_read);
}

/* What is being read is kept; it is the last. */
static void filed_stop(struct stream *stream) {
    (void)stream;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_all(int fd, const uv_buf_t *buf) {
    for (size_t done = 0; done < buf->len;) {
        ssize_t size = write(fd, buf->base + done, buf->len - done);
        if (size < 0 && errno != EINTR) return uv_translate_sys_error(errno);
        if (size > 0) done += (size_t)size;
    }
    return 0;
}

/* All of it or an error, but for what does not fit into the result. */
static int filed_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    struct filed *filed = stream->own;
    size_t total = 0;
    if (filed->standard.number == STDIN_FILENO) return UV_EBADF;
    standard_flush_stdio(&filed->standard);
    for (unsigned i = 0; i < count && bufs[i].len <= INT_MAX - total; i++) {
        int status = write_all(filed->standard.fd, &bufs[i]);
        if (status != 0) return status;
        total += bufs[i].len;
    }
    return total > 0 ? (int)total : UV_EAGAIN;
}

static int filed_write(struct stream *stream, const char *bytes, size_t size) {
    struct filed *filed = stream->own;
    uv_buf_t buf = {.base = (char *)bytes, .len = size};
    int status = write_all(filed->standard.fd, &buf);
    if (status == 0) stream_sent(stream, 0);
    return status;
}

static int filed_shutdown(struct stream *stream) {
    struct filed *filed = stream->own;
    if (filed->standard.number == STDIN_FILENO) return UV_EBADF;
    int status = standard_give_up(&filed->standard);
    if (status == 0) stream_shut(stream, 0);
    return status;
}

static void filed_free(struct stream *stream) {
    struct filed *filed = stream->own;
    filed->stream = NULL;
    if (!filed->is_working) filed_release(filed);
}

static const struct stream_ops filed_ops = {.start = filed_start,
                                            .stop = filed_stop,
                                            .try_write = filed_try_write,
                                            .write = filed_write,
                                            .shutdown = filed_shutdown,
                                            .free = filed_free,
                                            .descriptor = standard_descriptor,
                                            .peername = standard_name,
                                            .sockname = standard_name,
                                            .subject = standard_subject};

struct stream *standard_file_new(lua_State *L, int number) {
    struct filed *filed = buffer_block(sizeof *filed);
    if (!filed) luaL_error(L, "stdio: not enough memory");
    memset(filed, 0, offsetof(struct filed, chunk));
    standard_init(L, &filed->standard, number);
    struct stream *stream = stream_new(L, &filed_ops, STANDARD_LIMIT);
    stream->own = filed;
    filed->stream = stream;
    filed->standard.fd = fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (filed->standard.fd < 0) lilac_raise(L, uv_translate_sys_error(errno), "stdio");
    uv_idle_init(lilac_loop(L), &stream->uv.idle); /* it always succeeds */
    stream_opened(stream);
    return stream;
}
