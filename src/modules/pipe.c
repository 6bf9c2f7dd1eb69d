/*
 * lilac.pipe: pipes, and the transport that they share with Unix sockets and the ends of child
 * processes. libuv does most of it; here is what it leaves: names for errors, ending the sending
 * direction of a pipe, and a bound to what a closed stream still sends.
 */
#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "builtin.h"

enum { LINGER_MS = 30000, SUBJECT_SIZE = 128 /* what errors call a stream is its `own` */ };

/* ---- the transport --------------------------------------------------------------------------- */

static int pipe_start(struct stream *stream) {
    return uv_is_readable(&stream->uv.stream) ? stream_uv_start(stream) : UV_EBADF;
}

static int pipe_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    int status = stream_uv_try_write(stream, bufs, count);
    return status == UV_EPIPE && !uv_is_writable(&stream->uv.stream) ? UV_EBADF : status;
}

/* Closes a descriptor, and puts in its place one that nobody uses. 0 or a libuv code. */
static int replace_fd(const uv_loop_t *loop, int fd) {
    struct epoll_event ignored;
    int unused = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (unused < 0) return uv_translate_sys_error(errno);
    /* libuv may have left it there, and another process may have the same pipe open. */
    epoll_ctl(uv_backend_fd(loop), EPOLL_CTL_DEL, fd, &ignored);
    int status = dup3(unused, fd, O_CLOEXEC) < 0 ? uv_translate_sys_error(errno) : 0;
    close(unused);
    return status;
}

/* shutdown(2) is for sockets; to end the sending direction of a pipe is to close it. */
static int pipe_shutdown(struct stream *stream) {
    struct stat type;
    uv_os_fd_t fd;
    int status = uv_fileno(&stream->uv.handle, &fd);
    if (status != 0) return status;
    if (!uv_is_writable(&stream->uv.stream)) return UV_EBADF;
    if (fstat(fd, &type) == 0 && S_ISSOCK(type.st_mode)) return stream_uv_shutdown(stream);
    if (uv_is_readable(&stream->uv.stream)) return UV_ENOTSUP; /* a FIFO opened for both */
    status = replace_fd(stream->uv.handle.loop, fd);
    if (status == 0) stream_shut(stream, 0);
    return status;
}

/* A peer that reads nothing gets so long to take what is left for it. */
static void pipe_linger(struct stream *stream) {
    stream_linger_for(stream, LINGER_MS);
}

static void pipe_free(struct stream *stream) {
    free(stream->own);
}

static void pipe_subject(const struct stream *stream, char *text, size_t size) {
    snprintf(text, size, "%s", (const char *)stream->own);
}

/* Pushes the name of an end, "" where it has none, as pipes: an abstract one begins with "@". The
 * system tells how long it is, which libuv 1.44 does not look at. */
static int push_name(lua_State *L, struct stream *stream,
                     int (*get)(int fd, struct sockaddr *address, socklen_t *size)) {
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    uv_os_fd_t fd;
    const socklen_t before = offsetof(struct sockaddr_un, sun_path);
    int status = uv_fileno(&stream->uv.handle, &fd);
    bool has_name =
        status == 0 && get(fd, (struct sockaddr *)&address, &size) == 0 && size > before;
    size_t length = has_name ? size - before : 0;
    if (has_name && address.sun_path[0] == '\0')
        address.sun_path[0] = '@';
    else
        length = strnlen(address.sun_path, length);
    lua_pushlstring(L, address.sun_path, length);
    return 1;
}

static int pipe_peername(lua_State *L, struct stream *stream) {
    return push_name(L, stream, getpeername);
}

static int pipe_sockname(lua_State *L, struct stream *stream) {
    return push_name(L, stream, getsockname);
}

static int pipe_peercred(lua_State *L, struct stream *stream) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    uv_os_fd_t fd;
    int status = uv_fileno(&stream->uv.handle, &fd);
    if (status == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        status = uv_translate_sys_error(errno);
    if (status != 0) {
        char subject[SUBJECT_SIZE];
        pipe_subject(stream, subject, sizeof subject);
        return lilac_raise(L, status, "peercred %s", subject);
    }
    lua_pushinteger(L, peer.pid);
    lua_pushinteger(L, peer.uid);
    lua_pushinteger(L, peer.gid);
    return 3;
}

static const struct stream_ops pipe_ops = {.start = pipe_start,
                                           .stop = stream_uv_stop,
                                           .try_read = stream_uv_try_read,
                                           .try_write = pipe_try_write,
                                           .write = stream_uv_write,
                                           .shutdown = pipe_shutdown,
                                           .linger = pipe_linger,
                                           .hear_out = stream_uv_hear_out,
                                           .free = pipe_free,
                                           .descriptor = stream_uv_descriptor,
                                           .peername = pipe_peername,
                                           .sockname = pipe_sockname,
                                           .peercred = pipe_peercred,
                                           .subject = pipe_subject};

struct stream *pipe_new(lua_State *L, const char *subject, size_t limit) {
    struct stream *stream = stream_new(L, &pipe_ops, limit);
    stream->own = strndup(subject, SUBJECT_SIZE - 1);
    if (!stream->own) luaL_error(L, "pipe: not enough memory");
    uv_pipe_init(lilac_loop(L), &stream->uv.pipe, 0); /* it always succeeds */
    stream_opened(stream);
    return stream;
}

int pipe_open(struct stream *stream, int fd) {
    return uv_pipe_open(&stream->uv.pipe, fd);
}

/* ---- lilac.pipe ------------------------------------------------------------------------------ */

/* pair([options]) → reader, writer */
static int pipe_pair(lua_State *L) {
    static const char *const known[] = {"limit", NULL};
    args_options(L, 1, known);
    size_t limit = (size_t)args_option_count(L, 1, "limit", STREAM_LIMIT, INT32_MAX);
    struct stream *ends[] = {pipe_new(L, "pipe (reading)", limit),
                             pipe_new(L, "pipe (writing)", limit)};
    int fds[2], status = 0;
    if (pipe2(fds, O_CLOEXEC) != 0) return lilac_raise(L, uv_translate_sys_error(errno), "pipe");
    for (int i = 0; i < 2; i++) {
        int failure = pipe_open(ends[i], fds[i]);
        if (failure == 0) continue;
        close(fds[i]);
        status = failure;
    }
    return status == 0 ? 2 : lilac_raise(L, status, "pipe");
}

int luaopen_lilac_pipe(lua_State *L) {
    static const luaL_Reg functions[] = {{"pair", pipe_pair}, {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
