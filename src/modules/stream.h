/*
 * Streams: buffered reading and writing with backpressure, the same for every transport. A
 * transport (TCP, pipe, tty, TLS, memory) is a table of operations in plain C; it reports what
 * happens through the stream_ functions below.
 */
#ifndef LILAC_STREAM_H
#define LILAC_STREAM_H

#include "../core/buffer.h"
#include "../core/guess.h"
#include "../core/late.h"
#include "../core/waitq.h"
#include "../lilac.h"
#include "address.h"

struct stream;
struct stream_filter; /* stream_filter.h */
struct lingering;     /* stream_linger.c */

struct stream_ops {
    /* Starts or goes on reading: stream_received() from now on. 0 or a libuv code. */
    int (*start)(struct stream *stream);
    void (*stop)(struct stream *stream);

    /* Reads what is there, at most `size` bytes, after stream_readable(); where is_socket, at
     * any time. The number of bytes, or a libuv code: UV_EAGAIN for none, UV_EOF. Of transports
     * that ask stream_reads_itself(); else NULL. */
    int (*try_read)(struct stream *stream, char *bytes, size_t size);

    /* Sends what can be sent at once. The number of bytes, or a libuv code: UV_EAGAIN for none. */
    int (*try_write)(struct stream *stream, const uv_buf_t *bufs, unsigned count);

    /* Sends all of it; the bytes stay where they are until stream_sent(). One at a time. */
    int (*write)(struct stream *stream, const char *bytes, size_t size);

    /* Ends the sending direction; nothing is being sent. stream_shut() when it is done. */
    int (*shutdown)(struct stream *stream);

    /* The stream was closed and still sends: the transport may bound how long a peer that reads
     * nothing can make it last. May be NULL. */
    void (*linger)(struct stream *stream);

    /* The stream was closed and all is sent. When to end the connection now would reset it, or when
     * it `must`: ends the sending direction, then reads and throws away what comes, and tells it by
     * stream_heard(). False: there is no need, or it cannot be done. May be NULL: there never is.
     */
    bool (*hear_out)(struct stream *stream, bool must);

    /* The stream is about to be freed: frees what the transport owns (`own`). May be NULL. */
    void (*free)(struct stream *stream);

    /* The descriptor, for a child process to have. When it is one of the process's own 0 to 2, both
     * go on with it; else the stream is closed here. A libuv code when there is none. May be NULL:
     * there never is. */
    int (*descriptor)(const struct stream *stream);

    /* Push the address of an end; return the number of values. */
    int (*peername)(lua_State *L, struct stream *stream);
    int (*sockname)(lua_State *L, struct stream *stream);

    /* Pushes pid, uid and gid of the peer; returns 3. Of Unix sockets; else NULL. */
    int (*peercred)(lua_State *L, struct stream *stream);

    /* Writes what errors call the stream: "127.0.0.1:80". */
    void (*subject)(const struct stream *stream, char *text, size_t size);
};

/* What the parked reader waits for. */
struct stream_want {
    enum stream_format {
        WANT_SOME,    /* whatever is there, at most `count` */
        WANT_COUNT,   /* `count` bytes, fewer at the end */
        WANT_EXACTLY, /* `count` bytes */
        WANT_LINE,    /* up to a newline, which is dropped */
        WANT_LINE_KEPT,
        WANT_UNTIL, /* up to the separator, which is kept */
        WANT_ALL    /* up to the end */
    } format;
    size_t count;
    const char *separator; /* static, or in a string on the reader's stack */
    size_t separator_size;
    size_t scanned; /* so many bytes hold no separator */
};

struct stream {
    lilac_handle handle; /* first */
    const struct stream_ops *ops;
    struct stream_filter *filter; /* between the stream and its transport; NULL: none */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
        uv_poll_t poll;
        uv_idle_t idle; /* of transports that libuv has no handle for */
    } uv;
    union { /* connects, then writes, then shuts down: never two at once */
        uv_connect_t connect;
        uv_write_t write;
        uv_shutdown_t shutdown;
    } request;
    union address peer; /* as it was at first, so that it can be named when it is gone */
    void *own;          /* the transport's own */
    bool is_socket;     /* recv and send will do: a shorter way through the system */

    lilac_wait reader; /* or who connects */
    struct stream_want want;
    struct buffer received;
    size_t limit;           /* of a line, in bytes */
    size_t last_read;       /* bytes that were found at once; … */
    bool steady;            /* … as many as the time before */
    bool fed;               /* something has come since the reader was parked last */
    struct guess guess;     /* planned: there may be more soon */
    int read_status;        /* 0; UV_EOF or an error, once what was received has been read */
    bool reading, readable; /* the transport reads on; there is something for try_read */

    struct waitq writers; /* whoever waits for something to be sent */
    struct late cork;     /* planned: `queued` gathers what is to be sent together */
    struct buffer queued; /* waits for that, or for `sending` to be sent */
    struct buffer sending;
    uint64_t accepted, sent; /* bytes, since the beginning */
    size_t held;             /* so many did try_write take, and the filter is still sending */
    int write_status;        /* 0, or the error that ended the sending direction */
    bool ending, ended;      /* shutdown() was asked for; is done */

    struct lingering *lingering; /* NULL, unless it is closed and takes its time */
    bool is_given_away;          /* another process goes on with the descriptor */
};

enum { STREAM_LIMIT = 64 * 1024, STREAM_HIGH_WATER = 64 * 1024 };

extern const lilac_handle_type stream_type;

/* Makes the metatable of streams, unless it is there: for the luaopen_ of each transport. */
void stream_prepare(lua_State *L);

/* Pushes a new stream. A transport over libuv then initialises `uv`, and calls stream_opened(). */
struct stream *stream_new(lua_State *L, const struct stream_ops *ops, size_t limit);
void stream_opened(struct stream *stream);

/* Sends what was gathered to be sent together, if anything; before a wait for stream->sent, and
 * before the end. Plain C. */
void stream_uncork(struct stream *stream);

/* ---- reported by the transport; plain C ------------------------------------------------------ */

/* Bytes have arrived; they are copied. */
void stream_received(struct stream *stream, const char *bytes, size_t size);

/* Whether the reader takes whatever comes: then, where the transport has not read yet, it may say
 * stream_readable() instead of stream_received(), and the reader calls try_read. That saves a copy,
 * and finds the bytes in the cache. */
bool stream_reads_itself(const struct stream *stream);
void stream_readable(struct stream *stream);

/* Nothing more will arrive: UV_EOF, or an error. */
void stream_ended(struct stream *stream, int status);

/* What `write` was given is sent (0), or will never be (an error). */
void stream_sent(struct stream *stream, int status);

/* The sending direction has ended. */
void stream_shut(struct stream *stream, int status);

/* A closed stream that hears its peer out: so many bytes have come, or, as a libuv code, the end.
 */
void stream_heard(struct stream *stream, ssize_t size);

/* A closed stream ends at the latest after so long. Again: that long from now. False: out of
 * memory. */
bool stream_linger_for(struct stream *stream, unsigned ms);

/* ---- operations of transports that are a uv_stream_t: uv_stream.c ---------------------------- */

int stream_uv_start(struct stream *stream);
void stream_uv_stop(struct stream *stream);
int stream_uv_try_read(struct stream *stream, char *bytes, size_t size);
int stream_uv_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count);
int stream_uv_write(struct stream *stream, const char *bytes, size_t size);
int stream_uv_shutdown(struct stream *stream);
bool stream_uv_hear_out(struct stream *stream, bool must);
int stream_uv_descriptor(const struct stream *stream);

#endif
