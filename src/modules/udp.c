/*
 * lilac.udp: sockets for datagrams, over IPv4 and IPv6.
 *
 * The queue of what nobody has received yet is the kernel's: it has a ceiling, drops what comes
 * beyond it without waking us, and counts that. So a Socket, like a Listener, uses the system calls
 * itself, on the stack of the task, and asks libuv only when it may try again: on_ready wakes who
 * receives and who sends. A cancelled send has sent nothing, a cancelled recv has taken nothing.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/scratch.h"
#include "../core/waitq.h"
#include "address.h"
#include "builtin.h"
#include "dns.h"
#include "multicast.h"

enum {
    LARGEST = INBOX,       /* no datagram is longer */
    RECEIVES_PER_TURN = 32 /* then the others get their turn, even when datagrams pour in */
};

struct udp {
    lilac_handle handle; /* first */
    uv_poll_t poll;
    int fd, family;
    int events;   /* what is polled for */
    int in_a_row; /* datagrams received without waiting */
    bool is_connected, is_ipv6_only;
    bool is_called; /* the receiver was woken, and has not come yet */
    union address address, peer;
    lilac_wait receiver;
    struct waitq senders;
};

static void udp_on_close(lilac_handle *handle) {
    struct udp *udp = (struct udp *)handle;
    if (!handle->uv) return; /* it was never opened */
    uv_poll_stop(&udp->poll);
    close(udp->fd); /* now, so that the port is free for the next one */
    lilac_wake(&udp->receiver);
    waitq_wake_all(&udp->senders);
}

static const lilac_handle_type udp_type = {
    .name = "lilac.Socket", .size = sizeof(struct udp), .on_close = udp_on_close};

static struct udp *udp_check(lua_State *L, const char *op) {
    return lilac_handle_check(L, 1, &udp_type, op);
}

/* Raises "send 127.0.0.1:53: network is unreachable (ENETUNREACH)". */
static int udp_raise(lua_State *L, const union address *address, const char *op, int status) {
    char subject[ADDRESS_TEXT];
    address_text(address, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
}

static int last_error(void) {
    return uv_translate_sys_error(errno);
}

/* ---- waiting until the socket is ready ------------------------------------------------------- */

static void on_ready(uv_poll_t *poll, int status, int events);

/* Polls for `events`. To tell the kernel is dear: only when they are others than before. */
static int udp_poll(struct udp *udp, int events) {
    int status = 0;
    if (events == udp->events) return 0;
    if (events == 0)
        uv_poll_stop(&udp->poll);
    else
        status = uv_poll_start(&udp->poll, events, on_ready);
    udp->events = status == 0 ? events : 0;
    return status;
}

/* Whoever waits keeps the loop alive; a socket alone does not, so that a deadlock is seen. */
static void udp_unref(struct udp *udp) {
    if (!lilac_waiting(&udp->receiver) && waitq_empty(&udp->senders))
        uv_unref((uv_handle_t *)&udp->poll);
}

/* A datagram is there, or room for one. When nobody wants the datagram, it stays where it is. */
static void on_ready(uv_poll_t *poll, int status, int events) {
    struct udp *udp = container_of(poll, struct udp, poll);
    int wanted = udp->events & ~UV_WRITABLE;
    if (status != 0) { /* an ICMP error, which the next call tells; libuv has stopped polling */
        udp->events = wanted = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (events & UV_READABLE) {
        if (lilac_waiting(&udp->receiver)) {
            lilac_wake(&udp->receiver);
            udp->is_called = true;
        } else if (!udp->is_called) {
            wanted = 0;
        }
    }
    if (events & UV_WRITABLE)
        waitq_wake_all(&udp->senders);
    else if (!waitq_empty(&udp->senders))
        wanted |= UV_WRITABLE;
    udp_unref(udp);
    udp_poll(udp, wanted);
}

/* Begins to wait for an event: then the caller parks. */
static int udp_await(struct udp *udp, int event) {
    uv_ref((uv_handle_t *)&udp->poll);
    return udp_poll(udp, udp->events | event);
}

/* ---- recv ------------------------------------------------------------------------------------ */

static bool recv_cancel(lilac_wait *wait) {
    struct udp *udp = container_of(wait, struct udp, receiver);
    if (waitq_empty(&udp->senders)) uv_unref((uv_handle_t *)&udp->poll);
    return true;
}

static void recv_describe(lilac_wait *wait, char *text, size_t size) {
    address_text(&container_of(wait, struct udp, receiver)->address, text, size);
}

static int recv_closed(lua_State *L, bool is_loop) {
    if (!is_loop) return lilac_throw(L, "ClosedError", "recv: the Socket is closed");
    lua_pushnil(L);
    return 1;
}

static int recv_raise(lua_State *L, const struct udp *udp, int status) {
    return udp_raise(L, udp->is_connected ? &udp->peer : &udp->address, "recv", status);
}

/* Pushes a datagram of `size` bytes, of which `max` are wanted. */
static int push_datagram(lua_State *L, size_t size, size_t max, const union address *from) {
    union address sender = address_unmap(from);
    lua_pushlstring(L, scratch->inbox, size < max ? size : max);
    address_push(L, &sender);
    if (size <= max) return 3;
    lua_pushinteger(L, (lua_Integer)size);
    return 4;
}

static const lilac_op recv_op;

/* [socket, how many bytes at most, whether it is a loop, for which a closed socket is the end] */
static int recv_done(lua_State *L, lilac_wait *wait) {
    struct udp *udp = lilac_handle_test(L, 1, &udp_type);
    union address from;
    socklen_t from_size = sizeof from;
    (void)wait;
    if (!udp) return recv_closed(L, lua_toboolean(L, 3));
    if (lilac_waiting(&udp->receiver)) {
        char what[ADDRESS_TEXT + 5] = "recv ";
        address_text(&udp->address, what + 5, ADDRESS_TEXT);
        lilac_refuse_second(L, &udp->receiver, what);
    }
    udp->is_called = false;
    if (udp->in_a_row++ < RECEIVES_PER_TURN) {
        size_t max = (size_t)lua_tointeger(L, 2);
        /* With MSG_TRUNC the kernel tells how long the datagram was. To take several by one
         * recvmmsg would save a fifth of a recvfrom, and cost 64 KiB for each of them. */
        ssize_t size = recvfrom(udp->fd, scratch->inbox, max, MSG_TRUNC, &from.any, &from_size);
        if (size >= 0) return push_datagram(L, (size_t)size, max, &from);
        if (last_error() != UV_EAGAIN) return recv_raise(L, udp, last_error());
    }
    udp->in_a_row = 0;
    int status = udp_await(udp, UV_READABLE);
    if (status != 0) return recv_raise(L, udp, status);
    return lilac_park(L, &udp->receiver, &recv_op);
}

static const lilac_op recv_op = {
    .name = "socket:recv", .cancel = recv_cancel, .done = recv_done, .describe = recv_describe};

/* recv([max]) → data, host, port [, size, where more than max] */
static int udp_recv(lua_State *L) {
    lilac_handle_test(L, 1, &udp_type);
    if (!lua_isnoneornil(L, 2)) args_integer(L, 2, "number of bytes", 1, LARGEST);
    lilac_checkpoint(L);
    lua_Integer max = luaL_optinteger(L, 2, LARGEST);
    lua_settop(L, 1);
    lua_pushinteger(L, max);
    return recv_done(L, NULL);
}

/* for data, host, port in socket do: until the socket is closed. */
static int udp_next(lua_State *L) {
    lilac_handle_test(L, 1, &udp_type);
    lilac_checkpoint(L);
    lua_settop(L, 1);
    lua_pushinteger(L, LARGEST);
    lua_pushboolean(L, true);
    return recv_done(L, NULL);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Checks a host and a port among the arguments. */
static void check_host(lua_State *L, int host, int port) {
    luaL_argcheck(L, strlen(luaL_checkstring(L, host)) == lua_rawlen(L, host), host,
                  "host contains a zero byte");
    args_integer(L, port, "port", 1, UINT16_MAX);
}

/* Pushes the addresses of the host at `host`, and goes on with `done`. Tail call: a name takes a
 * lookup, after which nothing but the Lua stack is as it was. `family`: "inet", "inet6", "any". */
static int resolve(lua_State *L, int host, const char *family, lua_KFunction done) {
    lua_pushcfunction(L, dns_getaddrinfo);
    lua_pushvalue(L, host);
    lua_pushnil(L);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, family);
    lua_setfield(L, -2, "family");
    lua_callk(L, 3, 1, 0, done);
    return done(L, LUA_OK, 0);
}

/* The family of the addresses that the socket reaches. */
static const char *family_of(const struct udp *udp) {
    if (udp->family != AF_INET6) return "inet";
    return udp->is_ipv6_only ? "inet6" : "any";
}

/* The i-th of the addresses at `index`, from 1; false when there are no more. */
static bool resolved_address(lua_State *L, int index, lua_Integer i, int port,
                             union address *address) {
    if (lua_rawgeti(L, index, i) != LUA_TTABLE) {
        lua_pop(L, 1);
        return false;
    }
    lua_getfield(L, -1, "address");
    bool is_found = address_parse(address, luaL_checkstring(L, -1), port);
    lua_pop(L, 2);
    return is_found;
}

/* ---- send ------------------------------------------------------------------------------------ */

static bool send_cancel(lilac_wait *wait) {
    struct udp *udp = container_of(waitq_of(wait), struct udp, senders);
    waitq_unlink(wait);
    udp_unref(udp);
    return true;
}

static void send_describe(lilac_wait *wait, char *text, size_t size) {
    address_text(&container_of(waitq_of(wait), struct udp, senders)->address, text, size);
}

static int send_raise(lua_State *L, const union address *to, size_t size, int status) {
    char subject[ADDRESS_TEXT];
    if (status != UV_EMSGSIZE) return udp_raise(L, to, "send", status);
    address_text(to, subject, sizeof subject);
    const char *text = lua_pushfstring(L, "%I", (LUAI_UACINT)size);
    return lilac_raise(L, status, "send %s: %s bytes", subject, text);
}

static const lilac_op send_op;

/* [socket, data, numeric host or nil, port] */
static int send_done(lua_State *L, lilac_wait *wait) {
    struct udp *udp = udp_check(L, "send");
    union address to = udp->peer, mapped;
    size_t size;
    ssize_t sent;
    (void)wait;
    const char *bytes = lua_tolstring(L, 2, &size);
    if (lua_isnil(L, 3)) {
        sent = send(udp->fd, bytes, size, 0);
    } else {
        address_parse(&to, lua_tostring(L, 3), (int)lua_tointeger(L, 4));
        mapped = address_map(&to, udp->family);
        sent = sendto(udp->fd, bytes, size, 0, &mapped.any, address_size(&mapped));
    }
    if (sent >= 0) return 0;
    int status = last_error();
    if (status == UV_EAGAIN) status = udp_await(udp, UV_WRITABLE);
    if (status != 0) return send_raise(L, &to, size, status);
    return waitq_park(L, &udp->senders, &send_op);
}

static const lilac_op send_op = {
    .name = "socket:send", .cancel = send_cancel, .done = send_done, .describe = send_describe};

static int send_resolved(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    lua_rawgeti(L, -1, 1);
    lua_getfield(L, -1, "address");
    lua_replace(L, 3);
    lua_settop(L, 4);
    return send_done(L, NULL);
}

/* send(data [, host, port]) */
static int udp_send(lua_State *L) {
    struct udp *udp = udp_check(L, "send");
    union address ignored;
    luaL_checkstring(L, 2);
    if (!lua_isnoneornil(L, 3))
        check_host(L, 3, 4);
    else if (!udp->is_connected)
        luaL_argerror(L, 3, "host expected, as the Socket is not connected");
    lilac_checkpoint(L);
    lua_settop(L, 4);
    if (lua_isnil(L, 3) || address_parse(&ignored, lua_tostring(L, 3), 0))
        return send_done(L, NULL);
    return resolve(L, 3, family_of(udp), send_resolved);
}

/* ---- connect --------------------------------------------------------------------------------- */

/* Binding to every address leaves the choice of one to connect(). */
static int udp_connect_to(struct udp *udp, const union address *peer) {
    union address mapped = address_map(peer, udp->family);
    socklen_t size = sizeof udp->address;
    if (connect(udp->fd, &mapped.any, address_size(&mapped)) ||
        getsockname(udp->fd, &udp->address.any, &size))
        return last_error();
    udp->address = address_unmap(&udp->address);
    udp->peer = *peer;
    udp->is_connected = true;
    return 0;
}

/* [socket, host, port, addresses] */
static int connect_resolved(lua_State *L, int ignored, lua_KContext context) {
    struct udp *udp = udp_check(L, "connect");
    union address peer = {0};
    int status = UV_EAI_NODATA;
    (void)ignored, (void)context;
    for (lua_Integer i = 1; status != 0; i++) {
        union address next;
        if (!resolved_address(L, 4, i, (int)lua_tointeger(L, 3), &next)) break;
        peer = next;
        status = udp_connect_to(udp, &peer);
    }
    return status == 0 ? 0 : udp_raise(L, &peer, "connect", status);
}

/* connect(host, port) */
static int udp_connect(lua_State *L) {
    struct udp *udp = udp_check(L, "connect");
    check_host(L, 2, 3);
    lilac_checkpoint(L);
    lua_settop(L, 3);
    return resolve(L, 2, family_of(udp), connect_resolved);
}

/* ---- multicast ------------------------------------------------------------------------------- */

/* The number of the interface called `name`, or an argument error. */
static unsigned check_interface(lua_State *L, int arg, const char *name) {
    unsigned interface = name ? multicast_interface(name) : 0;
    if (name && interface == 0)
        luaL_argerror(L, arg,
                      lua_pushfstring(L, "no interface has the name or address '%s'", name));
    return interface;
}

static int change_group(lua_State *L, const char *op,
                        int (*change)(int fd, const union address *group, unsigned interface)) {
    struct udp *udp = udp_check(L, op);
    union address group = address_check(L, 2, 0);
    luaL_argcheck(L, multicast_is_group(&group), 2, "this is no address of a multicast group");
    unsigned interface = check_interface(L, 3, luaL_optstring(L, 3, NULL));
    int status = change(udp->fd, &group, interface);
    return status == 0 ? 0 : lilac_raise(L, status, "%s %s", op, lua_tostring(L, 2));
}

/* join(group [, interface]) */
static int udp_join(lua_State *L) {
    return change_group(L, "join", multicast_join);
}

/* leave(group [, interface]) */
static int udp_leave(lua_State *L) {
    return change_group(L, "leave", multicast_leave);
}

/* ---- what a socket tells --------------------------------------------------------------------- */

static int udp_sockname(lua_State *L) {
    return address_push(L, &udp_check(L, "sockname")->address);
}

/* peername() → host, port, or nothing */
static int udp_peername(lua_State *L) {
    struct udp *udp = udp_check(L, "peername");
    return udp->is_connected ? address_push(L, &udp->peer) : 0;
}

/* How many datagrams the kernel has dropped, as nobody received them in time. */
static lua_Integer udp_dropped(const struct udp *udp) {
    uint32_t counts[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof counts;
    getsockopt(udp->fd, SOL_SOCKET, SO_MEMINFO, counts, &size);
    return counts[SK_MEMINFO_DROPS];
}

/* socket.port, .host and .dropped; the methods are the upvalue. */
static int udp_index(lua_State *L) {
    struct udp *udp = lilac_handle_test(L, 1, &udp_type);
    const char *key = luaL_checkstring(L, 2);
    if (udp && strcmp(key, "port") == 0)
        lua_pushinteger(L, address_port(&udp->address));
    else if (udp && strcmp(key, "host") == 0)
        address_push_host(L, &udp->address);
    else if (udp && strcmp(key, "dropped") == 0)
        lua_pushinteger(L, udp_dropped(udp));
    else
        lua_getfield(L, lua_upvalueindex(1), key);
    return 1;
}

static int udp_tostring(lua_State *L) {
    struct udp *udp = lilac_handle_test(L, 1, &udp_type);
    char subject[ADDRESS_TEXT] = "closed";
    if (udp) address_text(&udp->address, subject, sizeof subject);
    lua_pushfstring(L, "Socket (%s): %p", subject, lua_topointer(L, 1));
    return 1;
}

/* ---- open ------------------------------------------------------------------------------------ */

struct udp_options {
    int port, ttl, queue;
    bool reuse_addr, reuse_port, broadcast, ipv6_only;
    struct multicast_options multicast;
};

/* The options at 1. */
static struct udp_options check_options(lua_State *L) {
    static const char *const known[] = {
        "host",      "port", "queue",         "reuse_addr",     "reuse_port",          "broadcast",
        "ipv6_only", "ttl",  "multicast_ttl", "multicast_loop", "multicast_interface", NULL};
    int is_integer = true;
    lua_Integer port = 0;
    args_options(L, 1, known);
    if (lua_getfield(L, 1, "port") != LUA_TNIL) port = lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    luaL_argcheck(L, is_integer && port >= 0 && port <= UINT16_MAX, 1,
                  "option 'port': integer from 0 to 65535 expected");
    unsigned interface =
        check_interface(L, 1, args_option_string(L, 1, "multicast_interface", NULL));
    lua_pop(L, 1);
    return (struct udp_options){
        .port = (int)port,
        .ttl = (int)args_option_count(L, 1, "ttl", 0, UINT8_MAX),
        .queue = (int)args_option_count(L, 1, "queue", 0, INT32_MAX / 2),
        .reuse_addr = args_option_boolean(L, 1, "reuse_addr", false),
        .reuse_port = args_option_boolean(L, 1, "reuse_port", false),
        .broadcast = args_option_boolean(L, 1, "broadcast", false),
        .ipv6_only = args_option_boolean(L, 1, "ipv6_only", false),
        .multicast = {.interface = interface,
                      .ttl = (int)args_option_count(L, 1, "multicast_ttl", 0, UINT8_MAX),
                      .loop = args_option_boolean(L, 1, "multicast_loop", true)}};
}

/* Sets what bind() heeds, and all else. 0 or a libuv code. */
static int udp_configure(const struct udp *udp, const struct udp_options *options) {
    int fd = udp->fd, on = 1, ipv6_only = options->ipv6_only;
    bool is_ipv6 = udp->family == AF_INET6;
    const int *ttl = options->ttl > 0 ? &options->ttl : NULL;
    const int *queue = options->queue > 0 ? &options->queue : NULL;
    if ((is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &ipv6_only, sizeof ipv6_only)) ||
        (options->reuse_addr && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) ||
        (options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) ||
        (options->broadcast && setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on)) ||
        (queue && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, queue, sizeof *queue)) ||
        (ttl && setsockopt(fd, IPPROTO_IP, IP_TTL, ttl, sizeof *ttl)) ||
        (ttl && is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl, sizeof *ttl)))
        return last_error();
    return multicast_configure(fd, udp->family, &options->multicast);
}

/* Makes the socket at an address, and puts in the port that it got. 0 or a libuv code; then no
 * descriptor is left open. */
static int udp_bind(struct udp *udp, const union address *address,
                    const struct udp_options *options) {
    socklen_t size = sizeof udp->address;
    int type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    udp->address = *address;
    udp->is_ipv6_only = options->ipv6_only;
    udp->family = address->any.sa_family;
    if (!scratch_open()) return UV_ENOMEM;
    udp->fd = socket(udp->family, type, 0);
    if (udp->fd < 0) return last_error();
    int status = udp_configure(udp, options);
    if (status == 0 && (bind(udp->fd, &address->any, address_size(address)) ||
                        getsockname(udp->fd, &udp->address.any, &size)))
        status = last_error();
    if (status != 0) close(udp->fd);
    return status;
}

/* The i-th address to open at: of those at 3, or without any, of all interfaces. */
static bool open_address(lua_State *L, lua_Integer i, int port, union address *address) {
    static const char *const everywhere[] = {"::", "0.0.0.0"}; /* the first one hears both */
    if (lua_istable(L, 3)) return resolved_address(L, 3, i, port, address);
    return i <= 2 && address_parse(address, everywhere[i - 1], port);
}

/* A machine without IPv6 may still resolve to an IPv6 address. */
static bool is_unavailable(int status) {
    return status == UV_EADDRNOTAVAIL || status == UV_EAFNOSUPPORT;
}

/* [options, host, addresses], or [options, nil] */
static int open_resolved(lua_State *L, int ignored, lua_KContext context) {
    struct udp_options options = check_options(L);
    struct udp *udp = lilac_handle_new(L, &udp_type);
    union address address = {0}, next;
    int status = UV_EADDRNOTAVAIL;
    (void)ignored, (void)context;
    waitq_init(&udp->senders);
    for (int i = 1; is_unavailable(status) && open_address(L, i, options.port, &next); i++) {
        address = next;
        status = udp_bind(udp, &address, &options);
    }
    if (status != 0) return udp_raise(L, &address, "bind", status);
    status = uv_poll_init(lilac_loop(L), &udp->poll, udp->fd);
    if (status != 0) {
        close(udp->fd);
        return udp_raise(L, &address, "bind", status);
    }
    lilac_handle_opened(&udp->handle, (uv_handle_t *)&udp->poll);
    uv_unref((uv_handle_t *)&udp->poll);
    return 1;
}

/* open([options]) → Socket */
static int udp_open(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    lua_settop(L, 1);
    struct udp_options options = check_options(L);
    const char *host = args_option_string(L, 1, "host", NULL);
    luaL_argcheck(L, !host || strlen(host) == lua_rawlen(L, 2), 1,
                  "option 'host' contains a zero byte");
    lilac_checkpoint(L);
    if (!host) return open_resolved(L, LUA_OK, 0);
    return resolve(L, 2, options.ipv6_only ? "inet6" : "any", open_resolved);
}

static void udp_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {{"send", udp_send},         {"recv", udp_recv},
                                       {"connect", udp_connect},   {"join", udp_join},
                                       {"leave", udp_leave},       {"sockname", udp_sockname},
                                       {"peername", udp_peername}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__call", udp_next}, {"__tostring", udp_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &udp_type, methods, meta);
    luaL_getmetatable(L, udp_type.name);
    if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
        lua_pushcclosure(L, udp_index, 1);
        lua_setfield(L, -2, "__index");
    } else {
        lua_pop(L, 1); /* the module was loaded before */
    }
    lua_pop(L, 1);
}

int luaopen_lilac_udp(lua_State *L) {
    static const luaL_Reg functions[] = {{"open", udp_open}, {NULL, NULL}};
    lilac_check_version(L);
    udp_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
