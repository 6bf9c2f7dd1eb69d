/*
 * What TLS connections have in common: whom they trust, who they are, and the sessions that clients
 * resume. Made by a thread of the pool, as it reads files; counted, as connections outlive the
 * object that Lua has of it.
 */
#ifndef LILAC_TLS_CONTEXT_H
#define LILAC_TLS_CONTEXT_H

#include <stdatomic.h>

#include "tls_error.h"

enum { TLS_NAME_SIZE = 256, TLS_SESSIONS = 64 };

/* Which certificates a server asks its clients for: the verify mode of OpenSSL. */
enum tls_client_cert {
    CLIENT_CERT_NONE = SSL_VERIFY_NONE,
    CLIENT_CERT_REQUEST = SSL_VERIFY_PEER,
    CLIENT_CERT_REQUIRE = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
};

struct tls_context {
    atomic_int references; /* a thread of the pool drops those of a recipe that was cancelled */
    struct tls_context *next_doomed;
    SSL_CTX *ssl;
    bool verify; /* servers, when it is a client's */
    bool serves; /* it has a certificate */
    enum tls_client_cert client_cert;
    unsigned char *protocols; /* ALPN, as on the wire */
    unsigned protocols_size;
    struct tls_name *names; /* SNI */
    size_t name_count;
    struct tls_session {
        char *host; /* NULL: free */
        SSL_SESSION *session;
    } sessions[TLS_SESSIONS];
    size_t next_session; /* the oldest, which is the next to go */
};

/* A name that a server goes by, and the context for clients that ask for it. */
struct tls_name {
    char *name; /* "*.example.org" too */
    struct tls_context *context;
};

/* The context of an object of Lua at `arg`; an argument error for anything else. */
struct tls_context *tls_context_check(lua_State *L, int arg);

/* One reference more, or less: the last one frees it. */
struct tls_context *tls_context_hold(struct tls_context *context);
void tls_context_drop(struct tls_context *context);

/* The session to go on with, or NULL. */
SSL_SESSION *tls_session_find(const struct tls_context *context, const char *host);

/* What OpenSSL's callbacks have to know of a connection: its ex_data 0. */
struct tls_connection {
    struct tls_context *context;
    struct tls_failure failure;
    char host[TLS_NAME_SIZE]; /* by which a client knows the server; "": by none */
    bool awaits_session;      /* it is a client's in TLS 1.3, whose server has sent none yet */
};

/* Sets whether the peer has to have a certificate that is trusted. */
void tls_context_verify(SSL *ssl, int mode);

/* context(options) → Context */
int tls_context_new(lua_State *L);

/* Makes the metatable of contexts. */
void tls_context_prepare(lua_State *L);

#endif
