/*
 * Listeners: sockets that wait for connections, TCP or Unix, which one task accepts one at a time.
 */
#ifndef LILAC_LISTENER_H
#define LILAC_LISTENER_H

#include <sys/un.h>

#include "address.h"
#include "stream.h"

struct listener;

enum { LISTENER_BACKLOG = 1024, LISTENER_TEXT = 128 };

struct listener_ops {
    /* Pushes a stream for the next connection. */
    struct stream *(*stream)(lua_State *L, const struct listener *listener);

    /* Makes that stream the connection `fd`, from `peer`, which is cut off to what a TCP address
     * needs. 0, or a libuv code; then the descriptor is still the caller's. Plain C. */
    int (*open)(uv_loop_t *loop, struct stream *stream, int fd, const union address *peer);

    /* Pushes the field of that name; false, and nothing, when there is none. */
    bool (*field)(lua_State *L, const struct listener *listener, const char *name);

    /* Writes what errors call the listener, in at most LISTENER_TEXT bytes. */
    void (*subject)(const struct listener *listener, char *text, size_t size);

    /* The listener is about to close its socket. Plain C. May be NULL. */
    void (*closing)(struct listener *listener);
};

struct listener {
    lilac_handle handle; /* first */
    const struct listener_ops *ops;
    uv_poll_t poll;
    int fd;
    int in_a_row; /* connections accepted without waiting */
    size_t limit; /* of the streams */
    lilac_wait acceptor;
    union {
        union address internet;
        struct unix_address {
            struct sockaddr_un un;
            socklen_t size;
            dev_t device; /* of the file that was made for it; 0: none was */
            ino_t inode;
        } local;
    } address;
};

/* Makes the metatable of listeners, unless it is there: for the luaopen_ of each kind. */
void listener_prepare(lua_State *L);

/* Pushes a listener without a socket. */
struct listener *listener_new(lua_State *L, const struct listener_ops *ops, size_t limit);

/* Begins to listen with the socket `fd` (-1: none), which is the listener's from here on; or, when
 * `status` is an error, closes it and raises "listen 127.0.0.1:80: …". Leaves the listener, which
 * is on top of the stack; returns 1. */
int listener_open(lua_State *L, struct listener *listener, int fd, int status);

#endif
