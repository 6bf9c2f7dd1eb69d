/*
 * The reading half of a stream. What arrives is copied into `received` by the transport's callback,
 * or a guess, which wakes the one reader when that answers it; the reader takes its bytes on its
 * own stack, so a cancelled read loses none.
 */
#include <string.h>

#include "../core/args.h"
#include "../core/error.h"
#include "../core/list.h"
#include "../core/room.h"
#include "../core/scratch.h"
#include "stream_halves.h"

enum { FORMAT_BITS = 3, FORMAT_MASK = 7 };

enum { IN_PLACE = 4096 }; /* bytes; a copy of fewer costs less than room for them */

/* No stream has so many bytes: a larger count is as good. */
#define MOST_AT_ONCE (LUA_MAXINTEGER >> FORMAT_BITS)

/* Its continuation may park again. */
static const lilac_op read_op;

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
void stream_leave(struct stream *stream) {
    guess_drop(&stream->guess);
    if (stream->handle.uv) uv_unref(stream->handle.uv);
}

void stream_wake_reader(struct stream *stream) {
    if (!lilac_waiting(&stream->reader)) return;
    stream_leave(stream);
    lilac_wake(&stream->reader);
}

int stream_park_reader(lua_State *L, struct stream *stream, const lilac_op *op) {
    if (stream->handle.uv) uv_ref(stream->handle.uv);
    /* Larger ones are read without a copy, by the reader, which is not woken for a guess alone. */
    if (stream->fed && stream->is_socket && stream->last_read < IN_PLACE)
        guess_plan(L, &stream->guess);
    stream->fed = false;
    return lilac_park(L, &stream->reader, op);
}

int stream_start(struct stream *stream) {
    int status = stream->reading ? 0 : stream->ops->start(stream);
    if (status == 0) stream->reading = true;
    return status;
}

void stream_stop(struct stream *stream) {
    if (stream->reading) stream->ops->stop(stream);
    stream->reading = false;
}

void filter_received(struct stream *stream) {
    if (lilac_waiting(&stream->reader)) {
        size_t ignored;
        if (stream_answer(stream, &stream->want, &ignored) == ANSWER_NONE) return;
        stream_wake_reader(stream);
    }
    if (stream->received.size > stream->limit) stream_stop(stream);
}

void filter_ended(struct stream *stream, int status) {
    stream->read_status = status;
    stream->reading = false;
    stream_wake_reader(stream);
}

void stream_received(struct stream *stream, const char *bytes, size_t size) {
    stream->fed = true;
    if (stream->filter) {
        stream->filter->ops->received(stream, bytes, size);
    } else if (buffer_append(&stream->received, bytes, size)) {
        filter_received(stream);
    } else {
        stream_stop(stream);
        filter_ended(stream, UV_ENOMEM);
    }
}

void stream_ended(struct stream *stream, int status) {
    stream->reading = false;
    if (stream->filter)
        stream->filter->ops->ended(stream, status);
    else
        filter_ended(stream, status);
}

/* read(0) is none of these: it leaves what is there. */
static bool wants_anything(const struct stream_want *want) {
    return want->format == WANT_SOME && want->count > 0;
}

bool stream_reads_itself(const struct stream *stream) {
    return lilac_waiting(&stream->reader) && wants_anything(&stream->want) && !stream->filter;
}

void stream_readable(struct stream *stream) {
    stream->readable = true;
    stream_wake_reader(stream);
}

static void note_read(struct stream *stream, int size) {
    stream->steady = (size_t)size == stream->last_read;
    stream->last_read = (size_t)size;
    stream->fed = true;
}

static void end_reading(struct stream *stream, int status) {
    stream_stop(stream);
    stream_ended(stream, status);
}

/* A client that was answered has mostly asked again before the system is asked who has. */
static bool on_guess(struct guess *guess) {
    struct stream *stream = container_of(guess, struct stream, guess);
    const struct stream_ops *transport = stream->filter ? stream->filter->below : stream->ops;
    int size = stream->reading ? transport->try_read(stream, scratch->inbox, INBOX) : UV_EAGAIN;
    if (size > 0) {
        note_read(stream, size);
        stream_received(stream, scratch->inbox, (size_t)size);
    } else if (size != UV_EAGAIN) {
        end_reading(stream, size);
    }
    return size != UV_EAGAIN;
}

void stream_guess_init(struct stream *stream) {
    guess_init(&stream->guess, on_guess);
}

/* ---- reading: the reader --------------------------------------------------------------------- */

/* Pushes the first `size` bytes, without the last `dropped`, and takes them out. */
static int push_received(lua_State *L, struct stream *stream, size_t size, size_t dropped) {
    lua_pushlstring(L, size > dropped ? buffer_bytes(&stream->received) : "", size - dropped);
    buffer_drop(&stream->received, size);
    return 1;
}

static int raise_too_long(lua_State *L, const struct stream *stream) {
    char subject[STREAM_SUBJECT];
    stream->ops->subject(stream, subject, sizeof subject);
    const char *limit = lua_pushfstring(L, "%I", (LUAI_UACINT)stream->limit);
    return lilac_throw(L, "LimitOverrunError", "read %s: no separator within the limit of %s bytes",
                       subject, limit);
}

/* The stream ended before the reader's bytes were complete. */
static int raise_incomplete(lua_State *L, struct stream *stream, const struct stream_want *want) {
    char subject[STREAM_SUBJECT];
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

/* The separator, if the reader brings one, is at 2. */
static void want_set(lua_State *L, struct stream_want *want, enum stream_format format,
                     size_t count) {
    *want = (struct stream_want){.format = format, .count = count};
    if (format == WANT_LINE || format == WANT_LINE_KEPT) {
        want->separator = "\n";
        want->separator_size = 1;
    } else if (format == WANT_UNTIL) {
        want->separator = lua_tolstring(L, 2, &want->separator_size);
    }
}

static bool read_cancel(lilac_wait *wait) {
    stream_leave(container_of(wait, struct stream, reader));
    return true;
}

static void read_describe(lilac_wait *wait, char *text, size_t size) {
    struct stream *stream = container_of(wait, struct stream, reader);
    stream->ops->subject(stream, text, size);
}

/* Room for as much as was found each of the last times. A byte more, so that no read ends there
 * with more to come. NULL: read into the inbox. */
static char *expected_room(lua_State *L, const struct stream *stream, size_t *size) {
    if (!stream->steady || stream->last_read < IN_PLACE || *size < IN_PLACE) return NULL;
    if (stream->last_read < *size) *size = stream->last_read + 1;
    return room_for(L, *size);
}

/* Pushes what the transport has, past `received`. False, and nothing, when there is nothing. */
static bool read_directly(lua_State *L, struct stream *stream, size_t max) {
    size_t size = max < INBOX ? max : INBOX;
    char *room = expected_room(L, stream, &size);
    stream->readable = false;
    int got = stream->ops->try_read(stream, room ? room : scratch->inbox, size);
    if (got > 0) {
        note_read(stream, got);
        if (room)
            room_push(L, (size_t)got);
        else
            lua_pushlstring(L, scratch->inbox, (size_t)got);
        return true;
    }
    if (got != UV_EAGAIN) end_reading(stream, got);
    return false;
}

static void refuse_second_reader(lua_State *L, const struct stream *stream) {
    char what[STREAM_SUBJECT] = "read ";
    stream->ops->subject(stream, what + 5, sizeof what - 5);
    lilac_refuse_second(L, &stream->reader, what);
}

/* Answers the reader or parks it. */
static int read_answer(lua_State *L, struct stream *stream, enum stream_format format,
                       size_t count) {
    struct stream_want *want = &stream->want;
    size_t size;
    if (lilac_waiting(&stream->reader)) refuse_second_reader(L, stream);
    want_set(L, want, format, count);
    if (stream->readable && wants_anything(want) && stream->received.size == 0 &&
        read_directly(L, stream, count))
        return 1;
    switch (stream_answer(stream, want, &size)) {
    case ANSWER_BYTES: return push_received(L, stream, size, format == WANT_LINE);
    case ANSWER_TOO_LONG: return raise_too_long(L, stream);
    case ANSWER_END: return read_end(L, stream, want);
    case ANSWER_NONE: break;
    }
    stream_uncork(stream);
    int status = stream_start(stream);
    if (status != 0) return stream_raise(L, stream, "read", status);
    return stream_park_reader(L, stream, &read_op);
}

/* Begins anew, with what the reader has kept on top of its stack: another task may have read, or
 * closed the stream, between the wake and now. */
static int read_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct stream *stream = stream_check(L, "read");
    lua_Unsigned both = (lua_Unsigned)lua_tointeger(L, -1);
    return read_answer(L, stream, (enum stream_format)(both & FORMAT_MASK),
                       (size_t)(both >> FORMAT_BITS));
}

static const lilac_op read_op = {
    .name = "stream:read", .cancel = read_cancel, .done = read_done, .describe = read_describe};

/* All reads come here, with a separator at 2 for WANT_UNTIL. */
static int read_begin(lua_State *L, struct stream *stream, enum stream_format format,
                      lua_Integer count) {
    lilac_checkpoint(L);
    if (count > MOST_AT_ONCE) count = MOST_AT_ONCE;
    lua_pushinteger(L, count << FORMAT_BITS | (lua_Integer)format);
    return read_answer(L, stream, format, (size_t)count);
}

/* The format argument at 2, as io has it; the default is "l". */
static enum stream_format check_format(lua_State *L, lua_Integer *count) {
    luaL_argcheck(L, lua_isnoneornil(L, 3), 3, "one format at a time");
    *count = 0;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        *count = args_integer(L, 2, "number of bytes", 0, LUA_MAXINTEGER);
        return *count > 0 ? WANT_COUNT : WANT_SOME; /* as in io, 0 asks whether anything is left */
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

int stream_read(lua_State *L) {
    struct stream *stream = stream_check(L, "read");
    lua_Integer count;
    enum stream_format format = check_format(L, &count);
    return read_begin(L, stream, format, count);
}

int stream_read_some(lua_State *L) {
    struct stream *stream = stream_check(L, "read_some");
    lua_Integer count = lua_isnoneornil(L, 2)
                            ? LUA_MAXINTEGER
                            : args_integer(L, 2, "number of bytes", 1, LUA_MAXINTEGER);
    return read_begin(L, stream, WANT_SOME, count);
}

int stream_read_exactly(lua_State *L) {
    struct stream *stream = stream_check(L, "read_exactly");
    lua_Integer count = args_integer(L, 2, "number of bytes", 0, MOST_AT_ONCE);
    return read_begin(L, stream, WANT_EXACTLY, count);
}

int stream_read_until(lua_State *L) {
    struct stream *stream = stream_check(L, "read_until");
    luaL_argcheck(L, *luaL_checkstring(L, 2) || lua_rawlen(L, 2) > 0, 2,
                  "separator expected, got an empty string");
    return read_begin(L, stream, WANT_UNTIL, 0);
}

static int lines_next(lua_State *L) {
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    return stream_read(L);
}

int stream_lines(lua_State *L) {
    lua_Integer ignored;
    stream_check(L, "lines");
    check_format(L, &ignored);
    lua_settop(L, 2);
    lua_pushcclosure(L, lines_next, 2);
    return 1;
}
