/*
 * lilac.tcp: connecting to one numeric address, and listening on one; lilac.net composes the rest.
 */
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/args.h"
#include "../core/list.h"
#include "builtin.h"
#include "listener.h"

enum {
    LINGER_MS = 30000,
    KEEPALIVE_S = 60,
    KEEPALIVE_COUNT = 6,
    KEEPALIVE_S_MAX = INT16_MAX, /* as much as the kernel takes */
    KEEPALIVE_COUNT_MAX = INT8_MAX
};

/* When the kernel asks a silent peer for a sign of life. Where nothing goes to and fro, nobody
 * hears that the other end is gone: without this, a reader would wait for it for ever. */
struct keepalive {
    int idle_s;     /* first, after such a silence; 0: never */
    int interval_s; /* then as often as this, */
    int count;      /* so many times; then the connection has timed out */
};

/* What connections are made with, on either side. */
struct tcp_options {
    bool nodelay;
    struct keepalive keepalive;
    size_t limit;
};

/* The number at `index`, a part of option 'keepalive'. The kernel knows whole seconds: rounds up.
 */
static int check_part(lua_State *L, int arg, int index, const char *what, int max) {
    double number = lua_type(L, index) == LUA_TNUMBER ? ceil(lua_tonumber(L, index)) : 0;
    if (number >= 1 && number <= max) return (int)number;
    return luaL_argerror(L, arg,
                         lua_pushfstring(L, "option 'keepalive': %s from 1 to %d expected, got %s",
                                         what, max, luaL_tolstring(L, index, NULL)));
}

/* The table on top of the stack. */
static struct keepalive check_parts(lua_State *L, int arg) {
    struct keepalive parts = {0};
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(name, "idle") == 0)
            parts.idle_s = check_part(L, arg, -1, "'idle' in seconds", KEEPALIVE_S_MAX);
        else if (strcmp(name, "interval") == 0)
            parts.interval_s = check_part(L, arg, -1, "'interval' in seconds", KEEPALIVE_S_MAX);
        else if (strcmp(name, "count") == 0)
            parts.count = check_part(L, arg, -1, "'count'", KEEPALIVE_COUNT_MAX);
        else
            luaL_argerror(L, arg,
                          lua_pushfstring(L,
                                          "option 'keepalive': 'idle', 'interval' and 'count' "
                                          "expected in the table, got '%s'",
                                          luaL_tolstring(L, -2, NULL)));
    }
    return parts;
}

/* Of what is left open, the default is such that the questions take as long as the silence did. */
static struct keepalive check_keepalive(lua_State *L, int arg) {
    struct keepalive keepalive = {0};
    int type = lua_istable(L, arg) ? lua_getfield(L, arg, "keepalive") : (lua_pushnil(L), LUA_TNIL);
    if (type == LUA_TTABLE)
        keepalive = check_parts(L, arg);
    else if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        keepalive.idle_s =
            check_part(L, arg, -1, "true, false, a table, or seconds", KEEPALIVE_S_MAX);
    bool is_off = type == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (is_off) return keepalive;
    if (keepalive.idle_s == 0) keepalive.idle_s = KEEPALIVE_S;
    if (keepalive.count == 0) keepalive.count = KEEPALIVE_COUNT;
    if (keepalive.interval_s == 0)
        keepalive.interval_s = (keepalive.idle_s + keepalive.count - 1) / keepalive.count;
    return keepalive;
}

/* The options at `arg`, whose names have been checked. */
static struct tcp_options check_options(lua_State *L, int arg) {
    return (struct tcp_options){
        .nodelay = args_option_boolean(L, arg, "nodelay", true),
        .keepalive = check_keepalive(L, arg),
        .limit = (size_t)args_option_count(L, arg, "limit", STREAM_LIMIT, INT32_MAX)};
}

/* What one accepts is like the socket that listens. 0 or a libuv code. */
static int socket_configure(int fd, const struct tcp_options *options) {
    const struct keepalive *keepalive = &options->keepalive;
    int on = 1;
    bool is_alive = keepalive->idle_s > 0;
    if ((options->nodelay && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) ||
        (is_alive &&
         (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) ||
          setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keepalive->idle_s, sizeof(int)) ||
          setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keepalive->interval_s, sizeof(int)) ||
          setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keepalive->count, sizeof(int)))))
        return uv_translate_sys_error(errno);
    return 0;
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
                                          .hear_out = stream_uv_hear_out,
                                          .descriptor = stream_uv_descriptor,
                                          .peername = tcp_peername,
                                          .sockname = tcp_sockname,
                                          .subject = tcp_subject};

static struct stream *tcp_new(lua_State *L, size_t limit) {
    struct stream *stream = stream_new(L, &tcp_ops, limit);
    stream->is_socket = true;
    return stream;
}

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
    uv_os_fd_t fd;
    int status = uv_tcp_init_ex(loop, tcp, stream->peer.any.sa_family);
    if (status != 0) return status;
    stream_opened(stream);
    status = uv_fileno(&stream->uv.handle, &fd);
    if (status == 0) status = socket_configure(fd, options);
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
    lua_pop(L, 1);
    lilac_checkpoint(L);
    struct stream *stream = tcp_new(L, options.limit);
    stream->peer = peer;
    stream->read_status =
        connect_begin(lilac_loop(L), stream, &options, local_host ? &local : NULL);
    if (stream->read_status != 0) return connect_done(L, &stream->reader);
    return lilac_park(L, &stream->reader, &connect_op);
}

/* ---- listen ---------------------------------------------------------------------------------- */

static struct stream *tcp_stream(lua_State *L, const struct listener *listener) {
    return tcp_new(L, listener->limit);
}

static int tcp_open(uv_loop_t *loop, struct stream *stream, int fd, const union address *peer) {
    stream->peer = *peer;
    uv_tcp_init(loop, &stream->uv.tcp);
    stream_opened(stream);
    return uv_tcp_open(&stream->uv.tcp, fd);
}

static bool listener_field(lua_State *L, const struct listener *listener, const char *name) {
    const union address *address = &listener->address.internet;
    if (strcmp(name, "port") == 0)
        lua_pushinteger(L, address_port(address));
    else if (strcmp(name, "host") == 0)
        address_push_host(L, address);
    else
        return false;
    return true;
}

static void listener_subject(const struct listener *listener, char *text, size_t size) {
    address_text(&listener->address.internet, text, size);
}

static const struct listener_ops listener_ops = {
    .stream = tcp_stream, .open = tcp_open, .field = listener_field, .subject = listener_subject};

/* Makes the socket `fd` listen on the address, and puts in the port that it got. 0 or a libuv code.
 */
static int listen_begin(int fd, union address *address, bool reuse_port, int backlog) {
    socklen_t size = sizeof *address;
    int on = 1;
    bool is_ipv6 = address->any.sa_family == AF_INET6;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
        (is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on)) ||
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
    int backlog = (int)args_option_count(L, 3, "backlog", LISTENER_BACKLOG, INT32_MAX);
    bool reuse_port = args_option_boolean(L, 3, "reuse_port", false);
    struct listener *listener = listener_new(L, &listener_ops, options.limit);
    listener->address.internet = address;
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int status = fd < 0 ? uv_translate_sys_error(errno) : socket_configure(fd, &options);
    if (status == 0) status = listen_begin(fd, &listener->address.internet, reuse_port, backlog);
    return listener_open(L, listener, fd, status);
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
