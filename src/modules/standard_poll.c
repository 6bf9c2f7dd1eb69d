/*
 * Terminals, pipes and sockets. A terminal or pipe is opened once more, through /proc: that open
 * file is ours alone, and does not block. A socket, which cannot be opened again, has a flag for
 * each call. Where another user's pipe refuses to be opened (sudo), it is used as it is: poll tells
 * whether a call would block.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../core/list.h"
#include "../core/runtime.h"
#include "../core/scratch.h"
#include "standard.h"
#include "terminal.h"

struct polled {
    struct standard standard; /* first */
    enum { OURS, SOCKET, SHARED } kind;
    size_t sent; /* of stream->sending */
};

static struct stream *stream_of(uv_poll_t *poll) {
    return container_of(poll, struct stream, uv.poll);
}

static bool is_ready(int fd, short events) {
    struct pollfd ready = {.fd = fd, .events = events};
    return poll(&ready, 1, 0) > 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int polled_try_read(struct stream *stream, char *bytes, size_t size) {
    struct polled *polled = stream->own;
    int fd = polled->standard.fd;
    ssize_t got;
    if (polled->kind == SHARED && !is_ready(fd, POLLIN)) return UV_EAGAIN;
    do {
        got = polled->kind == SOCKET ? recv(fd, bytes, size, MSG_DONTWAIT) : read(fd, bytes, size);
    } while (got < 0 && errno == EINTR);
    if (got == 0) return UV_EOF;
    return got > 0 ? (int)got : uv_translate_sys_error(errno);
}

/* An error (`status`) is told by the read that meets it. */
static void on_readable(uv_poll_t *poll, int status, int events) {
    struct stream *stream = stream_of(poll);
    (void)status, (void)events;
    if (stream_reads_itself(stream)) {
        stream_readable(stream);
        return;
    }
    int size = polled_try_read(stream, scratch->inbox, INBOX);
    if (size > 0) {
        stream_received(stream, scratch->inbox, (size_t)size);
    } else if (size != UV_EAGAIN) {
        uv_poll_stop(poll);
        stream_ended(stream, size);
    }
}

static int polled_start(struct stream *stream) {
    if (standard_descriptor(stream) != STDIN_FILENO) return UV_EBADF;
    if (!scratch_open()) return UV_ENOMEM;
    return uv_poll_start(&stream->uv.poll, UV_READABLE, on_readable);
}

static void polled_stop(struct stream *stream) {
    uv_poll_stop(&stream->uv.poll);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A pipe that has room at all has it for PIPE_BUF bytes. */
static ssize_t write_shared(int fd, struct iovec *parts, unsigned count) {
    size_t total = 0;
    if (!is_ready(fd, POLLOUT)) {
        errno = EAGAIN;
        return -1;
    }
    for (unsigned i = 0; i < count; i++)
        total += parts[i].iov_len;
    if (total <= PIPE_BUF) return writev(fd, parts, (int)count);
    return write(fd, parts->iov_base, parts->iov_len < PIPE_BUF ? parts->iov_len : PIPE_BUF);
}

static ssize_t write_once(const struct polled *polled, const uv_buf_t *bufs, unsigned count) {
    int fd = polled->standard.fd;
    struct msghdr message = {.msg_iov = (struct iovec *)bufs, .msg_iovlen = count};
    switch (polled->kind) {
    case SOCKET: return sendmsg(fd, &message, MSG_DONTWAIT);
    case SHARED: return write_shared(fd, message.msg_iov, count);
    case OURS: break;
    }
    return writev(fd, message.msg_iov, (int)count);
}

static int polled_write_now(const struct polled *polled, const uv_buf_t *bufs, unsigned count) {
    ssize_t size;
    do {
        size = write_once(polled, bufs, count);
    } while (size < 0 && errno == EINTR);
    return size >= 0 ? (int)size : uv_translate_sys_error(errno);
}

static int polled_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    struct polled *polled = stream->own;
    if (polled->standard.number == STDIN_FILENO) return UV_EBADF;
    standard_flush_stdio(&polled->standard);
    int status = polled_write_now(polled, bufs, count);
    if (!standard_forgives(&polled->standard, status)) return status;
    size_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += bufs[i].len;
    return total < INT_MAX ? (int)total : INT_MAX;
}

static void sending_over(struct stream *stream, int status) {
    uv_poll_stop(&stream->uv.poll);
    uv_unref(&stream->uv.handle);
    stream_sent(stream, standard_forgives(stream->own, status) ? 0 : status);
}

static void on_writable(uv_poll_t *poll, int status, int events) {
    struct stream *stream = stream_of(poll);
    struct polled *polled = stream->own;
    (void)status, (void)events; /* the write tells */
    size_t left = stream->sending.size - polled->sent;
    uv_buf_t buf = {.base = (char *)buffer_bytes(&stream->sending) + polled->sent, .len = left};
    int size = polled_write_now(polled, &buf, 1);
    if (size == UV_EAGAIN) return;
    if (size >= 0) polled->sent += (size_t)size;
    if (size < 0 || (size_t)size == left) sending_over(stream, size < 0 ? size : 0);
}

/* The bytes are those of stream->sending. While they are being sent the loop is alive. */
static int polled_write(struct stream *stream, const char *bytes, size_t size) {
    struct polled *polled = stream->own;
    (void)bytes, (void)size;
    polled->sent = 0;
    int status = uv_poll_start(&stream->uv.poll, UV_WRITABLE, on_writable);
    if (status == 0) uv_ref(&stream->uv.handle);
    return status;
}

static int polled_shutdown(struct stream *stream) {
    struct polled *polled = stream->own;
    if (polled->standard.number == STDIN_FILENO) return UV_EBADF;
    uv_poll_stop(&stream->uv.poll);
    if (polled->kind == SOCKET) shutdown(polled->standard.fd, SHUT_WR);
    int status = standard_give_up(&polled->standard);
    if (status == 0) stream_shut(stream, 0);
    return status;
}

/* Writes all of it, however long that takes, unless a signal is about to end the process. False:
 * that is not to be. */
static bool drain(struct polled *polled, const char *bytes, size_t size) {
    while (size > 0) {
        struct pollfd ready = {.fd = polled->standard.fd, .events = POLLOUT};
        uv_buf_t buf = {.base = (char *)bytes, .len = size};
        if (polled->standard.runtime->exit_signal != 0) return false;
        poll(&ready, 1, -1);
        int done = polled_write_now(polled, &buf, 1);
        if (done < 0 && done != UV_EAGAIN) return false;
        if (done < 0) continue;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

/* The end of the program finds bytes that were accepted: they are written as those of `print`. */
static void polled_drain(struct stream *stream, struct polled *polled) {
    if (stream->accepted == stream->sent) return;
    if (drain(polled, buffer_bytes(&stream->sending) + polled->sent,
              stream->sending.size - polled->sent))
        drain(polled, buffer_bytes(&stream->queued), stream->queued.size);
}

static void polled_free(struct stream *stream) {
    struct polled *polled = stream->own;
    if (!polled) return;
    polled_drain(stream, polled);
    terminal_restore(polled->standard.number);
    if (polled->standard.fd >= 0) close(polled->standard.fd);
    free(polled);
}

static const struct stream_ops polled_ops = {.start = polled_start,
                                             .stop = polled_stop,
                                             .try_read = polled_try_read,
                                             .try_write = polled_try_write,
                                             .write = polled_write,
                                             .shutdown = polled_shutdown,
                                             .free = polled_free,
                                             .descriptor = standard_descriptor,
                                             .peername = standard_name,
                                             .sockname = standard_name,
                                             .subject = standard_subject};

/* ---- opening --------------------------------------------------------------------------------- */

/* Opens the terminal or pipe once more; -1 where that cannot be. The master of a pseudo-terminal
 * would open another terminal. */
static int open_again(int number) {
    char path[32];
    unsigned ignored;
    if (isatty(number) && ioctl(number, TIOCGPTN, &ignored) == 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", number);
    int way = number == STDIN_FILENO ? O_RDONLY : O_WRONLY;
    return open(path, way | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int open_descriptor(struct polled *polled, int number) {
    struct stat type;
    if (fstat(number, &type) != 0) return uv_translate_sys_error(errno);
    if (S_ISSOCK(type.st_mode)) {
        polled->kind = SOCKET;
    } else {
        polled->kind = OURS;
        polled->standard.fd = open_again(number);
        if (polled->standard.fd >= 0) return 0;
        polled->kind = SHARED;
    }
    polled->standard.fd = fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return polled->standard.fd >= 0 ? 0 : uv_translate_sys_error(errno);
}

/* uv_poll_init makes the open file non-blocking: it has to be as it was. */
static int begin_polling(uv_loop_t *loop, struct stream *stream, int fd) {
    int flags = fcntl(fd, F_GETFL);
    int status = uv_poll_init(loop, &stream->uv.poll, fd);
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
    return status;
}

struct stream *standard_poll_new(lua_State *L, int number) {
    struct stream *stream = stream_new(L, &polled_ops, STANDARD_LIMIT);
    struct polled *polled = stream->own = calloc(1, sizeof *polled);
    if (!polled) luaL_error(L, "stdio: not enough memory");
    standard_init(L, &polled->standard, number);
    int status = open_descriptor(polled, number);
    if (status == 0) status = begin_polling(lilac_loop(L), stream, polled->standard.fd);
    if (status != 0) lilac_raise(L, status, "stdio");
    stream_opened(stream);
    return stream;
}
