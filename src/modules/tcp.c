/*
 * lilac.tcp: connecting to one numeric address, and listening on one; lilac.net composes the rest.
 *
 * A Listener asks the kernel for connections itself, and libuv only when there are some. uv_listen
 * accepts ahead of the program, drops the connections it has no descriptor for, and may spin when
 * others take that descriptor; here they wait in the backlog until somebody accepts them.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "builtin.h"
#include "stream.h"

enum {
    DEFAULT_BACKLOG = 1024,
    DEFAULT_KEEPALIVE_S = 60,
    LINGER_MS = 30000,
    ACCEPTS_PER_TURN = 16 /* then the connections that are there get theirs */
};

/* What connections are made with, on either side. */
struct tcp_options {
    bool nodelay;
    int keepalive_s; /* 0: off */
    size_t limit;
};

/* The options at `arg`, whose names have been checked. */
static struct tcp_options check_options(lua_State *L, int arg) {
    struct tcp_options options = {
        .nodelay = args_option_boolean(L, arg, "nodelay", true),
        .limit = (size_t)args_option_count(L, arg, "limit", STREAM_LIMIT, INT32_MAX)};
    if (!lua_istable(L, arg)) return options;
    if (lua_getfield(L, arg, "keepalive") == LUA_TBOOLEAN) {
        options.keepalive_s = lua_toboolean(L, -1) ? DEFAULT_KEEPALIVE_S : 0;
    } else {
        options.keepalive_s = (int)args_option_count(L, arg, "keepalive", 0, INT16_MAX);
    }
    lua_pop(L, 1);
    return options;
}

static int check_port(lua_State *L, int arg, int min) {
    return (int)args_integer(L, arg, "port", min, UINT16_MAX);
}

/* ---- the transport --------------------------------------------------------------------------- */

/* A peer that reads nothing gets so long to take what is left for it. */
static void tcp_linger(struct stream *stream) {
    uv_os_fd_t fd;
    unsigned timeout_ms = LINGER_MS;
    if (uv_fileno(&stream->uv.handle, &fd) != 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static int tcp_peername(lua_State *L, struct stream *stream) {
    return address_push(L, &stream->peer);
}

static int tcp_sockname(lua_State *L, struct stream *stream) {
    union address address;
    int size = sizeof address;
    int status = uv_tcp_getsockname(&stream->uv.tcp, &address.any, &size);
    if (status != 0) return lilac_raise(L, status, "getsockname");
    return address_push(L, &address);
}

static void tcp_subject(const struct stream *stream, char *text, size_t size) {
    address_text(&stream->peer, text, size);
}

static const struct stream_ops tcp_ops = {.start = stream_uv_start,
                                          .stop = stream_uv_stop,
                                          .try_read = stream_uv_try_read,
                                          .try_write = stream_uv_try_write,
                                          .write = stream_uv_write,
                                          .shutdown = stream_uv_shutdown,
                                          .linger = tcp_linger,
                                          .descriptor = stream_uv_descriptor,
                                          .peername = tcp_peername,
                                          .sockname = tcp_sockname,
                                          .subject = tcp_subject};

/* ---- connect --------------------------------------------------------------------------------- */

static void on_connect(uv_connect_t *request, int status) {
    struct stream *stream = container_of(request, struct stream, request.connect);
    stream->read_status = status;
    lilac_wake(&stream->reader);
}

static bool connect_cancel(lilac_wait *wait) {
    lilac_handle_close(&container_of(wait, struct stream, reader)->handle);
    return true;
}

static int connect_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = container_of(wait, struct stream, reader);
    int status = stream->read_status;
    if (status == 0) return 1; /* it is on top of the stack */
    char subject[ADDRESS_TEXT];
    address_text(&stream->peer, subject, sizeof subject);
    lilac_handle_close(&stream->handle);
    return lilac_raise(L, status, "connect %s", subject);
}

static void connect_describe(lilac_wait *wait, char *text, size_t size) {
    tcp_subject(container_of(wait, struct stream, reader), text, size);
}

static const lilac_op connect_op = {.name = "tcp:connect",
                                    .cancel = connect_cancel,
                                    .done = connect_done,
                                    .describe = connect_describe};

/* Makes the socket and begins to connect. 0 or a libuv code. */
static int connect_begin(uv_loop_t *loop, struct stream *stream, const struct tcp_options *options,
                         const union address *local) {
    uv_tcp_t *tcp = &stream->uv.tcp;
    int status = uv_tcp_init_ex(loop, tcp, stream->peer.any.sa_family);
    if (status != 0) return status;
    stream_opened(stream);
    status = uv_tcp_nodelay(tcp, options->nodelay);
    if (status == 0 && options->keepalive_s > 0)
        status = uv_tcp_keepalive(tcp, 1, (unsigned)options->keepalive_s);
    if (status == 0 && local) status = uv_tcp_bind(tcp, &local->any, 0);
    if (status != 0) return status;
    return uv_tcp_connect(&stream->request.connect, tcp, &stream->peer.any, on_connect);
}

/* connect(address, port [, options]) → Stream */
static int tcp_connect(lua_State *L) {
    static const char *const known[] = {"nodelay", "keepalive", "limit", "local_addr", NULL};
    union address peer = address_check(L, 1, check_port(L, 2, 1)), local;
    args_options(L, 3, known);
    struct tcp_options options = check_options(L, 3);
    const char *local_host = args_option_string(L, 3, "local_addr", NULL);
    if (local_host && !address_parse(&local, local_host, 0)) {
        return luaL_argerror(L, 3,
                             lua_pushfstring(L,
                                             "option 'local_addr': numeric address expected, "
                                             "got '%s'",
                                             local_host));
    }
    lilac_checkpoint(L);
    struct stream *stream = stream_new(L, &tcp_ops, options.limit);
    stream->peer = peer;
    stream->read_status =
        connect_begin(lilac_loop(L), stream, &options, local_host ? &local : NULL);
    if (stream->read_status != 0) return connect_done(L, &stream->reader);
    return lilac_park(L, &stream->reader, &connect_op);
}

/* ---- Listener -------------------------------------------------------------------------------- */

struct listener {
    lilac_handle handle; /* first */
    uv_poll_t poll;
    int fd;
    int in_a_row; /* connections accepted without waiting */
    size_t limit; /* of the streams */
    union address address;
    lilac_wait acceptor;
};

static void listener_on_close(lilac_handle *handle) {
    struct listener *listener = (struct listener *)handle;
    if (!handle->uv) return; /* it never listened */
    uv_poll_stop(&listener->poll);
    close(listener->fd); /* now, so that the port is free for the next one */
    lilac_wake(&listener->acceptor);
}

static const lilac_handle_type listener_type = {
    .name = "lilac.Listener", .size = sizeof(struct listener), .on_close = listener_on_close};

/* Whoever accepts keeps the loop alive; a socket that only listens does not, so that a deadlock is
 * seen. */
static void acceptor_leave(struct listener *listener) {
    uv_unref((uv_handle_t *)&listener->poll);
}

/* A connection is there. When nobody wants it, it stays where it is. */
static void on_connection(uv_poll_t *poll, int status, int events) {
    struct listener *listener = container_of(poll, struct listener, poll);
    (void)status, (void)events; /* accept4 tells what is wrong */
    if (lilac_waiting(&listener->acceptor)) {
        acceptor_leave(listener);
        lilac_wake(&listener->acceptor);
    } else {
        uv_poll_stop(poll);
    }
}

static bool accept_cancel(lilac_wait *wait) {
    acceptor_leave(container_of(wait, struct listener, acceptor));
    return true;
}

static void accept_describe(lilac_wait *wait, char *text, size_t size) {
    address_text(&container_of(wait, struct listener, acceptor)->address, text, size);
}

static int listener_raise(lua_State *L, const struct listener *listener, const char *op,
                          int status) {
    char subject[ADDRESS_TEXT];
    address_text(&listener->address, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
}

/* Accepts a connection into the stream. 0 or a libuv code: UV_EAGAIN for none. */
static int listener_accept(struct listener *listener, struct stream *stream) {
    socklen_t size;
    int fd;
    do {
        size = sizeof stream->peer;
        fd = accept4(listener->fd, &stream->peer.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) return uv_translate_sys_error(errno);
    uv_tcp_init(listener->poll.loop, &stream->uv.tcp);
    stream_opened(stream);
    int status = uv_tcp_open(&stream->uv.tcp, fd);
    if (status != 0) close(fd);
    return status;
}

static const lilac_op accept_op;

static int accept_closed(lua_State *L, bool is_loop) {
    if (!is_loop) return lilac_throw(L, "ClosedError", "accept: the Listener is closed");
    lua_pushnil(L);
    return 1;
}

/* [listener, a stream to fill, whether it is a loop, for which a closed listener is the end] */
static int accept_done(lua_State *L, lilac_wait *wait) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    struct stream *stream = lilac_handle_check(L, 2, &stream_type, "accept");
    (void)wait;
    if (!listener) return accept_closed(L, lua_toboolean(L, 3));
    if (lilac_waiting(&listener->acceptor)) {
        char what[ADDRESS_TEXT + 7] = "accept ";
        address_text(&listener->address, what + 7, ADDRESS_TEXT);
        lilac_refuse_second(L, &listener->acceptor, what);
    }
    int status = UV_EAGAIN;
    if (listener->in_a_row++ < ACCEPTS_PER_TURN) status = listener_accept(listener, stream);
    if (status == 0) {
        lua_settop(L, 2);
        return 1;
    }
    listener->in_a_row = 0;
    if (status == UV_EAGAIN && !uv_is_active((uv_handle_t *)&listener->poll))
        status = uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    if (status != 0 && status != UV_EAGAIN) return listener_raise(L, listener, "accept", status);
    uv_ref((uv_handle_t *)&listener->poll);
    return lilac_park(L, &listener->acceptor, &accept_op);
}

static const lilac_op accept_op = {.name = "listener:accept",
                                   .cancel = accept_cancel,
                                   .done = accept_done,
                                   .describe = accept_describe};

static int accept_begin(lua_State *L, bool is_loop) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    lilac_checkpoint(L);
    if (!listener) return accept_closed(L, is_loop);
    lua_settop(L, 1);
    stream_new(L, &tcp_ops, listener->limit);
    lua_pushboolean(L, is_loop);
    return accept_done(L, NULL);
}

static int listener_accept_one(lua_State *L) {
    return accept_begin(L, false);
}

static int incoming_next(lua_State *L) {
    return accept_begin(L, true);
}

/* incoming() → an iterator over connections, until the listener is closed. */
static int listener_incoming(lua_State *L) {
    lilac_handle_check(L, 1, &listener_type, "incoming");
    lua_pushcfunction(L, incoming_next);
    lua_pushvalue(L, 1);
    return 2;
}

/* listener.port and listener.host; the methods are the upvalue. */
static int listener_index(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    const char *key = luaL_checkstring(L, 2);
    if (listener && strcmp(key, "port") == 0) {
        lua_pushinteger(L, address_port(&listener->address));
    } else if (listener && strcmp(key, "host") == 0) {
        address_push_host(L, &listener->address);
    } else {
        lua_getfield(L, lua_upvalueindex(1), key);
    }
    return 1;
}

static int listener_tostring(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    char subject[ADDRESS_TEXT] = "closed";
    if (listener) address_text(&listener->address, subject, sizeof subject);
    lua_pushfstring(L, "Listener (%s): %p", subject, lua_topointer(L, 1));
    return 1;
}

/* ---- listen ---------------------------------------------------------------------------------- */

/* Makes a socket that listens on the listener's address, and puts in the port that it got. 0 or a
 * libuv code; listener->fd is -1 or open in either case. Accepted sockets inherit its options. */
static int listen_begin(struct listener *listener, const struct tcp_options *options, int backlog,
                        bool reuse_port) {
    union address *address = &listener->address;
    socklen_t size = sizeof *address;
    int on = 1, fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    listener->fd = fd;
    if (fd < 0) return uv_translate_sys_error(errno);
    bool is_ipv6 = address->any.sa_family == AF_INET6, is_alive = options->keepalive_s > 0;
    const int *seconds = &options->keepalive_s;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
        (is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on)) ||
        (options->nodelay && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) ||
        (is_alive && setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on)) ||
        (is_alive && setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds, sizeof *seconds)) ||
        bind(fd, &address->any, address_size(address)) || listen(fd, backlog) ||
        getsockname(fd, &address->any, &size))
        return uv_translate_sys_error(errno);
    return 0;
}

/* listen(address, port [, options]) → Listener */
static int tcp_listen(lua_State *L) {
    static const char *const known[] = {"nodelay", "keepalive",  "limit",
                                        "backlog", "reuse_port", NULL};
    union address address = address_check(L, 1, check_port(L, 2, 0));
    args_options(L, 3, known);
    struct tcp_options options = check_options(L, 3);
    int backlog = (int)args_option_count(L, 3, "backlog", DEFAULT_BACKLOG, INT32_MAX);
    bool reuse_port = args_option_boolean(L, 3, "reuse_port", false);
    struct listener *listener = lilac_handle_new(L, &listener_type);
    listener->address = address;
    listener->limit = options.limit;
    int status = listen_begin(listener, &options, backlog, reuse_port);
    if (status == 0) status = uv_poll_init(lilac_loop(L), &listener->poll, listener->fd);
    if (status != 0) {
        if (listener->fd >= 0) close(listener->fd);
        listener->fd = -1;
        return listener_raise(L, listener, "listen", status);
    }
    lilac_handle_opened(&listener->handle, (uv_handle_t *)&listener->poll);
    acceptor_leave(listener);
    return 1;
}

static void listener_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"accept", listener_accept_one}, {"incoming", listener_incoming}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", listener_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &listener_type, methods, meta);
    luaL_getmetatable(L, listener_type.name);
    if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
        lua_pushcclosure(L, listener_index, 1);
        lua_setfield(L, -2, "__index");
    } else {
        lua_pop(L, 1); /* the module was loaded before */
    }
    lua_pop(L, 1);
}

int luaopen_lilac_tcp(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"connect", tcp_connect}, {"listen", tcp_listen}, {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    listener_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
