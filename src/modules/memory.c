/*
 * Pairs in memory. They behave as a connection of the system does, and turn with the loop as one: a
 * write leaves its bytes, and an idle handle, which is active only while there is something to pass
 * on, brings them to the other end. So a pair at rest keeps nothing awake, and a deadlock is seen.
 */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

#include "../core/list.h"

enum { PIECE_SIZE = 64 * 1024 }; /* per turn: then the other end may stop reading */

/* One end: what it sends, and how it stands. */
struct end {
    struct stream *stream; /* NULL: it is gone */
    struct end *other;
    const char *bytes; /* to be sent */
    size_t size;
    bool reads, ends, ended; /* wants bytes; sends no more; the other end knows */
};

struct pair {
    uv_idle_t idle;
    struct end ends[2];
};

static struct end *end_of(const struct stream *stream) {
    return stream->own;
}

static struct pair *pair_of(struct end *end) {
    return end < end->other ? container_of(end, struct pair, ends[0])
                            : container_of(end->other, struct pair, ends[0]);
}

static bool is_closed(const struct end *end) {
    return !end->stream || end->stream->handle.closed;
}

/* ---- passing on ------------------------------------------------------------------------------ */

/* Up to its limit a stream takes what it did not ask for, as the buffers of the system do. */
static bool is_hungry(const struct end *end) {
    return end->reads || end->stream->received.size <= end->stream->limit;
}

/* Whether anything can go from this end to the other one now. */
static bool has_news(const struct end *end) {
    if (end->size > 0) return is_closed(end->other) || is_hungry(end->other);
    return end->ends && !end->ended;
}

static void pass_bytes(struct end *end) {
    struct end *to = end->other;
    size_t size = end->size < PIECE_SIZE ? end->size : PIECE_SIZE;
    const char *bytes = end->bytes;
    end->bytes += size;
    end->size -= size;
    stream_received(to->stream, bytes, size);
    if (end->size == 0) stream_sent(end->stream, 0);
}

static void pass_end(struct end *end) {
    end->ended = true;
    if (!is_closed(end->other)) stream_ended(end->other->stream, UV_EOF);
    if (end->stream) stream_shut(end->stream, 0);
}

static void pass(struct end *end) {
    if (!has_news(end)) return;
    if (end->size == 0) {
        pass_end(end);
    } else if (is_closed(end->other)) {
        end->size = 0;
        stream_sent(end->stream, UV_EPIPE);
    } else {
        pass_bytes(end);
    }
}

static void on_idle(uv_idle_t *idle) {
    struct pair *pair = container_of(idle, struct pair, idle);
    pass(&pair->ends[0]);
    pass(&pair->ends[1]);
    if (!has_news(&pair->ends[0]) && !has_news(&pair->ends[1])) uv_idle_stop(idle);
}

static void pair_rouse(struct end *end) {
    uv_idle_start(&pair_of(end)->idle, on_idle);
}

/* ---- the transport --------------------------------------------------------------------------- */

static int memory_start(struct stream *stream) {
    end_of(stream)->reads = true;
    pair_rouse(end_of(stream));
    return 0;
}

static void memory_stop(struct stream *stream) {
    end_of(stream)->reads = false;
}

static int memory_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    (void)bufs, (void)count;
    return is_closed(end_of(stream)->other) ? UV_EPIPE : UV_EAGAIN;
}

static int memory_write(struct stream *stream, const char *bytes, size_t size) {
    struct end *end = end_of(stream);
    end->bytes = bytes;
    end->size = size;
    pair_rouse(end);
    return 0;
}

static int memory_shutdown(struct stream *stream) {
    end_of(stream)->ends = true;
    pair_rouse(end_of(stream));
    return 0;
}

/* The other end hears now that this one reads no more, and the end when it has read the rest. */
static void memory_linger(struct stream *stream) {
    pair_rouse(end_of(stream));
}

static void on_pair_closed(uv_handle_t *idle) {
    free(container_of((uv_idle_t *)idle, struct pair, idle));
}

static void memory_free(struct stream *stream) {
    struct end *end = end_of(stream);
    if (!end) return;
    end->stream = NULL;
    end->ends = true;
    end->size = 0;
    if (end->other->stream)
        pair_rouse(end);
    else
        uv_close((uv_handle_t *)&pair_of(end)->idle, on_pair_closed);
}

static int memory_name(lua_State *L, struct stream *stream) {
    (void)stream;
    lua_pushliteral(L, "");
    return 1;
}

static void memory_subject(const struct stream *stream, char *text, size_t size) {
    (void)stream;
    snprintf(text, size, "memory stream");
}

static const struct stream_ops memory_ops = {.start = memory_start,
                                             .stop = memory_stop,
                                             .try_write = memory_try_write,
                                             .write = memory_write,
                                             .shutdown = memory_shutdown,
                                             .linger = memory_linger,
                                             .free = memory_free,
                                             .peername = memory_name,
                                             .sockname = memory_name,
                                             .subject = memory_subject};

/* ---- pairs ----------------------------------------------------------------------------------- */

void memory_pair(lua_State *L, size_t limit) {
    uv_loop_t *loop = lilac_loop(L);
    struct stream *streams[] = {stream_new(L, &memory_ops, limit),
                                stream_new(L, &memory_ops, limit)};
    struct pair *pair = calloc(1, sizeof *pair);
    if (!pair) luaL_error(L, "stream_pair: not enough memory");
    uv_idle_init(loop, &pair->idle);
    for (int i = 0; i < 2; i++) {
        streams[i]->own = &pair->ends[i];
        pair->ends[i].stream = streams[i];
        pair->ends[i].other = &pair->ends[1 - i];
        uv_idle_init(loop, &streams[i]->uv.idle); /* never started: libuv frees the stream by it */
        stream_opened(streams[i]);
    }
}
