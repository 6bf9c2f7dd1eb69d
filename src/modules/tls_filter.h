/*
 * TLS as a filter of a stream: plain bytes above, TLS records below.
 */
#ifndef LILAC_TLS_FILTER_H
#define LILAC_TLS_FILTER_H

#include "stream_filter.h"
#include "tls_context.h"

/* How a stream is to begin. */
struct tls_start {
    struct tls_context *context;
    const char *host; /* by which a client knows the server; NULL: by none */
    bool is_server;
};

/* Puts TLS into the stream and begins the handshake, when nothing is unsent and nobody reads: the
 * reader is woken when it is over. What was received and not read yet is taken as the peer's part
 * of it. False: out of memory, or what OpenSSL says; the stream is as it was. Plain C. */
bool tls_filter_start(struct stream *stream, const struct tls_start *start,
                      struct tls_failure *failure);

/* Whether the handshake is over; NULL, or why it failed. */
bool tls_filter_ready(const struct stream *stream, const struct tls_failure **failure);

#endif
