/*
 * Filters: what stands between a stream and its transport, and changes the bytes (TLS). A filter
 * takes the place of the transport's operations, drives the transport through `below`, and gets
 * what the transport reports; what the stream is to know, it reports with the functions below. So
 * every transport can have one, and a stream gets its filter while it is open.
 */
#ifndef LILAC_STREAM_FILTER_H
#define LILAC_STREAM_FILTER_H

#include <limits.h>

#include "stream.h"

/* A status beside those of libuv: ask `raise`. */
enum { FILTER_FAILED = INT_MIN };

struct stream_filter_ops {
    /* Reports of the transport, as in stream.h. Plain C. */
    void (*received)(struct stream *stream, const char *bytes, size_t size);
    void (*ended)(struct stream *stream, int status);
    void (*sent)(struct stream *stream, int status);
    void (*shut)(struct stream *stream, int status);

    /* The stream was closed, and all that it accepted is sent: what the peer has to be told. True
     * when that takes time; stream_linger_on() when it is done. Plain C. */
    bool (*farewell)(struct stream *stream);

    /* Raises "<op> <subject>: …": why the status is FILTER_FAILED. */
    int (*raise)(lua_State *L, const struct stream *stream, const char *op);

    /* Pushes a table of what there is to tell. */
    int (*info)(lua_State *L, const struct stream *stream);
};

/* The first member of a filter's own struct, which its stream_ops free. */
struct stream_filter {
    const struct stream_filter_ops *ops;
    const struct stream_ops *below;
};

/* Puts the filter in, with the stream's new operations. Nothing may be unsent, and nobody reading.
 * What was received and not read stays where it is: the filter takes it. */
void filter_insert(struct stream *stream, struct stream_filter *filter,
                   const struct stream_ops *ops);

/* Parks the running task as the stream's reader; `op` has stream_leave() in its cancel hook, and
 * stream_wake_reader() makes the task ready. */
int stream_park_reader(lua_State *L, struct stream *stream, const lilac_op *op);
void stream_leave(struct stream *stream);
void stream_wake_reader(struct stream *stream);

/* Starts reading, unless the stream reads. 0 or a libuv code. */
int stream_start(struct stream *stream);

/* Stops reading, if the stream reads. */
void stream_stop(struct stream *stream);

/* A closed stream goes on with what is left to do, or ends. */
void stream_linger_on(struct stream *stream);

/* How many bytes were accepted and are not sent yet; 0: `writers` were woken. */
size_t stream_unsent(const struct stream *stream);

/* ---- reported by the filter; plain C --------------------------------------------------------- */

/* It has put bytes into `received`. */
void filter_received(struct stream *stream);

/* As the stream_ functions of the same names. */
void filter_ended(struct stream *stream, int status);
void filter_sent(struct stream *stream, int status);
void filter_shut(struct stream *stream, int status);

#endif
