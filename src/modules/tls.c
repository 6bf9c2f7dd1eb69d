/*
 * lilac.tls: contexts, and the handshake that puts TLS into a stream; lilac.start_tls and lilac.net
 * compose the rest. The bytes go through tls_filter.c. Who shakes hands waits as the stream's
 * reader.
 */
#include <string.h>

#include "../core/args.h"
#include "../core/list.h"
#include "builtin.h"
#include "tls_filter.h"

/* Its continuation may park again. */
static const lilac_op flush_op;

static bool handshake_cancel(lilac_wait *wait) {
    struct stream *stream = container_of(wait, struct stream, reader);
    stream_leave(stream);
    lilac_handle_close(&stream->handle); /* half a handshake is of no use */
    return true;
}

static void handshake_describe(lilac_wait *wait, char *text, size_t size) {
    struct stream *stream = container_of(wait, struct stream, reader);
    stream->ops->subject(stream, text, size);
}

static int handshake_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = lilac_handle_check(L, 1, &stream_type, "start_tls");
    const struct tls_failure *failure;
    (void)wait;
    tls_filter_ready(stream, &failure);
    if (!failure) {
        lua_settop(L, 1);
        return 1;
    }
    lilac_handle_close(&stream->handle);
    return stream->filter->ops->raise(L, stream, "handshake");
}

static const lilac_op handshake_op = {.name = "tls:handshake",
                                      .cancel = handshake_cancel,
                                      .done = handshake_done,
                                      .describe = handshake_describe};

static int handshake_raise(lua_State *L, const struct stream *stream,
                           const struct tls_failure *failure) {
    char what[ADDRESS_TEXT + 16] = "handshake ";
    size_t length = strlen(what);
    stream->ops->subject(stream, what + length, sizeof what - length);
    return tls_failure_raise(L, failure, what);
}

/* [stream, context, server_hostname, server_side] */
static int handshake_begin(lua_State *L, struct stream *stream) {
    struct tls_start start = {.context = tls_context_check(L, 2),
                              .host = lua_tostring(L, 3),
                              .is_server = lua_toboolean(L, 4)};
    const struct tls_failure *over;
    struct tls_failure failure = {0};
    lilac_refuse_second(L, &stream->reader, "start_tls");
    if (stream->filter)
        return lilac_throw(L, "InvalidStateError", "start_tls: the Stream speaks TLS already");
    if (stream->read_status != 0) {
        tls_failure_own(&failure, "UNEXPECTED_EOF", "the peer closed the connection");
        if (stream->read_status != UV_EOF) tls_failure_system(&failure, stream->read_status);
        return handshake_raise(L, stream, &failure);
    }
    if (!tls_filter_start(stream, &start, &failure)) return handshake_raise(L, stream, &failure);
    if (tls_filter_ready(stream, &over)) return handshake_done(L, NULL);
    int status = stream_start(stream);
    if (status == 0) return stream_park_reader(L, stream, &handshake_op);
    tls_failure_system(&failure, status);
    lilac_handle_close(&stream->handle);
    return handshake_raise(L, stream, &failure);
}

/* What was written in plain goes out in plain. */
static int flush_done(lua_State *L, lilac_wait *wait) {
    struct stream *stream = lilac_handle_check(L, 1, &stream_type, "start_tls");
    (void)wait;
    lilac_checkpoint(L); /* it may have been cancelled since it was woken */
    stream_uncork(stream);
    if (stream_unsent(stream) == 0) return handshake_begin(L, stream);
    return waitq_park(L, &stream->writers, &flush_op);
}

static const lilac_op flush_op = {
    .name = "tls:handshake", .cancel = waitq_cancel, .done = flush_done};

/* Refuses what cannot be verified. The host is on top of the stack. */
static void check_host(lua_State *L, const struct tls_context *context, const char *host) {
    luaL_argcheck(L, host || !context->verify, 3,
                  "option 'server_hostname' expected: whom the certificate has to be of");
    if (!host) return;
    size_t size = lua_rawlen(L, -1);
    luaL_argcheck(L, size > 0 && size < TLS_NAME_SIZE && size == strlen(host), 3,
                  "option 'server_hostname': a host name of 1 to 255 bytes expected");
}

/* handshake(stream, context [, {server_side=, server_hostname=}]) → the stream */
static int tls_handshake(lua_State *L) {
    static const char *const known[] = {"server_side", "server_hostname", NULL};
    lilac_handle_check(L, 1, &stream_type, "start_tls");
    const struct tls_context *context = tls_context_check(L, 2);
    args_options(L, 3, known);
    bool is_server = args_option_boolean(L, 3, "server_side", false);
    const char *host = args_option_string(L, 3, "server_hostname", NULL);
    luaL_argcheck(L, !is_server || context->serves, 2,
                  "a Context without option 'cert' cannot serve");
    luaL_argcheck(L, !is_server || !host, 3, "option 'server_hostname' is for clients");
    if (!is_server) check_host(L, context, host);
    lua_replace(L, 3);
    lua_settop(L, 3);
    lua_pushboolean(L, is_server);
    return flush_done(L, NULL);
}

int luaopen_lilac_tls(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"context", tls_context_new}, {"handshake", tls_handshake}, {NULL, NULL}};
    lilac_check_version(L);
    tls_context_prepare(L);
    stream_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
