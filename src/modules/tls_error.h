/*
 * Why TLS failed: told by OpenSSL in plain C when it happens, raised in Lua as a TLSError later.
 */
#ifndef LILAC_TLS_ERROR_H
#define LILAC_TLS_ERROR_H

#include "../lilac.h"
#include "openssl.h"

struct tls_failure {
    int status; /* a libuv code, where it was the system or the transport; else 0 */
    char code[64], reason[320];
};

/* Notes a libuv code. */
void tls_failure_system(struct tls_failure *failure, int status);

/* Notes what is said here. */
void tls_failure_own(struct tls_failure *failure, const char *code, const char *reason);

/* Notes what is wrong with a certificate: for a callback of the verification. */
void tls_failure_certificate(struct tls_failure *failure, X509_STORE_CTX *chain);

/* Takes the oldest error of the thread's queue, and empties that. What was noted about a
 * certificate stays when that is the error. */
void tls_failure_queue(struct tls_failure *failure);

/* Raises "<what>: <reason> (<CODE>)", a TLSError with `code` and `reason`, or an OSError. */
int tls_failure_raise(lua_State *L, const struct tls_failure *failure, const char *what);

/* Writes a name as people write it: "CN=localhost,O=Example". */
void tls_name_text(const X509_NAME *name, char *text, size_t size);

#endif
