/*
 * The writing half of a stream. What is written goes to the transport at once; what that does not
 * take is queued, and whoever has written too much waits until it is sent.
 *
 * One thing waits a little: what is written while there is still input to be read. The answers to
 * requests that came together are sent together, in one write in place of hundreds.
 */
#include "../core/list.h"
#include "stream_halves.h"

enum { BUFS = 16, CORK_MAX = 16 * 1024 /* bytes; what is longer gains nothing */ };

/* Their continuations may park again. */
static const lilac_op write_op, flush_op, shutdown_op;

/* ---- writing: the queue ---------------------------------------------------------------------- */

size_t stream_unsent(const struct stream *stream) {
    return (size_t)(stream->accepted - stream->sent);
}

/* Nothing more can be sent: what is queued never will be. */
static void write_fail(struct stream *stream, int status) {
    stream->write_status = status;
    stream->sent = stream->accepted;
    stream->held = 0;
    buffer_free(&stream->queued);
}

static void send_queued(struct stream *stream) {
    buffer_swap(&stream->queued, &stream->sending);
    int status = stream->ops->write(stream, buffer_bytes(&stream->sending), stream->sending.size);
    if (status == 0) return;
    buffer_free(&stream->sending);
    write_fail(stream, status);
}

static void send_end(struct stream *stream) {
    int status = stream->ops->shutdown(stream);
    if (status != 0) filter_shut(stream, status);
}

void filter_sent(struct stream *stream, int status) {
    size_t size = stream->sending.size;
    buffer_drop(&stream->sending, size);
    if (status != 0) {
        write_fail(stream, status);
    } else if (stream->write_status == 0) {
        stream->sent += size + stream->held;
        stream->held = 0;
        if (stream->queued.size > 0) send_queued(stream);
    }
    if (stream->handle.closed) {
        stream_linger_on(stream);
    } else if (stream->ending && stream_unsent(stream) == 0 && stream->write_status == 0) {
        send_end(stream);
    }
    waitq_wake_all(&stream->writers);
}

void filter_shut(struct stream *stream, int status) {
    stream->ended = true;
    stream->write_status = status;
    waitq_wake_all(&stream->writers);
}

void stream_sent(struct stream *stream, int status) {
    if (stream->filter)
        stream->filter->ops->sent(stream, status);
    else
        filter_sent(stream, status);
}

void stream_shut(struct stream *stream, int status) {
    if (stream->filter)
        stream->filter->ops->shut(stream, status);
    else
        filter_shut(stream, status);
}

/* Queues what is left of `bufs` after the first `skipped` bytes. 0, or UV_ENOMEM. */
static int queue_rest(struct stream *stream, const uv_buf_t *bufs, unsigned count, size_t skipped) {
    for (unsigned i = 0; i < count; i++) {
        size_t skip = skipped < bufs[i].len ? skipped : bufs[i].len;
        skipped -= skip;
        if (!buffer_append(&stream->queued, bufs[i].base + skip, bufs[i].len - skip))
            return UV_ENOMEM;
    }
    return 0;
}

/* Gives the transport, which has nothing to send, what it takes at once; returns how much. */
static size_t send_some(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    int done = stream->ops->try_write(stream, bufs, count);
    if (done == UV_EAGAIN) done = 0;
    if (done < 0) {
        write_fail(stream, done);
        return 0;
    }
    stream->sent += (size_t)done - stream->held;
    return (size_t)done;
}

/* What send_some did not take. */
static void send_rest(struct stream *stream) {
    if (stream->write_status == 0 && stream->queued.size > 0 && stream->held == 0)
        send_queued(stream);
}

static void send_gathered(struct stream *stream) {
    uv_buf_t buf = {.base = (char *)buffer_bytes(&stream->queued), .len = stream->queued.size};
    if (buf.len == 0) return; /* it could not be kept */
    buffer_drop(&stream->queued, send_some(stream, &buf, 1));
    send_rest(stream);
}

static void on_late(struct late *cork) {
    send_gathered(container_of(cork, struct stream, cork));
}

void stream_uncork(struct stream *stream) {
    if (late_drop(&stream->cork)) send_gathered(stream);
}

void stream_cork_init(struct stream *stream) {
    late_init(&stream->cork, on_late);
}

/* Sends the buffers, or queues them: behind what waits already, or to gather more. 0, or the error
 * that ended the sending direction. */
static int stream_put(lua_State *L, struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    size_t total = 0, done = 0;
    for (unsigned i = 0; i < count; i++)
        total += bufs[i].len;
    if (total == 0) return 0;
    bool is_busy = stream_unsent(stream) > 0;
    bool corks = !is_busy && stream->received.size > 0 && total <= CORK_MAX;
    if (corks)
        late_plan(L, &stream->cork);
    else if (!is_busy)
        done = send_some(stream, bufs, count);
    if (stream->write_status != 0) return stream->write_status;
    stream->accepted += total;
    if (done == total) return 0;
    /* A gap in what was accepted would be worse than no more bytes at all. */
    if (queue_rest(stream, bufs, count, done) != 0)
        write_fail(stream, UV_ENOMEM);
    else if (!is_busy && !corks)
        send_rest(stream);
    return stream->write_status;
}

/* ---- writing: the writer --------------------------------------------------------------------- */

/* Raises the error that ended the sending direction, if any. */
static void writer_check(lua_State *L, const struct stream *stream, const char *op) {
    if (stream->write_status != 0) stream_raise(L, stream, op, stream->write_status);
}

static int raise_shut_down(lua_State *L, const struct stream *stream) {
    char subject[STREAM_SUBJECT];
    stream->ops->subject(stream, subject, sizeof subject);
    return lilac_throw(L, "InvalidStateError", "write %s: the Stream was shut down", subject);
}

/* Waits at the high-water mark; the data was accepted, and will be sent whether this waits or not.
 */
static int write_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = stream_check(L, "write");
    (void)wait;
    writer_check(L, stream, "write");
    if (stream_unsent(stream) > STREAM_HIGH_WATER)
        return waitq_park(L, &stream->writers, &write_op);
    lua_settop(L, 1);
    return 1;
}

static const lilac_op write_op = {
    .name = "stream:write", .cancel = waitq_cancel, .done = write_done};

/* The strings from 2 on, of which numbers are made too; very many become one. */
static unsigned check_strings(lua_State *L, uv_buf_t bufs[BUFS]) {
    unsigned count = (unsigned)lua_gettop(L) - 1;
    if (count > BUFS) {
        for (int i = 2; i <= lua_gettop(L); i++)
            luaL_checkstring(L, i);
        lua_concat(L, (int)count);
        count = 1;
    }
    for (unsigned i = 0; i < count; i++)
        bufs[i].base = (char *)luaL_checklstring(L, (int)i + 2, &bufs[i].len);
    return count;
}

int stream_write(lua_State *L) {
    struct stream *stream = stream_check(L, "write");
    uv_buf_t bufs[BUFS];
    unsigned count = check_strings(L, bufs);
    lilac_checkpoint(L);
    writer_check(L, stream, "write");
    if (stream->ending) return raise_shut_down(L, stream);
    int status = stream_put(L, stream, bufs, count);
    if (status != 0) return stream_raise(L, stream, "write", status);
    if (stream_unsent(stream) > STREAM_HIGH_WATER) {
        stream_uncork(stream);
        return write_done(L, NULL);
    }
    lua_settop(L, 1);
    return 1;
}

/* [stream, so many bytes have to be sent] */
static int flush_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = stream_check(L, "flush");
    (void)wait;
    writer_check(L, stream, "flush");
    if (stream->sent < (uint64_t)lua_tointeger(L, 2))
        return waitq_park(L, &stream->writers, &flush_op);
    return 0;
}

static const lilac_op flush_op = {
    .name = "stream:flush", .cancel = waitq_cancel, .done = flush_done};

int stream_flush(lua_State *L) {
    struct stream *stream = stream_check(L, "flush");
    lilac_checkpoint(L);
    stream_uncork(stream);
    lua_settop(L, 1);
    lua_pushinteger(L, (lua_Integer)stream->accepted);
    return flush_done(L, NULL);
}

static int shutdown_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = stream_check(L, "shutdown");
    (void)wait;
    writer_check(L, stream, "shutdown");
    if (!stream->ended) return waitq_park(L, &stream->writers, &shutdown_op);
    return 0;
}

static const lilac_op shutdown_op = {
    .name = "stream:shutdown", .cancel = waitq_cancel, .done = shutdown_done};

int stream_shutdown(lua_State *L) {
    struct stream *stream = stream_check(L, "shutdown");
    lilac_checkpoint(L);
    stream_uncork(stream);
    writer_check(L, stream, "shutdown");
    if (!stream->ending) {
        stream->ending = true;
        if (stream_unsent(stream) == 0) send_end(stream);
    }
    lua_settop(L, 1);
    return shutdown_done(L, NULL);
}
