/*
 * Contexts. The options are checked and copied by the task, then a thread of the pool reads the
 * files and makes the SSL_CTX, and the task goes on with that. Here are also the questions that
 * OpenSSL asks during a handshake, as the context has the answers.
 */
#include "tls_context.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../core/args.h"
#include "../core/buffer.h"
#include "../core/object.h"

enum { TEXT_MAX = 16 * 1024 * 1024, PROTOCOLS_MAX = 4096, PROTOCOL_MAX = 255, NAMES_MAX = 1024 };

struct context_box {
    const struct object_type *type; /* first */
    struct tls_context *context;    /* NULL: not yet made */
};

static const struct object_type context_type = {"Context", sizeof(struct context_box)};

struct tls_context *tls_context_check(lua_State *L, int arg) {
    struct context_box *box = object_check(L, arg, &context_type);
    luaL_argcheck(L, box->context, arg, "the Context is not made yet");
    return box->context;
}

struct tls_context *tls_context_hold(struct tls_context *context) {
    atomic_fetch_add(&context->references, 1);
    return context;
}

/* One reference less; the last one puts the context into the list. */
static void doom(struct tls_context *context, struct tls_context **doomed) {
    if (atomic_fetch_sub(&context->references, 1) > 1) return;
    context->next_doomed = *doomed;
    *doomed = context;
}

static void context_free(struct tls_context *context, struct tls_context **doomed) {
    for (size_t i = 0; i < context->name_count; i++) {
        doom(context->names[i].context, doomed);
        free(context->names[i].name);
    }
    for (size_t i = 0; i < TLS_SESSIONS; i++) {
        if (!context->sessions[i].host) continue;
        ossl.SSL_SESSION_free(context->sessions[i].session);
        free(context->sessions[i].host);
    }
    if (context->ssl) ossl.SSL_CTX_free(context->ssl);
    free(context->names);
    free(context->protocols);
    free(context);
}

/* A context may hold the last reference to another one, and so on: such a chain can be long. */
void tls_context_drop(struct tls_context *context) {
    struct tls_context *doomed = NULL;
    doom(context, &doomed);
    while ((context = doomed)) {
        doomed = context->next_doomed;
        context_free(context, &doomed);
    }
}

/* ---- sessions -------------------------------------------------------------------------------- */

SSL_SESSION *tls_session_find(const struct tls_context *context, const char *host) {
    for (size_t i = 0; i < TLS_SESSIONS; i++) {
        const struct tls_session *at = &context->sessions[i];
        if (at->host && strcmp(at->host, host) == 0) return at->session;
    }
    return NULL;
}

/* Where the session of a host is, or will be. */
static struct tls_session *session_place(struct tls_context *context, const char *host) {
    for (size_t i = 0; i < TLS_SESSIONS; i++) {
        struct tls_session *at = &context->sessions[i];
        if (at->host && strcmp(at->host, host) == 0) return at;
    }
    return &context->sessions[context->next_session++ % TLS_SESSIONS];
}

/* A server has sent a session to go on with. 1: it is taken. */
static int on_session(SSL *ssl, SSL_SESSION *session) {
    struct tls_connection *connection = ossl.SSL_get_ex_data(ssl, 0);
    connection->awaits_session = false;
    if (!*connection->host || !ossl.SSL_SESSION_is_resumable(session)) return 0;
    char *host = strdup(connection->host);
    if (!host) return 0;
    struct tls_session *place = session_place(connection->context, host);
    if (place->host) ossl.SSL_SESSION_free(place->session);
    free(place->host);
    *place = (struct tls_session){.host = host, .session = session};
    return 1;
}

/* ---- what OpenSSL asks ----------------------------------------------------------------------- */

/* Notes what is wrong with a certificate, and leaves the verdict alone. */
static int on_certificate(int is_fine, X509_STORE_CTX *chain) {
    SSL *ssl = ossl.X509_STORE_CTX_get_ex_data(chain, ossl.SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_connection *connection = ossl.SSL_get_ex_data(ssl, 0);
    if (!is_fine) tls_failure_certificate(&connection->failure, chain);
    return is_fine;
}

void tls_context_verify(SSL *ssl, int mode) {
    ossl.SSL_set_verify(ssl, mode, on_certificate);
}

/* The context for a name; "*." stands for one label, and comes after the name itself. */
static struct tls_context *context_of(const struct tls_context *context, const char *asked) {
    const char *rest = strchr(asked, '.');
    struct tls_context *found = NULL;
    for (size_t i = 0; i < context->name_count; i++) {
        const char *name = context->names[i].name;
        if (strcasecmp(name, asked) == 0) return context->names[i].context;
        if (rest && *name == '*' && strcasecmp(name + 1, rest) == 0)
            found = context->names[i].context;
    }
    return found;
}

/* The client has said whom it wants to talk to. */
static int on_server_name(SSL *ssl, int *alert, void *data) {
    const char *asked = ossl.SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    struct tls_context *context = asked ? context_of(data, asked) : NULL;
    (void)alert;
    if (!context) return SSL_TLSEXT_ERR_NOACK;
    ossl.SSL_set_SSL_CTX(ssl, context->ssl);
    tls_context_verify(ssl, (int)context->client_cert);
    return SSL_TLSEXT_ERR_OK;
}

/* The client has said which protocols it speaks. With none in common there is no point in going on
 * (RFC 7301). */
static int on_protocols(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_size,
                        const unsigned char *asked, unsigned asked_size, void *data) {
    struct tls_context *context = data;
    (void)ssl;
    int status =
        ossl.SSL_select_next_proto((unsigned char **)chosen, chosen_size, context->protocols,
                                   context->protocols_size, asked, asked_size);
    return status == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- making one, in a thread of the pool ----------------------------------------------------- */

struct recipe {
    char *ca, *cert, *key, *password; /* ca, cert, key: a path, or PEM text */
    int min_version;
    struct tls_context *context;
    bool is_failed, wants_password;
    struct tls_failure failure;
    char what[PATH_MAX + 32]; /* what the failure is about */
};

static void recipe_release(void *data) {
    struct recipe *recipe = data;
    if (recipe->context) tls_context_drop(recipe->context);
    free(recipe->ca);
    free(recipe->cert);
    free(recipe->key);
    free(recipe->password);
    free(recipe);
}

/* Notes that something is wrong with the source of an option. All of these return false. */
static bool recipe_fail(struct recipe *recipe, const char *code, const char *reason) {
    recipe->is_failed = true;
    tls_failure_own(&recipe->failure, code, reason);
    return false;
}

static bool recipe_fail_system(struct recipe *recipe, int error) {
    recipe->is_failed = true;
    tls_failure_system(&recipe->failure, uv_translate_sys_error(error));
    return false;
}

static bool recipe_fail_openssl(struct recipe *recipe) {
    recipe->is_failed = true;
    tls_failure_queue(&recipe->failure);
    return false;
}

static bool is_pem(const char *source) {
    return strstr(source, "-----BEGIN ") != NULL;
}

static bool text_append(struct recipe *recipe, struct buffer *text, const char *bytes,
                        size_t size) {
    if (text->size + size > TEXT_MAX) return recipe_fail_system(recipe, EFBIG);
    return buffer_append(text, bytes, size) || recipe_fail_system(recipe, ENOMEM);
}

static bool file_read(struct recipe *recipe, FILE *file, struct buffer *text) {
    char bytes[4096];
    size_t size;
    while ((size = fread(bytes, 1, sizeof bytes, file)) > 0) {
        if (!text_append(recipe, text, bytes, size)) return false;
    }
    return ferror(file) ? recipe_fail_system(recipe, errno) : true;
}

/* Puts the PEM text of an option into `text`. */
static bool source_read(struct recipe *recipe, const char *option, const char *source,
                        struct buffer *text) {
    if (is_pem(source)) {
        snprintf(recipe->what, sizeof recipe->what, "context %s", option);
        return text_append(recipe, text, source, strlen(source));
    }
    snprintf(recipe->what, sizeof recipe->what, "context %s %s", option, source);
    FILE *file = fopen(source, "re");
    if (!file) return recipe_fail_system(recipe, errno);
    bool is_read = file_read(recipe, file, text);
    fclose(file);
    return is_read;
}

/* Whether PEM_read_bio failed as there is nothing more to read; that is no error then. */
static bool is_at_end(void) {
    unsigned long error = ossl.ERR_peek_last_error();
    bool is_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    if (is_end) ossl.ERR_clear_error();
    return is_end;
}

/* Trusts all certificates of the text. */
static bool use_ca(struct recipe *recipe, BIO *text) {
    SSL_CTX *ssl = recipe->context->ssl;
    X509_STORE *store = ossl.SSL_CTX_get_cert_store(ssl);
    X509 *certificate;
    int count = 0;
    for (; (certificate = ossl.PEM_read_bio_X509(text, NULL, NULL, NULL)); count++) {
        bool is_used = ossl.X509_STORE_add_cert(store, certificate) &&
                       ossl.SSL_CTX_add_client_CA(ssl, certificate);
        ossl.X509_free(certificate);
        if (!is_used) return recipe_fail_openssl(recipe);
    }
    if (!is_at_end()) return recipe_fail_openssl(recipe);
    return count > 0 || recipe_fail(recipe, "NO_CERTIFICATE", "there is no certificate in it");
}

/* The first certificate is ours; the others lead up to the authority. */
static bool use_cert(struct recipe *recipe, BIO *text) {
    SSL_CTX *ssl = recipe->context->ssl;
    X509 *certificate = ossl.PEM_read_bio_X509_AUX(text, NULL, NULL, NULL);
    if (!certificate && is_at_end())
        return recipe_fail(recipe, "NO_CERTIFICATE", "there is no certificate in it");
    if (!certificate) return recipe_fail_openssl(recipe);
    bool is_used = ossl.SSL_CTX_use_certificate(ssl, certificate) == 1;
    ossl.X509_free(certificate);
    if (!is_used) return recipe_fail_openssl(recipe);
    while ((certificate = ossl.PEM_read_bio_X509(text, NULL, NULL, NULL))) {
        if (ossl.SSL_CTX_ctrl(ssl, SSL_CTRL_CHAIN_CERT, 0, certificate) == 1) continue;
        ossl.X509_free(certificate);
        return recipe_fail_openssl(recipe);
    }
    return is_at_end() || recipe_fail_openssl(recipe);
}

/* Never asks the terminal, as OpenSSL does by itself. */
static int on_password(char *text, int size, int is_writing, void *data) {
    struct recipe *recipe = data;
    (void)is_writing;
    recipe->wants_password = true;
    if (!recipe->password) return -1;
    return snprintf(text, (size_t)size, "%s", recipe->password);
}

static bool use_key(struct recipe *recipe, BIO *text) {
    SSL_CTX *ssl = recipe->context->ssl;
    EVP_PKEY *key = ossl.PEM_read_bio_PrivateKey(text, NULL, on_password, recipe);
    if (!key && recipe->wants_password) {
        ossl.ERR_clear_error();
        return recipe_fail(recipe, "BAD_PASSWORD",
                           recipe->password ? "the password is wrong"
                                            : "the key is encrypted: option 'password' expected");
    }
    if (!key) {
        ossl.ERR_clear_error(); /* it says "unsupported", whatever there is */
        return recipe_fail(recipe, "NO_PRIVATE_KEY", "there is no private key in it");
    }
    bool is_used =
        ossl.SSL_CTX_use_PrivateKey(ssl, key) == 1 && ossl.SSL_CTX_check_private_key(ssl) == 1;
    ossl.EVP_PKEY_free(key);
    return is_used || recipe_fail_openssl(recipe);
}

static bool use_source(struct recipe *recipe, const char *option, const char *source,
                       bool (*use)(struct recipe *recipe, BIO *text)) {
    struct buffer text = {0};
    bool is_used = source_read(recipe, option, source, &text);
    if (is_used) {
        BIO *bio = ossl.BIO_new_mem_buf(text.size > 0 ? buffer_bytes(&text) : "", (int)text.size);
        is_used = bio ? use(recipe, bio) : recipe_fail_openssl(recipe);
        if (bio) ossl.BIO_free(bio);
    }
    buffer_free(&text);
    return is_used;
}

/* What all contexts have. Sessions are kept by clients alone; servers give theirs to the clients,
 * in tickets. */
static bool use_defaults(struct recipe *recipe) {
    struct tls_context *context = recipe->context;
    SSL_CTX *ssl = context->ssl;
    ossl.SSL_CTX_ctrl(ssl, SSL_CTRL_SET_MIN_PROTO_VERSION, recipe->min_version, NULL);
    ossl.SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* A server sends what is in `cert`. To look for more would be to search the disk each time. */
    ossl.SSL_CTX_ctrl(ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN, NULL);
    ossl.SSL_CTX_ctrl(ssl, SSL_CTRL_SET_SESS_CACHE_MODE,
                      SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL, NULL);
    ossl.SSL_CTX_sess_set_new_cb(ssl, on_session);
    ossl.SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"lilac", 5);
    ossl.X509_VERIFY_PARAM_set_hostflags(ossl.SSL_CTX_get0_param(ssl),
                                         X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (context->name_count > 0) {
        ossl.SSL_CTX_callback_ctrl(ssl, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                                   (void (*)(void))on_server_name);
        ossl.SSL_CTX_ctrl(ssl, SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, context);
    }
    if (context->protocols_size == 0) return true;
    ossl.SSL_CTX_set_alpn_select_cb(ssl, on_protocols, context);
    return ossl.SSL_CTX_set_alpn_protos(ssl, context->protocols, context->protocols_size) == 0;
}

/* What the system trusts is read once for all contexts, by the first one: it takes as long as ten
 * handshakes. Nobody adds to it. */
static pthread_mutex_t system_trust_lock = PTHREAD_MUTEX_INITIALIZER;
static X509_STORE *system_trust;

static bool use_system_trust(SSL_CTX *ssl) {
    bool is_used = true;
    pthread_mutex_lock(&system_trust_lock);
    if (system_trust) {
        ossl.SSL_CTX_set1_cert_store(ssl, system_trust);
    } else {
        /* Not set_default_verify_paths: that also has each handshake list the folder. */
        is_used = ossl.SSL_CTX_set_default_verify_file(ssl) == 1 &&
                  ossl.SSL_CTX_set_default_verify_dir(ssl) == 1;
        X509_STORE *store = ossl.SSL_CTX_get_cert_store(ssl);
        if (is_used && ossl.X509_STORE_up_ref(store)) system_trust = store;
    }
    pthread_mutex_unlock(&system_trust_lock);
    return is_used;
}

static bool use_trust(struct recipe *recipe) {
    if (recipe->ca) return use_source(recipe, "ca", recipe->ca, use_ca);
    if (!recipe->context->verify) return true;
    return use_system_trust(recipe->context->ssl) || recipe_fail_openssl(recipe);
}

static void recipe_follow(void *data) {
    struct recipe *recipe = data;
    snprintf(recipe->what, sizeof recipe->what, "context");
    const char *failure = openssl_load();
    if (failure) {
        recipe_fail(recipe, "NO_LIBRARY", failure);
        return;
    }
    ossl.ERR_clear_error();
    recipe->context->ssl = ossl.SSL_CTX_new(ossl.TLS_method());
    if (!recipe->context->ssl || !use_defaults(recipe)) {
        recipe_fail_openssl(recipe);
        return;
    }
    if (!use_trust(recipe) || !recipe->cert) return;
    const char *key = recipe->key ? recipe->key : recipe->cert;
    recipe->context->serves = use_source(recipe, "cert", recipe->cert, use_cert) &&
                              use_source(recipe, "key", key, use_key);
}

static int recipe_done(lua_State *L, void *data) {
    struct recipe *recipe = data;
    struct context_box *box = object_check(L, 2, &context_type);
    if (recipe->is_failed) return tls_failure_raise(L, &recipe->failure, recipe->what);
    box->context = tls_context_hold(recipe->context);
    lua_settop(L, 2);
    return 1;
}

/* ---- the options ----------------------------------------------------------------------------- */

/* The option `name`, whose value is on top of the stack, is not what it has to be. */
static void option_error(lua_State *L, const char *name, const char *expected) {
    luaL_argerror(L, 1,
                  lua_pushfstring(L, "option '%s': %s expected, got %s", name, expected,
                                  luaL_typename(L, -1)));
}

/* Pushes a text, or nil. */
static const char *check_text(lua_State *L, const char *name) {
    const char *text = args_option_string(L, 1, name, NULL);
    if (text && strlen(text) != lua_rawlen(L, -1))
        luaL_argerror(L, 1, lua_pushfstring(L, "option '%s' contains a zero byte", name));
    return text;
}

static int check_choice(lua_State *L, const char *name, const char *const *names) {
    const char *text = check_text(L, name);
    int choice = 0;
    if (!text) return -1;
    for (; names[choice]; choice++)
        if (strcmp(text, names[choice]) == 0) return choice;
    return luaL_argerror(L, 1,
                         lua_pushfstring(L, "option '%s': '%s' or '%s' expected, got '%s'", name,
                                         names[0], names[1], text));
}

/* Pushes an option, or nil. */
static void push_option(lua_State *L, const char *name) {
    if (lua_istable(L, 1))
        lua_getfield(L, 1, name);
    else
        lua_pushnil(L);
}

/* The bytes that the protocols of option `alpn`, on top of the stack, take on the wire. */
static size_t check_protocols(lua_State *L) {
    size_t size = 0;
    if (lua_isnil(L, -1)) return 0;
    if (!lua_istable(L, -1)) option_error(L, "alpn", "array of protocol names");
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    luaL_argcheck(L, count > 0, 1, "option 'alpn': array of protocol names expected, it is empty");
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TSTRING) option_error(L, "alpn", "names of protocols");
        size_t length = lua_rawlen(L, -1);
        luaL_argcheck(L, length > 0 && length <= PROTOCOL_MAX, 1,
                      "option 'alpn': names of 1 to 255 bytes expected");
        size += 1 + length;
        lua_pop(L, 1);
    }
    luaL_argcheck(L, size <= PROTOCOLS_MAX, 1, "option 'alpn': too many protocols");
    return size;
}

/* How many names option `sni`, on top of the stack, has. */
static size_t check_names(lua_State *L) {
    size_t count = 0;
    if (lua_isnil(L, -1)) return 0;
    if (!lua_istable(L, -1)) option_error(L, "sni", "table of names and Contexts");
    for (lua_pushnil(L); lua_next(L, -2); count++) {
        struct context_box *box = lua_touserdata(L, -1);
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pop(L, 1);
            option_error(L, "sni", "host names as keys");
        }
        if (!box || lua_rawlen(L, -1) != sizeof *box || box->type != &context_type)
            option_error(L, "sni", "Contexts as values");
        luaL_argcheck(L, box->context && box->context->serves, 1,
                      "option 'sni': a Context without 'cert' cannot serve");
        lua_pop(L, 1);
    }
    luaL_argcheck(L, count <= NAMES_MAX, 1, "option 'sni': too many names");
    return count;
}

/* The rest raises nothing: what it cannot get is told by false. */

static bool copy_text(char **copy, const char *text) {
    if (!text) return true;
    *copy = strdup(text);
    return *copy != NULL;
}

static bool copy_protocols(lua_State *L, int index, struct tls_context *context, size_t size) {
    if (size == 0) return true;
    unsigned char *at = context->protocols = malloc(size);
    if (!at) return false;
    context->protocols_size = (unsigned)size;
    for (lua_Integer i = 1; at < context->protocols + size; i++) {
        lua_rawgeti(L, index, i);
        size_t length = lua_rawlen(L, -1);
        *at = (unsigned char)length;
        memcpy(at + 1, lua_tostring(L, -1), length);
        at += 1 + length;
        lua_pop(L, 1);
    }
    return true;
}

static bool copy_names(lua_State *L, int index, struct tls_context *context, size_t count) {
    if (count == 0) return true;
    context->names = calloc(count, sizeof *context->names);
    if (!context->names) return false;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        struct context_box *box = lua_touserdata(L, -1);
        struct tls_name *at = &context->names[context->name_count];
        at->name = strdup(lua_tostring(L, -2));
        if (!at->name) return false;
        at->context = tls_context_hold(box->context);
        context->name_count++;
    }
    return true;
}

static struct recipe *recipe_new(void) {
    struct recipe *recipe = calloc(1, sizeof *recipe);
    if (!recipe) return NULL;
    recipe->context = calloc(1, sizeof *recipe->context);
    if (!recipe->context) {
        free(recipe);
        return NULL;
    }
    recipe->context->references = 1;
    return recipe;
}

int tls_context_new(lua_State *L) {
    static const char *const known[] = {"ca",          "cert", "key",         "password", "verify",
                                        "client_cert", "alpn", "min_version", "sni",      NULL};
    static const char *const versions[] = {"1.2", "1.3", NULL};
    static const char *const asking[] = {"request", "require", NULL};
    static const enum tls_client_cert modes[] = {CLIENT_CERT_NONE, CLIENT_CERT_REQUEST,
                                                 CLIENT_CERT_REQUIRE};
    args_options(L, 1, known);
    lua_settop(L, 1);
    const char *ca = check_text(L, "ca"), *cert = check_text(L, "cert"),
               *key = check_text(L, "key");
    const char *password = check_text(L, "password");
    bool verify = args_option_boolean(L, 1, "verify", true);
    int version = check_choice(L, "min_version", versions);
    int asks = check_choice(L, "client_cert", asking);
    luaL_argcheck(L, cert || !key, 1, "option 'key' needs 'cert'");
    luaL_argcheck(L, ca || asks < 0, 1,
                  "option 'client_cert' needs 'ca': who signs certificates of clients");
    lilac_checkpoint(L);
    object_new(L, &context_type, "lilac.Context", 0); /* recipe_done fills it */
    lua_insert(L, 2);
    push_option(L, "alpn");
    push_option(L, "sni");
    int names = lua_gettop(L), protocols = names - 1;
    luaL_checkstack(L, 5, NULL);
    /* No Lua code runs from here on: what is copied must be as it was checked. */
    size_t name_count = check_names(L);
    lua_pushvalue(L, protocols);
    size_t protocols_size = check_protocols(L);
    struct recipe *recipe = recipe_new();
    if (!recipe) return luaL_error(L, "context: not enough memory");
    recipe->min_version = version == 1 ? TLS1_3_VERSION : TLS1_2_VERSION;
    recipe->context->verify = verify;
    recipe->context->client_cert = modes[asks + 1];
    if (!copy_text(&recipe->ca, ca) || !copy_text(&recipe->cert, cert) ||
        !copy_text(&recipe->key, key) || !copy_text(&recipe->password, password) ||
        !copy_protocols(L, protocols, recipe->context, protocols_size) ||
        !copy_names(L, names, recipe->context, name_count)) {
        recipe_release(recipe);
        return luaL_error(L, "context: not enough memory");
    }
    return lilac_work(L, recipe_follow, recipe_done, recipe, recipe_release);
}

static int context_serves(lua_State *L) {
    lua_pushboolean(L, tls_context_check(L, 1)->serves);
    return 1;
}

static int context_tostring(lua_State *L) {
    struct context_box *box = object_check(L, 1, &context_type);
    const struct tls_context *context = box->context;
    lua_pushstring(L, !context          ? "not made"
                      : context->serves ? "with a certificate"
                                        : "for clients");
    return object_tostring(L);
}

static int context_gc(lua_State *L) {
    struct context_box *box = object_check(L, 1, &context_type);
    if (box->context) tls_context_drop(box->context);
    box->context = NULL;
    return 0;
}

void tls_context_prepare(lua_State *L) {
    static const luaL_Reg methods[] = {{"serves", context_serves}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", context_tostring}, {"__gc", context_gc}, {NULL, NULL}};
    object_class(L, "lilac.Context", methods, meta);
}
