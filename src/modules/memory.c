/*
 * Pairs in memory. They behave as a connection of the system does, which holds some bytes that are
 * on their way, and turn with the loop as one: an idle handle, which is active only while there is
 * something to pass on, brings it to the end that reads. So a pair at rest keeps nothing awake, and
 * a deadlock is seen.
 */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

#include "../core/list.h"

enum { WAY_SIZE = 64 * 1024 };

/* One end: what it sends, and how it stands. */
struct end {
    struct stream *stream; /* NULL: it is gone */
    struct end *other;
    struct buffer way; /* on the way to the other end, at most WAY_SIZE bytes */
    const char *bytes; /* behind it: what the stream is told of when it is on the way too */
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
    return container_of(end < end->other ? end : end->other, struct pair, ends[0]);
}

static bool is_closed(const struct end *end) {
    return !end->stream || end->stream->handle.closed;
}

/* ---- passing on ------------------------------------------------------------------------------ */

/* Puts as many bytes on the way as there is room for. Their number, or a libuv code. */
static int put_on_way(struct end *end, const char *bytes, size_t size) {
    size_t room = WAY_SIZE - end->way.size;
    if (room == 0) return UV_EAGAIN;
    if (size > room) size = room;
    return buffer_append(&end->way, bytes, size) ? (int)size : UV_ENOMEM;
}

/* Whether `pass` has anything to do. */
static bool has_news(const struct end *end) {
    if (is_closed(end->other)) return end->size > 0;
    if (end->size > 0 && end->way.size < WAY_SIZE) return true;
    return end->other->reads && (end->way.size > 0 || (end->ends && !end->ended));
}

static void pass_pending(struct end *end) {
    int done = is_closed(end->other) ? UV_EPIPE : put_on_way(end, end->bytes, end->size);
    if (done == UV_EAGAIN) return;
    if (done > 0) {
        end->bytes += done;
        end->size -= (size_t)done;
        if (end->size > 0) return;
    }
    end->size = 0;
    stream_sent(end->stream, done < 0 ? done : 0);
}

static void pass(struct end *end) {
    struct end *to = end->other;
    if (end->size > 0) pass_pending(end);
    if (is_closed(to) || !to->reads) return;
    if (end->way.size > 0) {
        stream_received(to->stream, buffer_bytes(&end->way), end->way.size);
        buffer_drop(&end->way, end->way.size);
    } else if (end->ends && !end->ended) {
        end->ended = true;
        stream_ended(to->stream, UV_EOF);
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
    struct end *end = end_of(stream);
    int total = 0;
    if (is_closed(end->other)) return UV_EPIPE;
    pair_rouse(end);
    for (unsigned i = 0; i < count; i++) {
        int done = put_on_way(end, bufs[i].base, bufs[i].len);
        if (done < 0) return total > 0 ? total : done;
        total += done;
    }
    return total;
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
    stream_shut(stream, 0);
    return 0;
}

/* Its peer hears now that it reads no more; what it still sends has time. */
static void memory_linger(struct stream *stream) {
    pair_rouse(end_of(stream));
}

static void on_pair_closed(uv_handle_t *idle) {
    struct pair *pair = container_of((uv_idle_t *)idle, struct pair, idle);
    buffer_free(&pair->ends[0].way);
    buffer_free(&pair->ends[1].way);
    free(pair);
}

/* What is on the way still arrives. */
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
