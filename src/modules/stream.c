/*
 * Streams: the object and its names. The halves are stream_read.c and stream_write.c; what is left
 * to do at the end is in stream_linger.c.
 */
#include "stream_halves.h"

struct stream *stream_check(lua_State *L, const char *op) {
    return lilac_handle_check(L, 1, &stream_type, op);
}

int stream_raise(lua_State *L, const struct stream *stream, const char *op, int status) {
    if (status == FILTER_FAILED) return stream->filter->ops->raise(L, stream, op);
    char subject[STREAM_SUBJECT];
    stream->ops->subject(stream, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
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
    char subject[STREAM_SUBJECT] = "closed";
    if (stream) stream->ops->subject(stream, subject, sizeof subject);
    lua_pushfstring(L, "Stream (%s): %p", subject, lua_topointer(L, 1));
    return 1;
}

/* ---- filters --------------------------------------------------------------------------------- */

void filter_insert(struct stream *stream, struct stream_filter *filter,
                   const struct stream_ops *ops) {
    filter->below = stream->ops;
    stream->ops = ops;
    stream->filter = filter;
    stream->readable = false; /* the transport will say it again, to the filter */
}

static int start_tls_done(lua_State *L, int status, lua_KContext context) {
    (void)L, (void)status, (void)context;
    return 1;
}

/* start_tls(options) → the stream; what composes it is in Lua. */
static int stream_start_tls(lua_State *L) {
    stream_check(L, "start_tls");
    lua_settop(L, 2);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lilac.start_tls");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "start");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 1, 0, start_tls_done);
    return start_tls_done(L, LUA_OK, 0);
}

/* tls_info() → a table, or nil for a stream without TLS. */
static int stream_tls_info(lua_State *L) {
    struct stream *stream = stream_check(L, "tls_info");
    if (stream->filter) return stream->filter->ops->info(L, stream);
    lua_pushnil(L);
    return 1;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stream_on_close(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    stream_stop(stream);
    stream_wake_reader(stream);
    waitq_wake_all(&stream->writers);
}

static void stream_on_free(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    late_drop(&stream->cork);
    guess_drop(&stream->guess);
    if (stream->ops->free) stream->ops->free(stream);
    stream_linger_free(stream);
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
                                       {"start_tls", stream_start_tls},
                                       {"tls_info", stream_tls_info},
                                       {"peercred", stream_peercred},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", stream_tostring}, {NULL, NULL}};
    lilac_handle_metatable(L, &stream_type, methods, meta);
}

struct stream *stream_new(lua_State *L, const struct stream_ops *ops, size_t limit) {
    struct stream *stream = lilac_handle_new(L, &stream_type);
    stream->ops = ops;
    stream->limit = limit;
    stream_cork_init(stream);
    stream_guess_init(stream);
    waitq_init(&stream->writers);
    return stream;
}

void stream_opened(struct stream *stream) {
    lilac_handle_opened(&stream->handle, &stream->uv.handle);
    uv_unref(&stream->uv.handle); /* see stream_leave */
}
