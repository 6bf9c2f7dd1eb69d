/*
 * The TLS filter. OpenSSL never sees a socket: it reads from the bytes that have just arrived, and
 * what it writes gathers in an outbox, which goes to the transport when OpenSSL returns. So no byte
 * is copied more often than OpenSSL does by itself.
 *
 * Both ends are bounded. What arrives is decrypted at once, at most one inbox of the transport, and
 * the stream stops reading as always. What is written is encrypted in pieces, the next one when the
 * transport has taken the last.
 */
#include "tls_filter.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/error.h"
#include "../core/list.h"
#include "../core/scratch.h"

enum {
    PIECE = 3 * RECORD, /* fits into the outbox with what TLS adds to it */
    LAST_READS = 4,     /* of a peer that has left */
    SUBJECT = 128
};

struct tls {
    struct stream_filter filter; /* first */
    struct tls_connection connection;
    SSL *ssl;
    const char *arrived; /* and not taken by OpenSSL yet */
    size_t arrived_size;
    const char *plain; /* what write() was given, and is not encrypted yet */
    size_t plain_size;
    bool writing;          /* write() was called, and stream_sent() was not */
    struct buffer queued;  /* records, which wait for `sending` to be sent */
    struct buffer sending; /* records */
    int write_status;      /* 0, or why nothing more can be sent */
    bool is_ready;         /* the handshake is over, … */
    bool is_failed;        /* … or has failed, or what came after it; see connection.failure */
    bool ending, notified; /* the sending direction is to end; close_notify was sent */
};

static struct tls *tls_of(const struct stream *stream) {
    return container_of(stream->filter, struct tls, filter);
}

/* ---- what OpenSSL reads and writes ----------------------------------------------------------- */

/* Of the scratch. It is empty whenever a function of this file returns. */
static _Thread_local size_t outbox_size;

static void records_send(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    buffer_swap(&tls->queued, &tls->sending);
    int status = tls->filter.below->write(stream, buffer_bytes(&tls->sending), tls->sending.size);
    if (status == 0) return;
    buffer_free(&tls->sending);
    tls->write_status = status;
}

/* Empties the outbox: into the transport, and what that does not take into the queue. */
static void outbox_flush(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    uv_buf_t rest = {.base = scratch->outbox, .len = outbox_size};
    outbox_size = 0;
    if (rest.len == 0 || tls->write_status != 0) return;
    bool is_busy = tls->sending.size > 0;
    int done = is_busy ? UV_EAGAIN : tls->filter.below->try_write(stream, &rest, 1);
    if (done == (int)rest.len) return;
    if (done > 0) {
        rest.base += done;
        rest.len -= (size_t)done;
    }
    if (done < 0 && done != UV_EAGAIN)
        tls->write_status = done;
    else if (!buffer_append(&tls->queued, rest.base, rest.len))
        tls->write_status = UV_ENOMEM;
    else if (!is_busy)
        records_send(stream);
}

static int bio_read(BIO *bio, char *bytes, int size) {
    struct tls *tls = tls_of(ossl.BIO_get_data(bio));
    size_t count = (size_t)size < tls->arrived_size ? (size_t)size : tls->arrived_size;
    ossl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (count == 0) {
        ossl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    memcpy(bytes, tls->arrived, count);
    tls->arrived += count;
    tls->arrived_size -= count;
    return (int)count;
}

/* A record is never larger than the outbox. */
static int bio_write(BIO *bio, const char *bytes, int size) {
    if ((size_t)size > OUTBOX - outbox_size) outbox_flush(ossl.BIO_get_data(bio));
    memcpy(scratch->outbox + outbox_size, bytes, (size_t)size);
    outbox_size += (size_t)size;
    return size;
}

/* OpenSSL wants to hear that its bytes are flushed; they will be. */
static long bio_ctrl(BIO *bio, int command, long number, void *data) {
    (void)bio, (void)number, (void)data;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void bio_prepare(void) {
    BIO_METHOD *method =
        ossl.BIO_meth_new(ossl.BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (!method) return;
    ossl.BIO_meth_set_read(method, bio_read);
    ossl.BIO_meth_set_write(method, bio_write);
    ossl.BIO_meth_set_ctrl(method, bio_ctrl);
    bio_method = method;
}

static BIO *bio_new(struct stream *stream) {
    static uv_once_t once = UV_ONCE_INIT;
    uv_once(&once, bio_prepare);
    BIO *bio = bio_method ? ossl.BIO_new(bio_method) : NULL;
    if (!bio) return NULL;
    ossl.BIO_set_data(bio, stream);
    ossl.BIO_set_init(bio, 1);
    return bio;
}

/* ---- failing --------------------------------------------------------------------------------- */

/* The connection is of no use any more, in either direction. */
static void tls_failed(struct tls *tls) {
    tls->is_failed = true;
    if (tls->write_status == 0) tls->write_status = FILTER_FAILED;
}

/* After an operation of OpenSSL that returned what is no success: whether it only waits for more.
 * What it says to the peer goes out first. */
static bool tls_waits(struct stream *stream, int result) {
    struct tls *tls = tls_of(stream);
    if (ossl.SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ) return true;
    tls_failure_queue(&tls->connection.failure);
    outbox_flush(stream);
    tls_failed(tls);
    return false;
}

/* ---- decrypting ------------------------------------------------------------------------------ */

static void read_over(struct stream *stream, int status) {
    stream_stop(stream);
    filter_ended(stream, status);
}

/* Decrypts all that has arrived. */
static void decrypt(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    size_t before = stream->received.size;
    int status = 0, size;
    do {
        int ready = ossl.SSL_pending(tls->ssl);
        size_t room = ready > 0 ? (size_t)ready : tls->arrived_size;
        char *bytes = buffer_reserve(&stream->received, room);
        if (!bytes) {
            status = UV_ENOMEM;
            break;
        }
        ossl.ERR_clear_error();
        size = ossl.SSL_read(tls->ssl, bytes, (int)room);
        if (size > 0)
            stream->received.size += (size_t)size;
        else if (ossl.SSL_get_error(tls->ssl, size) == SSL_ERROR_ZERO_RETURN)
            status = UV_EOF;
        else if (!tls_waits(stream, size))
            status = FILTER_FAILED;
    } while (size > 0 && (tls->arrived_size > 0 || ossl.SSL_pending(tls->ssl) > 0));
    if (stream->received.size > before) filter_received(stream);
    if (status != 0) read_over(stream, status);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Encrypts at most a piece, and sends it. */
static void encrypt(struct stream *stream, const char *bytes, size_t size) {
    struct tls *tls = tls_of(stream);
    ossl.ERR_clear_error();
    int written = ossl.SSL_write(tls->ssl, bytes, (int)size);
    if (written > 0)
        outbox_flush(stream);
    else
        tls_waits(stream, written);
}

/* Several small buffers make one record. */
struct gathering {
    const uv_buf_t *at, *end;
    size_t skip; /* bytes of `at` that were taken */
};

static size_t gather(struct gathering *from, const char **bytes) {
    char *record = scratch->record;
    size_t size = 0;
    while (from->at < from->end) {
        const char *base = from->at->base + from->skip;
        size_t left = from->at->len - from->skip;
        if (size == 0 && (left >= RECORD || from->at + 1 == from->end)) {
            size = left < PIECE ? left : PIECE;
            from->skip += size;
            *bytes = base;
            break;
        }
        size_t count = left < RECORD - size ? left : RECORD - size;
        memcpy(record + size, base, count);
        size += count;
        from->skip += count;
        *bytes = record;
        if (count < left) break;
        from->at++;
        from->skip = 0;
    }
    return size;
}

/* Why nothing more can be sent; 0: it can. A peer that has left may have told its reason before (an
 * alert), and nobody has read that yet. */
static int write_verdict(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    const struct stream_ops *below = tls->filter.below;
    bool has_left = tls->write_status == UV_EPIPE || tls->write_status == UV_ECONNRESET;
    if (!has_left || !tls->is_ready || stream->read_status != 0 || stream->handle.closed ||
        !below->try_read)
        return tls->write_status;
    int size = 1;
    for (int i = 0; i < LAST_READS && size > 0 && stream->read_status == 0; i++) {
        size = below->try_read(stream, scratch->inbox, INBOX);
        tls->arrived = scratch->inbox;
        tls->arrived_size = size > 0 ? (size_t)size : 0;
        if (size > 0) decrypt(stream);
    }
    outbox_flush(stream);
    if (tls->is_failed) tls->write_status = FILTER_FAILED;
    return tls->write_status;
}

static int tls_try_write(struct stream *stream, const uv_buf_t *bufs, unsigned count) {
    struct tls *tls = tls_of(stream);
    struct gathering from = {.at = bufs, .end = bufs + count};
    const char *bytes;
    size_t size;
    int taken = 0;
    if (tls->write_status == 0 && (!tls->is_ready || tls->sending.size > 0)) return UV_EAGAIN;
    while (tls->write_status == 0 && tls->sending.size == 0 && taken <= INT_MAX - PIECE &&
           (size = gather(&from, &bytes)) > 0) {
        encrypt(stream, bytes, size);
        taken += (int)size;
        if (tls->sending.size > 0) stream->held = size;
    }
    return tls->write_status != 0 ? write_verdict(stream) : taken;
}

/* Encrypts what write() was given, as far as the transport takes it. */
static void encrypt_plain(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    while (tls->is_ready && tls->plain_size > 0 && tls->sending.size == 0 &&
           tls->write_status == 0) {
        size_t size = tls->plain_size < PIECE ? tls->plain_size : PIECE;
        const char *bytes = tls->plain;
        tls->plain += size;
        tls->plain_size -= size;
        encrypt(stream, bytes, size);
    }
}

/* Ends the sending direction, as soon as all records are sent. */
static void tls_end(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    if (tls->write_status == 0 && !tls->is_ready) return;
    if (tls->write_status == 0 && !tls->notified) {
        tls->notified = true;
        ossl.SSL_shutdown(tls->ssl);
        outbox_flush(stream);
    }
    if (tls->sending.size > 0) return;
    tls->ending = false;
    int status = write_verdict(stream);
    if (status == 0) status = tls->filter.below->shutdown(stream);
    if (status != 0) filter_shut(stream, status);
}

/* Goes on with what waits for the transport to take more. */
static void tls_go_on(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    encrypt_plain(stream);
    bool has_failed = tls->write_status != 0;
    if (tls->sending.size > 0 || (tls->plain_size > 0 && !has_failed)) return;
    if (tls->writing || stream->held > 0) {
        tls->writing = false;
        tls->plain_size = 0;
        filter_sent(stream, write_verdict(stream));
    } else if (stream->handle.closed) {
        stream_linger_on(stream);
    } else if (tls->ending) {
        tls_end(stream);
    }
}

static int tls_write(struct stream *stream, const char *bytes, size_t size) {
    struct tls *tls = tls_of(stream);
    if (tls->write_status != 0) return tls->write_status;
    tls->writing = true;
    tls->plain = bytes;
    tls->plain_size = size;
    tls_go_on(stream);
    return 0;
}

static int tls_shutdown(struct stream *stream) {
    tls_of(stream)->ending = true;
    tls_end(stream);
    return 0;
}

/* The last thing to do for a stream that was closed: false when it is done. */
static bool tls_farewell(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    if (tls->is_ready && tls->write_status == 0 && !tls->notified) {
        tls->notified = true;
        ossl.SSL_shutdown(tls->ssl);
        outbox_flush(stream);
    }
    return tls->sending.size > 0;
}

static void on_sent(struct stream *stream, int status) {
    struct tls *tls = tls_of(stream);
    buffer_drop(&tls->sending, tls->sending.size);
    if (status != 0)
        tls->write_status = status;
    else if (tls->queued.size > 0)
        records_send(stream);
    tls_go_on(stream);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void shake_hands(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    ossl.ERR_clear_error();
    int result = ossl.SSL_do_handshake(tls->ssl);
    if (result == 1) {
        tls->is_ready = true;
        tls->connection.awaits_session =
            !ossl.SSL_is_server(tls->ssl) && ossl.SSL_version(tls->ssl) >= TLS1_3_VERSION;
    } else if (tls_waits(stream, result)) {
        return;
    }
    stream_wake_reader(stream);
}

/* As far as OpenSSL goes with what has arrived. */
static void tls_turn(struct stream *stream, const char *bytes, size_t size) {
    struct tls *tls = tls_of(stream);
    if (tls->is_failed || stream->handle.closed) return;
    bool was_ready = tls->is_ready;
    tls->arrived = bytes;
    tls->arrived_size = size;
    if (!was_ready) shake_hands(stream);
    if (tls->is_ready && tls->arrived_size > 0) decrypt(stream);
    tls->arrived_size = 0;
    outbox_flush(stream);
    if (!was_ready && tls->is_ready) tls_go_on(stream);
}

/* An end without close_notify may have been made by anybody on the way. */
static void on_ended(struct stream *stream, int status) {
    struct tls *tls = tls_of(stream);
    struct tls_failure *failure = &tls->connection.failure;
    if (tls->is_failed || stream->handle.closed) return;
    if (status != UV_EOF)
        tls_failure_system(failure, status);
    else if (tls->is_ready)
        tls_failure_own(failure, "UNEXPECTED_EOF",
                        "the connection was cut: it ended without close_notify");
    else
        tls_failure_own(failure, "UNEXPECTED_EOF", "the peer closed the connection");
    tls->is_failed = true;
    if (tls->is_ready) {
        filter_ended(stream, FILTER_FAILED);
    } else {
        tls_failed(tls);
        stream_wake_reader(stream);
    }
}

static int tls_start_reading(struct stream *stream) {
    return tls_of(stream)->filter.below->start(stream);
}

static void tls_stop_reading(struct stream *stream) {
    tls_of(stream)->filter.below->stop(stream);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void tls_linger(struct stream *stream) {
    const struct stream_ops *below = tls_of(stream)->filter.below;
    if (below->linger) below->linger(stream);
}

/* In TLS 1.3 a server sends sessions to a client that may never read: when they have not come yet,
 * they are still to come. */
static bool tls_hear_out(struct stream *stream, bool must) {
    const struct tls *tls = tls_of(stream);
    const struct stream_ops *below = tls->filter.below;
    return below->hear_out && tls->write_status == 0 && !tls->is_failed &&
           below->hear_out(stream, must || tls->connection.awaits_session);
}

static int tls_peername(lua_State *L, struct stream *stream) {
    return tls_of(stream)->filter.below->peername(L, stream);
}

static int tls_sockname(lua_State *L, struct stream *stream) {
    return tls_of(stream)->filter.below->sockname(L, stream);
}

/* "localhost (127.0.0.1:443)" */
static void tls_subject(const struct stream *stream, char *text, size_t size) {
    const struct tls *tls = tls_of(stream);
    char below[SUBJECT];
    if (!*tls->connection.host) {
        tls->filter.below->subject(stream, text, size);
        return;
    }
    tls->filter.below->subject(stream, below, sizeof below);
    snprintf(text, size, "%s (%s)", tls->connection.host, below);
}

static int tls_raise(lua_State *L, const struct stream *stream, const char *op) {
    char what[TLS_NAME_SIZE + 2 * SUBJECT];
    int length = snprintf(what, sizeof what, "%s ", op);
    tls_subject(stream, what + length, sizeof what - (size_t)length);
    return tls_failure_raise(L, &tls_of(stream)->connection.failure, what);
}

static int tls_peercred(lua_State *L, struct stream *stream) {
    const struct stream_ops *below = tls_of(stream)->filter.below;
    if (!below->peercred) return lilac_raise(L, UV_ENOTSUP, "peercred");
    return below->peercred(L, stream);
}

static void set_name(lua_State *L, const char *field, const X509_NAME *name) {
    char text[TLS_NAME_SIZE];
    tls_name_text(name, text, sizeof text);
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static int tls_info(lua_State *L, const struct stream *stream) {
    const struct tls *tls = tls_of(stream);
    const SSL_CIPHER *cipher = ossl.SSL_get_current_cipher(tls->ssl);
    const char *name = ossl.SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
    const unsigned char *protocol;
    unsigned size;
    X509 *certificate = ossl.SSL_get1_peer_certificate(tls->ssl);
    ossl.SSL_get0_alpn_selected(tls->ssl, &protocol, &size);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, ossl.SSL_get_version(tls->ssl));
    lua_setfield(L, -2, "version");
    lua_pushstring(L, cipher ? ossl.SSL_CIPHER_get_name(cipher) : NULL);
    lua_setfield(L, -2, "cipher");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "server_name");
    if (size > 0) lua_pushlstring(L, (const char *)protocol, size);
    if (size > 0) lua_setfield(L, -2, "alpn");
    lua_pushboolean(L, ossl.SSL_session_reused(tls->ssl));
    lua_setfield(L, -2, "session_reused");
    if (!certificate) return 1;
    set_name(L, "peer_subject", ossl.X509_get_subject_name(certificate));
    set_name(L, "peer_issuer", ossl.X509_get_issuer_name(certificate));
    ossl.X509_free(certificate);
    return 1;
}

static void tls_free(struct stream *stream) {
    struct tls *tls = tls_of(stream);
    const struct stream_ops *below = tls->filter.below;
    if (below->free) below->free(stream);
    ossl.SSL_free(tls->ssl);
    tls_context_drop(tls->connection.context);
    buffer_free(&tls->queued);
    buffer_free(&tls->sending);
    free(tls);
}

static const struct stream_ops tls_ops = {.start = tls_start_reading,
                                          .stop = tls_stop_reading,
                                          .try_write = tls_try_write,
                                          .write = tls_write,
                                          .shutdown = tls_shutdown,
                                          .linger = tls_linger,
                                          .hear_out = tls_hear_out,
                                          .free = tls_free,
                                          .peername = tls_peername,
                                          .sockname = tls_sockname,
                                          .peercred = tls_peercred,
                                          .subject = tls_subject};

static const struct stream_filter_ops filter_ops = {.received = tls_turn,
                                                    .ended = on_ended,
                                                    .sent = on_sent,
                                                    .shut = filter_shut,
                                                    .farewell = tls_farewell,
                                                    .raise = tls_raise,
                                                    .info = tls_info};

/* ---- the beginning --------------------------------------------------------------------------- */

/* Whose certificate it has to be. The name of an address is not sent (RFC 6066). */
static bool expect_host(SSL *ssl, const char *host) {
    X509_VERIFY_PARAM *expected = ossl.SSL_get0_param(ssl);
    union address ignored;
    if (address_parse(&ignored, host, 0)) return ossl.X509_VERIFY_PARAM_set1_ip_asc(expected, host);
    return ossl.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                         (void *)host) == 1 &&
           ossl.X509_VERIFY_PARAM_set1_host(expected, host, 0) == 1;
}

static bool begin_as_client(struct tls *tls) {
    const struct tls_context *context = tls->connection.context;
    SSL_SESSION *session = tls_session_find(context, tls->connection.host);
    ossl.SSL_set_connect_state(tls->ssl);
    tls_context_verify(tls->ssl, context->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE);
    if (session) ossl.SSL_set_session(tls->ssl, session);
    return !*tls->connection.host || expect_host(tls->ssl, tls->connection.host);
}

static void begin_as_server(struct tls *tls) {
    ossl.SSL_set_accept_state(tls->ssl);
    tls_context_verify(tls->ssl, (int)tls->connection.context->client_cert);
}

static struct tls *tls_new(struct stream *stream, const struct tls_start *start) {
    struct tls *tls = scratch_open() ? calloc(1, sizeof *tls) : NULL;
    SSL *ssl = tls ? ossl.SSL_new(start->context->ssl) : NULL;
    BIO *bio = ssl ? bio_new(stream) : NULL;
    if (!bio || !ossl.SSL_set_ex_data(ssl, 0, &tls->connection)) {
        if (bio) ossl.BIO_free(bio);
        ossl.SSL_free(ssl);
        free(tls);
        return NULL;
    }
    ossl.SSL_set_bio(ssl, bio, bio);
    tls->filter.ops = &filter_ops;
    tls->ssl = ssl;
    tls->connection.context = tls_context_hold(start->context);
    snprintf(tls->connection.host, sizeof tls->connection.host, "%s",
             start->host ? start->host : "");
    return tls;
}

bool tls_filter_start(struct stream *stream, const struct tls_start *start,
                      struct tls_failure *failure) {
    struct buffer before = {0};
    ossl.ERR_clear_error();
    struct tls *tls = tls_new(stream, start);
    if (!tls) {
        tls_failure_system(failure, UV_ENOMEM);
        return false;
    }
    bool has_begun = start->is_server ? (begin_as_server(tls), true) : begin_as_client(tls);
    if (!has_begun) {
        tls_failure_queue(failure);
        ossl.SSL_free(tls->ssl);
        tls_context_drop(tls->connection.context);
        free(tls);
        return false;
    }
    filter_insert(stream, &tls->filter, &tls_ops);
    buffer_swap(&before, &stream->received);
    tls_turn(stream, buffer_bytes(&before), before.size);
    buffer_free(&before);
    return true;
}

bool tls_filter_ready(const struct stream *stream, const struct tls_failure **failure) {
    const struct tls *tls = tls_of(stream);
    *failure = tls->is_ready ? NULL : &tls->connection.failure;
    return tls->is_ready || tls->is_failed;
}
