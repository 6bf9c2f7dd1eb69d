/*
 * The operations that all transports over a uv_stream_t share: TCP, pipe, tty.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/list.h"
#include "../core/scratch.h"
#include "stream.h"

static struct stream *stream_of(uv_stream_t *uv) {
    return container_of(uv, struct stream, uv.stream);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    buf->base = scratch->inbox;
    buf->len = stream_reads_itself(stream_of((uv_stream_t *)handle)) ? 0 : INBOX;
}

/* Why nothing more comes. It looks like the end also when the peer hung up by a reset after the
 * last bytes. */
static int end_status(uv_stream_t *uv, int status) {
    uv_os_fd_t fd;
    int error = 0;
    socklen_t size = sizeof error;
    if (status != UV_EOF || uv_fileno((uv_handle_t *)uv, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error == 0)
        return status;
    return uv_translate_sys_error(error);
}

static void on_read(uv_stream_t *uv, ssize_t size, const uv_buf_t *buf) {
    struct stream *stream = stream_of(uv);
    if (size > 0) {
        stream->readable = false; /* this was all */
        stream_received(stream, buf->base, (size_t)size);
    } else if (size == UV_ENOBUFS) { /* there was something, and no room for it */
        stream_readable(stream);
    } else if (size < 0) { /* 0: nothing there after all */
        uv_read_stop(uv);
        stream_ended(stream, end_status(uv, (int)size));
    }
}

int stream_uv_start(struct stream *stream) {
    if (!scratch_open()) return UV_ENOMEM;
    return uv_read_start(&stream->uv.stream, on_alloc, on_read);
}

void stream_uv_stop(struct stream *stream) {
    uv_read_stop(&stream->uv.stream);
}

/* For a message of 64 bytes that is echoed, recv and send are worth two hundredths. They are told
 * not to wait, as another process that has the socket may have made it wait. */
int stream_uv_try_read(struct stream *stream, char *bytes, size_t size) {
    uv_os_fd_t fd;
    ssize_t got;
    int status = uv_fileno(&stream->uv.handle, &fd);
    if (status != 0) return status;
    do {
        got = stream->is_socket ? recv(fd, bytes, size, MSG_DONTWAIT) : read(fd, bytes, size);
    } while (got < 0 && errno == EINTR);
    if (got == 0) return end_status(&stream->uv.stream, UV_EOF);
    return got > 0 ? (int)got : uv_translate_sys_error(errno);
}

int stream_uv_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    uv_os_fd_t fd;
    ssize_t size;
    if (count > 1 || !stream->is_socket) return uv_try_write(&stream->uv.stream, bufs, count);
    int status = uv_fileno(&stream->uv.handle, &fd);
    if (status != 0) return status;
    do {
        size = send(fd, bufs->base, bufs->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    return size >= 0 ? (int)size : uv_translate_sys_error(errno);
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

static void on_alloc_heard(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)handle, (void)suggested;
    *buf = uv_buf_init(scratch->inbox, INBOX);
}

static void on_heard(uv_stream_t *uv, ssize_t size, const uv_buf_t *buf) {
    (void)buf;
    stream_heard(stream_of(uv), size);
}

/* What nothing was sent over may be reset: that tells the peer at once that it sends in vain. */
bool stream_uv_hear_out(struct stream *stream, bool must) {
    uv_os_fd_t fd;
    int unread = 0;
    if ((!must && stream->accepted == 0) || uv_fileno(&stream->uv.handle, &fd) != 0) return false;
    if (!must && (ioctl(fd, FIONREAD, &unread) != 0 || unread == 0)) return false;
    return scratch_open() && shutdown(fd, SHUT_WR) == 0 &&
           uv_read_start(&stream->uv.stream, on_alloc_heard, on_heard) == 0;
}

int stream_uv_descriptor(const struct stream *stream) {
    uv_os_fd_t fd;
    int status = uv_fileno(&stream->uv.handle, &fd);
    return status == 0 ? fd : status;
}
