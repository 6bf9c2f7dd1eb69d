/*
 * The operations that all transports over a uv_stream_t share: TCP, pipe, tty.
 */
#include <errno.h>
#include <unistd.h>

#include "../core/list.h"
#include "stream.h"

static struct stream *stream_of(uv_stream_t *uv) {
    return container_of(uv, struct stream, uv.stream);
}

/* One buffer serves all reads of a thread: who fills it empties it at once. */
static _Thread_local char inbox[64 * 1024];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    buf->base = inbox;
    buf->len = stream_reads_itself(stream_of((uv_stream_t *)handle)) ? 0 : sizeof inbox;
}

static void on_read(uv_stream_t *uv, ssize_t size, const uv_buf_t *buf) {
    struct stream *stream = stream_of(uv);
    if (size > 0) {
        stream_received(stream, buf->base, (size_t)size);
    } else if (size == UV_ENOBUFS) { /* there was something, and no room for it */
        stream_readable(stream);
    } else if (size < 0) { /* 0: nothing there after all */
        uv_read_stop(uv);
        stream_ended(stream, (int)size);
    }
}

int stream_uv_start(struct stream *stream) {
    return uv_read_start(&stream->uv.stream, on_alloc, on_read);
}

void stream_uv_stop(struct stream *stream) {
    uv_read_stop(&stream->uv.stream);
}

int stream_uv_try_read(struct stream *stream, const char **bytes, size_t max) {
    uv_os_fd_t fd;
    ssize_t size;
    int status = uv_fileno(&stream->uv.handle, &fd);
    if (status != 0) return status;
    do {
        size = read(fd, inbox, max < sizeof inbox ? max : sizeof inbox);
    } while (size < 0 && errno == EINTR);
    *bytes = inbox;
    if (size == 0) return UV_EOF;
    return size > 0 ? (int)size : uv_translate_sys_error(errno);
}

int stream_uv_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    return uv_try_write(&stream->uv.stream, bufs, count);
}

static void on_write(uv_write_t *request, int status) {
    stream_sent(container_of(request, struct stream, request.write), status);
}

int stream_uv_write(struct stream *stream, const char *bytes, size_t size) {
    /* The length of a libuv buffer is an unsigned int to uv_buf_init, a size_t in the struct. */
    uv_buf_t buf = {.base = (char *)bytes, .len = size};
    return uv_write(&stream->request.write, &stream->uv.stream, &buf, 1, on_write);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    stream_shut(container_of(request, struct stream, request.shutdown), status);
}

int stream_uv_shutdown(struct stream *stream) {
    return uv_shutdown(&stream->request.shutdown, &stream->uv.stream, on_shutdown);
}

int stream_uv_descriptor(const struct stream *stream) {
    uv_os_fd_t fd;
    int status = uv_fileno(&stream->uv.handle, &fd);
    return status == 0 ? fd : status;
}
