/*
 * Listeners. A Listener asks the kernel for connections itself, and libuv only when there are some.
 * uv_listen accepts ahead of the program, drops the connections it has no descriptor for, and may
 * spin when others take that descriptor; here they wait in the backlog until somebody accepts them.
 */
#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/list.h"

enum { ACCEPTS_PER_TURN = 16 /* then the connections that are there get theirs */ };

static void listener_on_close(lilac_handle *handle) {
    struct listener *listener = (struct listener *)handle;
    if (!handle->uv) return; /* it never listened */
    if (listener->ops->closing) listener->ops->closing(listener);
    uv_poll_stop(&listener->poll);
    close(listener->fd); /* now, so that the port is free for the next one */
    lilac_wake(&listener->acceptor);
}

static const lilac_handle_type listener_type = {
    .name = "lilac.Listener", .size = sizeof(struct listener), .on_close = listener_on_close};

/* ---- accept ---------------------------------------------------------------------------------- */

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
    struct listener *listener = container_of(wait, struct listener, acceptor);
    listener->ops->subject(listener, text, size);
}

static int listener_raise(lua_State *L, const struct listener *listener, const char *op,
                          int status) {
    char subject[LISTENER_TEXT];
    listener->ops->subject(listener, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
}

/* Accepts a connection into the stream. 0 or a libuv code: UV_EAGAIN for none. */
static int listener_accept(struct listener *listener, struct stream *stream) {
    union address peer;
    socklen_t size;
    int fd;
    do {
        size = sizeof peer;
        fd = accept4(listener->fd, &peer.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) return uv_translate_sys_error(errno);
    int status = listener->ops->open(listener->poll.loop, stream, fd, &peer);
    if (status != 0) close(fd);
    return status;
}

static const lilac_op accept_op, wait_op;

/* Parks until a connection is there. */
static int acceptor_park(lua_State *L, struct listener *listener, const lilac_op *op) {
    if (!uv_is_active((uv_handle_t *)&listener->poll)) {
        int status = uv_poll_start(&listener->poll, UV_READABLE, on_connection);
        if (status != 0) return listener_raise(L, listener, "accept", status);
    }
    uv_ref((uv_handle_t *)&listener->poll);
    return lilac_park(L, &listener->acceptor, op);
}

static void refuse_second_acceptor(lua_State *L, const struct listener *listener) {
    char what[LISTENER_TEXT + 7] = "accept ";
    if (!lilac_waiting(&listener->acceptor)) return;
    listener->ops->subject(listener, what + 7, LISTENER_TEXT);
    lilac_refuse_second(L, &listener->acceptor, what);
}

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
    refuse_second_acceptor(L, listener);
    int status = UV_EAGAIN;
    if (listener->in_a_row++ < ACCEPTS_PER_TURN) status = listener_accept(listener, stream);
    if (status == 0) {
        lua_settop(L, 2);
        return 1;
    }
    listener->in_a_row = 0;
    if (status != UV_EAGAIN) return listener_raise(L, listener, "accept", status);
    return acceptor_park(L, listener, &accept_op);
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
    listener->ops->stream(L, listener);
    lua_pushboolean(L, is_loop);
    return accept_done(L, NULL);
}

static int listener_accept_one(lua_State *L) {
    return accept_begin(L, false);
}

static int incoming_next(lua_State *L) {
    return accept_begin(L, true);
}

/* Leaves the connection in the backlog, for accept. */
static int wait_done(lua_State *L, lilac_wait *wait) {
    struct listener *listener = lilac_handle_check(L, 1, &listener_type, "wait");
    (void)wait;
    refuse_second_acceptor(L, listener);
    struct pollfd socket = {.fd = listener->fd, .events = POLLIN};
    if (poll(&socket, 1, 0) != 0) return 0;
    return acceptor_park(L, listener, &wait_op);
}

static const lilac_op wait_op = {.name = "listener:wait",
                                 .cancel = accept_cancel,
                                 .done = wait_done,
                                 .describe = accept_describe};

static int listener_wait(lua_State *L) {
    lilac_handle_check(L, 1, &listener_type, "wait");
    lilac_checkpoint(L);
    return wait_done(L, NULL);
}

/* incoming() → an iterator over connections, until the listener is closed. */
static int listener_incoming(lua_State *L) {
    lilac_handle_check(L, 1, &listener_type, "incoming");
    lua_pushcfunction(L, incoming_next);
    lua_pushvalue(L, 1);
    return 2;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* listener.port and its like; the methods are the upvalue. */
static int listener_index(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    const char *key = luaL_checkstring(L, 2);
    if (!listener || !listener->ops->field(L, listener, key))
        lua_getfield(L, lua_upvalueindex(1), key);
    return 1;
}

static int listener_tostring(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &listener_type);
    char subject[LISTENER_TEXT] = "closed";
    if (listener) listener->ops->subject(listener, subject, sizeof subject);
    lua_pushfstring(L, "Listener (%s): %p", subject, lua_topointer(L, 1));
    return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct listener *listener_new(lua_State *L, const struct listener_ops *ops, size_t limit) {
    struct listener *listener = lilac_handle_new(L, &listener_type);
    listener->ops = ops;
    listener->limit = limit;
    return listener;
}

int listener_open(lua_State *L, struct listener *listener, int fd, int status) {
    listener->fd = fd;
    if (status == 0) status = uv_poll_init(lilac_loop(L), &listener->poll, fd);
    if (status != 0) {
        if (fd >= 0) close(fd);
        return listener_raise(L, listener, "listen", status);
    }
    lilac_handle_opened(&listener->handle, (uv_handle_t *)&listener->poll);
    acceptor_leave(listener);
    return 1;
}

void listener_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {{"accept", listener_accept_one},
                                       {"wait", listener_wait},
                                       {"incoming", listener_incoming},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", listener_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &listener_type, methods, meta);
    luaL_getmetatable(L, listener_type.name);
    if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
        lua_pushcclosure(L, listener_index, 1);
        lua_setfield(L, -2, "__index");
    } else {
        lua_pop(L, 1); /* it is there already */
    }
    lua_pop(L, 1);
}
