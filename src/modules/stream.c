/*
 * Streams. What arrives is copied into `received` by the transport's callback, which wakes the one
 * reader when that answers it; the reader takes its bytes on its own stack, so a cancelled read
 * loses none. What is written goes to the transport at once; what it does not take is queued, and
 * whoever has written too much waits until it is sent.
 */
#include "stream.h"

#include <string.h>

#include "../core/args.h"
#include "../core/error.h"
#include "../core/list.h"

enum { SUBJECT_SIZE = 128, BUFS = 16 };

/* Their continuations may park again. */
static const lilac_op read_op, write_op, flush_op, shutdown_op;

static struct stream *stream_check(lua_State *L, const char *op) {
    return lilac_handle_check(L, 1, &stream_type, op);
}

/* Raises "read 127.0.0.1:80: connection reset by peer (ECONNRESET)". */
static int stream_raise(lua_State *L, const struct stream *stream, const char *op, int status) {
    char subject[SUBJECT_SIZE];
    stream->ops->subject(stream, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
}

/* ---- reading: what has arrived, and for whom ------------------------------------------------- */

enum answer { ANSWER_NONE, ANSWER_BYTES, ANSWER_TOO_LONG, ANSWER_END };

/* The number of bytes up to the end of the separator, or 0. Looks only at what is new. */
static size_t want_find(struct stream_want *want, const struct buffer *received) {
    const char *bytes = buffer_bytes(received);
    size_t size = want->separator_size;
    if (received->size < size) return 0;
    const char *found =
        memmem(bytes + want->scanned, received->size - want->scanned, want->separator, size);
    if (found) return (size_t)(found - bytes) + size;
    want->scanned = received->size - size + 1;
    return 0;
}

/* How the reader can go on; for ANSWER_BYTES, with the first `size` bytes. */
static enum answer stream_answer(struct stream *stream, struct stream_want *want, size_t *size) {
    size_t there = stream->received.size;
    *size = want->count;
    switch (want->format) {
    case WANT_SOME:
        if (there < *size) *size = there;
        if (there > 0) return ANSWER_BYTES;
        break;
    case WANT_COUNT:
    case WANT_EXACTLY:
        if (there >= want->count) return ANSWER_BYTES;
        break;
    case WANT_LINE:
    case WANT_LINE_KEPT:
    case WANT_UNTIL:
        *size = want_find(want, &stream->received);
        if ((*size > 0 ? *size : there + 1) > stream->limit + want->separator_size)
            return ANSWER_TOO_LONG;
        if (*size > 0) return ANSWER_BYTES;
        break;
    case WANT_ALL: break;
    }
    return stream->read_status != 0 ? ANSWER_END : ANSWER_NONE;
}

/* A reader keeps the loop alive while it waits; a stream that only reads ahead does not, so that a
 * deadlock is seen. */
static void reader_leave(struct stream *stream) {
    if (stream->handle.uv) uv_unref(stream->handle.uv);
}

static void reader_wake(struct stream *stream) {
    if (!lilac_waiting(&stream->reader)) return;
    reader_leave(stream);
    lilac_wake(&stream->reader);
}

static void stream_stop(struct stream *stream) {
    if (stream->reading) stream->ops->stop(stream);
    stream->reading = false;
}

void stream_received(struct stream *stream, const char *bytes, size_t size) {
    if (!buffer_append(&stream->received, bytes, size)) {
        stream_stop(stream);
        stream_ended(stream, UV_ENOMEM);
        return;
    }
    if (lilac_waiting(&stream->reader)) {
        size_t ignored;
        if (stream_answer(stream, &stream->want, &ignored) == ANSWER_NONE) return;
        reader_wake(stream);
    }
    if (stream->received.size > stream->limit) stream_stop(stream);
}

/* read(0) is none of these: it leaves what is there. */
static bool wants_anything(const struct stream_want *want) {
    return want->format == WANT_SOME && want->count > 0;
}

bool stream_reads_itself(const struct stream *stream) {
    return lilac_waiting(&stream->reader) && wants_anything(&stream->want);
}

void stream_readable(struct stream *stream) {
    stream->readable = true;
    reader_wake(stream);
}

void stream_ended(struct stream *stream, int status) {
    stream->read_status = status;
    stream->reading = false;
    reader_wake(stream);
}

/* ---- reading: the reader --------------------------------------------------------------------- */

/* Pushes the first `size` bytes, without the last `dropped`, and takes them out. */
static int push_received(lua_State *L, struct stream *stream, size_t size, size_t dropped) {
    lua_pushlstring(L, size > dropped ? buffer_bytes(&stream->received) : "", size - dropped);
    buffer_drop(&stream->received, size);
    return 1;
}

static int raise_too_long(lua_State *L, const struct stream *stream) {
    char subject[SUBJECT_SIZE];
    stream->ops->subject(stream, subject, sizeof subject);
    const char *limit = lua_pushfstring(L, "%I", (LUAI_UACINT)stream->limit);
    return lilac_throw(L, "LimitOverrunError", "read %s: no separator within the limit of %s bytes",
                       subject, limit);
}

/* The stream ended before the reader's bytes were complete. */
static int raise_incomplete(lua_State *L, struct stream *stream, const struct stream_want *want) {
    char subject[SUBJECT_SIZE];
    stream->ops->subject(stream, subject, sizeof subject);
    LUAI_UACINT there = (LUAI_UACINT)stream->received.size;
    if (want->format == WANT_UNTIL)
        lua_pushfstring(L, "read %s: the stream ended %I bytes after the last separator", subject,
                        there);
    else
        lua_pushfstring(L, "read %s: the stream ended after %I of %I bytes", subject, there,
                        (LUAI_UACINT)want->count);
    error_new(L, "IncompleteReadError");
    push_received(L, stream, stream->received.size, 0);
    error_set_field(L, -2, "partial");
    error_add_traceback(L, -1, 1);
    return lua_error(L);
}

static int read_end(lua_State *L, struct stream *stream, const struct stream_want *want) {
    size_t there = stream->received.size;
    if (stream->read_status != UV_EOF) return stream_raise(L, stream, "read", stream->read_status);
    if (want->format == WANT_EXACTLY || (want->format == WANT_UNTIL && there > 0))
        return raise_incomplete(L, stream, want);
    if (there > 0 || want->format == WANT_ALL) return push_received(L, stream, there, 0);
    lua_pushnil(L);
    return 1;
}

/* What the reader wants, from its stack: [stream, count or separator, format]. */
static struct stream_want want_at_stack(lua_State *L) {
    struct stream_want want = {.format = (enum stream_format)lua_tointeger(L, 3)};
    switch (want.format) {
    case WANT_SOME:
    case WANT_COUNT:
    case WANT_EXACTLY: want.count = (size_t)lua_tointeger(L, 2); break;
    case WANT_LINE:
    case WANT_LINE_KEPT:
        want.separator = "\n";
        want.separator_size = 1;
        break;
    case WANT_UNTIL: want.separator = lua_tolstring(L, 2, &want.separator_size); break;
    case WANT_ALL: break;
    }
    return want;
}

static bool read_cancel(lilac_wait *wait) {
    reader_leave(container_of(wait, struct stream, reader));
    return true;
}

static void read_describe(lilac_wait *wait, char *text, size_t size) {
    struct stream *stream = container_of(wait, struct stream, reader);
    stream->ops->subject(stream, text, size);
}

/* Pushes what the transport has, past `received`. False, and nothing, when there is nothing. */
static bool read_directly(lua_State *L, struct stream *stream, size_t max) {
    const char *bytes;
    stream->readable = false;
    int size = stream->ops->try_read(stream, &bytes, max);
    if (size > 0) {
        lua_pushlstring(L, bytes, (size_t)size);
        return true;
    }
    if (size != UV_EAGAIN) {
        stream_stop(stream);
        stream_ended(stream, size);
    }
    return false;
}

static void refuse_second_reader(lua_State *L, const struct stream *stream) {
    char what[SUBJECT_SIZE] = "read ";
    stream->ops->subject(stream, what + 5, sizeof what - 5);
    lilac_refuse_second(L, &stream->reader, what);
}

/* Answers the reader or parks it. */
static int read_answer(lua_State *L, struct stream *stream) {
    struct stream_want want = want_at_stack(L);
    size_t size;
    if (lilac_waiting(&stream->reader)) refuse_second_reader(L, stream);
    if (stream->readable && wants_anything(&want) && stream->received.size == 0 &&
        read_directly(L, stream, want.count))
        return 1;
    switch (stream_answer(stream, &want, &size)) {
    case ANSWER_BYTES: return push_received(L, stream, size, want.format == WANT_LINE);
    case ANSWER_TOO_LONG: return raise_too_long(L, stream);
    case ANSWER_END: return read_end(L, stream, &want);
    case ANSWER_NONE: break;
    }
    if (!stream->reading) {
        int status = stream->ops->start(stream);
        if (status != 0) return stream_raise(L, stream, "read", status);
        stream->reading = true;
    }
    stream->want = want;
    if (stream->handle.uv) uv_ref(stream->handle.uv);
    return lilac_park(L, &stream->reader, &read_op);
}

/* Begins anew: another task may have read, or closed the stream, between the wake and now. */
static int read_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    return read_answer(L, stream_check(L, "read"));
}

static const lilac_op read_op = {
    .name = "stream:read", .cancel = read_cancel, .done = read_done, .describe = read_describe};

/* All reads come here with what they want at 2. */
static int read_begin(lua_State *L, struct stream *stream, enum stream_format format) {
    lilac_checkpoint(L);
    lua_settop(L, 2);
    lua_pushinteger(L, format);
    return read_answer(L, stream);
}

/* The format argument at 2, as io has it; the default is "l". */
static enum stream_format check_format(lua_State *L) {
    luaL_argcheck(L, lua_isnoneornil(L, 3), 3, "one format at a time");
    if (lua_type(L, 2) == LUA_TNUMBER) {
        /* As in io, 0 asks whether anything is left. */
        return args_integer(L, 2, "number of bytes", 0, LUA_MAXINTEGER) > 0 ? WANT_COUNT
                                                                            : WANT_SOME;
    }
    const char *format = luaL_optstring(L, 2, "l");
    if (*format == '*') format++; /* the formats of Lua 5.1 */
    switch (*format) {
    case 'l': return WANT_LINE;
    case 'L': return WANT_LINE_KEPT;
    case 'a': return WANT_ALL;
    case 'n':
        luaL_argerror(L, 2, "a Stream does not read numbers: read a line, and use tonumber");
        break;
    default: luaL_argerror(L, 2, "invalid format");
    }
    return WANT_LINE;
}

static int stream_read(lua_State *L) {
    struct stream *stream = stream_check(L, "read");
    return read_begin(L, stream, check_format(L));
}

static int stream_read_some(lua_State *L) {
    struct stream *stream = stream_check(L, "read_some");
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_pushinteger(L, LUA_MAXINTEGER);
    } else {
        args_integer(L, 2, "number of bytes", 1, LUA_MAXINTEGER);
    }
    return read_begin(L, stream, WANT_SOME);
}

static int stream_read_exactly(lua_State *L) {
    struct stream *stream = stream_check(L, "read_exactly");
    args_integer(L, 2, "number of bytes", 0, LUA_MAXINTEGER);
    return read_begin(L, stream, WANT_EXACTLY);
}

static int stream_read_until(lua_State *L) {
    struct stream *stream = stream_check(L, "read_until");
    luaL_argcheck(L, *luaL_checkstring(L, 2) || lua_rawlen(L, 2) > 0, 2,
                  "separator expected, got an empty string");
    return read_begin(L, stream, WANT_UNTIL);
}

static int lines_next(lua_State *L) {
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    return stream_read(L);
}

static int stream_lines(lua_State *L) {
    stream_check(L, "lines");
    check_format(L);
    lua_settop(L, 2);
    lua_pushcclosure(L, lines_next, 2);
    return 1;
}

/* ---- writing: the queue ---------------------------------------------------------------------- */

static size_t stream_unsent(const struct stream *stream) {
    return (size_t)(stream->accepted - stream->sent);
}

/* Nothing more can be sent: what is queued never will be. */
static void write_fail(struct stream *stream, int status) {
    stream->write_status = status;
    stream->sent = stream->accepted;
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
    if (status != 0) stream_shut(stream, status);
}

void stream_sent(struct stream *stream, int status) {
    size_t size = stream->sending.size;
    buffer_drop(&stream->sending, size);
    if (status != 0) {
        write_fail(stream, status);
    } else if (stream->write_status == 0) {
        stream->sent += size;
        if (stream->queued.size > 0) send_queued(stream);
    }
    if (stream_unsent(stream) == 0) {
        if (stream->handle.closed)
            lilac_handle_finish(&stream->handle);
        else if (stream->ending && stream->write_status == 0)
            send_end(stream);
    }
    waitq_wake_all(&stream->writers);
}

void stream_shut(struct stream *stream, int status) {
    stream->ended = true;
    stream->write_status = status;
    waitq_wake_all(&stream->writers);
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

/* Sends the buffers, or queues them behind what waits already. 0, or the error that ended the
 * sending direction. */
static int stream_put(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    bool is_busy = stream_unsent(stream) > 0;
    size_t total = 0, done = 0;
    for (unsigned i = 0; i < count; i++)
        total += bufs[i].len;
    if (total == 0) return 0;
    if (!is_busy) {
        int status = stream->ops->try_write(stream, bufs, count);
        if (status < 0 && status != UV_EAGAIN) {
            write_fail(stream, status);
            return status;
        }
        if (status > 0) done = (size_t)status;
    }
    stream->accepted += total;
    stream->sent += done;
    if (done == total) return 0;
    /* A gap in what was accepted would be worse than no more bytes at all. */
    if (queue_rest(stream, bufs, count, done) != 0)
        write_fail(stream, UV_ENOMEM);
    else if (!is_busy)
        send_queued(stream);
    return stream->write_status;
}

/* ---- writing: the writer --------------------------------------------------------------------- */

/* Raises the error that ended the sending direction, if any. */
static void writer_check(lua_State *L, const struct stream *stream, const char *op) {
    if (stream->write_status != 0) stream_raise(L, stream, op, stream->write_status);
}

static int raise_shut_down(lua_State *L, const struct stream *stream) {
    char subject[SUBJECT_SIZE];
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

static int stream_write(lua_State *L) {
    struct stream *stream = stream_check(L, "write");
    int last = lua_gettop(L);
    for (int i = 2; i <= last; i++)
        luaL_checkstring(L, i); /* makes strings of numbers, before anything is sent */
    lilac_checkpoint(L);
    writer_check(L, stream, "write");
    if (stream->ending) return raise_shut_down(L, stream);
    for (int next = 2; next <= last;) {
        uv_buf_t bufs[BUFS];
        unsigned count = 0;
        for (; next <= last && count < BUFS; next++, count++)
            bufs[count].base = (char *)lua_tolstring(L, next, &bufs[count].len);
        int status = stream_put(stream, bufs, count);
        if (status != 0) return stream_raise(L, stream, "write", status);
    }
    if (stream_unsent(stream) > STREAM_HIGH_WATER) return write_done(L, NULL);
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

static int stream_flush(lua_State *L) {
    struct stream *stream = stream_check(L, "flush");
    lilac_checkpoint(L);
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

static int stream_shutdown(lua_State *L) {
    struct stream *stream = stream_check(L, "shutdown");
    lilac_checkpoint(L);
    writer_check(L, stream, "shutdown");
    if (!stream->ending) {
        stream->ending = true;
        if (stream_unsent(stream) == 0) send_end(stream);
    }
    lua_settop(L, 1);
    return shutdown_done(L, NULL);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int stream_peername(lua_State *L) {
    struct stream *stream = stream_check(L, "peername");
    return stream->ops->peername(L, stream);
}

static int stream_sockname(lua_State *L) {
    struct stream *stream = stream_check(L, "sockname");
    return stream->ops->sockname(L, stream);
}

static int stream_peercred(lua_State *L) {
    struct stream *stream = stream_check(L, "peercred");
    if (!stream->ops->peercred) return stream_raise(L, stream, "peercred", UV_ENOTSUP);
    return stream->ops->peercred(L, stream);
}

static int stream_tostring(lua_State *L) {
    struct stream *stream = lilac_handle_test(L, 1, &stream_type);
    char subject[SUBJECT_SIZE] = "closed";
    if (stream) stream->ops->subject(stream, subject, sizeof subject);
    lua_pushfstring(L, "Stream (%s): %p", subject, lua_topointer(L, 1));
    return 1;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stream_on_close(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    stream_stop(stream);
    reader_wake(stream);
    waitq_wake_all(&stream->writers);
}

/* What write() accepted is still sent. */
static bool stream_lingers(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    if (stream_unsent(stream) == 0) return false;
    if (stream->ops->linger) stream->ops->linger(stream);
    return true;
}

static void stream_on_free(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    if (stream->ops->free) stream->ops->free(stream);
    buffer_free(&stream->received);
    buffer_free(&stream->queued);
    buffer_free(&stream->sending);
}

const lilac_handle_type stream_type = {.name = "lilac.Stream",
                                       .size = sizeof(struct stream),
                                       .on_close = stream_on_close,
                                       .on_free = stream_on_free,
                                       .lingers = stream_lingers};

void stream_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {{"read", stream_read},
                                       {"read_some", stream_read_some},
                                       {"read_exactly", stream_read_exactly},
                                       {"read_until", stream_read_until},
                                       {"lines", stream_lines},
                                       {"write", stream_write},
                                       {"flush", stream_flush},
                                       {"shutdown", stream_shutdown},
                                       {"peername", stream_peername},
                                       {"sockname", stream_sockname},
                                       {"peercred", stream_peercred},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", stream_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &stream_type, methods, meta);
}

struct stream *stream_new(lua_State *L, const struct stream_ops *ops, size_t limit) {
    struct stream *stream = lilac_handle_new(L, &stream_type);
    stream->ops = ops;
    stream->limit = limit;
    waitq_init(&stream->writers);
    return stream;
}

void stream_opened(struct stream *stream) {
    lilac_handle_opened(&stream->handle, &stream->uv.handle);
    uv_unref(&stream->uv.handle); /* see reader_leave */
}
