/* What the programs share that drive a server in TLS. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include "drive.h"

#include <openssl/ssl.h>

static char certificate[] = "/tmp/lilac-bench-XXXXXX";

static inline void certificate_remove(void) {
    unlink(certificate);
}

/* Makes a file of a certificate and its key, for as long as the program runs. */
static inline void certificate_make(void) {
    char command[256];
    int fd = mkstemp(certificate);
    check(fd >= 0, "mkstemp");
    close(fd);
    atexit(certificate_remove);
    snprintf(command, sizeof command,
             "f=%s; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
             "-subj /CN=localhost -keyout $f.key -out $f 2>/dev/null; cat $f.key >>$f; rm $f.key",
             certificate);
    check(system(command) == 0, "openssl req");
}

/* Sessions come before the first message; a socket is not to be ready for them alone. */
static inline SSL_CTX *client_context(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    check(context != NULL, "SSL_CTX_new");
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
    return context;
}

/* Shakes hands over a socket that is connected. */
static inline SSL *tls_connect(SSL_CTX *context, int fd) {
    SSL *ssl = SSL_new(context);
    check(ssl && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1, "the handshake");
    return ssl;
}

#endif
