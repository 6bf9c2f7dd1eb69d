#include "tls_error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "../core/error.h"

/* The codes of what is most often wrong with a certificate; OpenSSL has no function for them. */
static const struct {
    int result;
    const char *code;
} verify_codes[] = {
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "UNABLE_TO_GET_ISSUER_CERT"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "DEPTH_ZERO_SELF_SIGNED_CERT"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "SELF_SIGNED_CERT_IN_CHAIN"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "CERT_SIGNATURE_FAILURE"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "CERT_NOT_YET_VALID"},
    {X509_V_ERR_CERT_HAS_EXPIRED, "CERT_HAS_EXPIRED"},
    {X509_V_ERR_CERT_REVOKED, "CERT_REVOKED"},
    {X509_V_ERR_CERT_CHAIN_TOO_LONG, "CERT_CHAIN_TOO_LONG"},
    {X509_V_ERR_INVALID_CA, "INVALID_CA"},
    {X509_V_ERR_INVALID_PURPOSE, "INVALID_PURPOSE"},
    {X509_V_ERR_HOSTNAME_MISMATCH, "HOSTNAME_MISMATCH"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, "IP_ADDRESS_MISMATCH"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, "EE_KEY_TOO_SMALL"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, "CA_KEY_TOO_SMALL"},
};

static const char *verify_code(int result) {
    for (size_t i = 0; i < sizeof verify_codes / sizeof *verify_codes; i++)
        if (verify_codes[i].result == result) return verify_codes[i].code;
    return "CERTIFICATE_VERIFY_FAILED";
}

void tls_name_text(const X509_NAME *name, char *text, size_t size) {
    BIO *bio = ossl.BIO_new(ossl.BIO_s_mem());
    int length = 0;
    if (bio && ossl.X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        length = ossl.BIO_read(bio, text, (int)size - 1);
    text[length > 0 ? length : 0] = '\0';
    if (bio) ossl.BIO_free(bio);
}

void tls_failure_system(struct tls_failure *failure, int status) {
    failure->status = status;
}

void tls_failure_own(struct tls_failure *failure, const char *code, const char *reason) {
    failure->status = 0;
    snprintf(failure->code, sizeof failure->code, "%s", code);
    snprintf(failure->reason, sizeof failure->reason, "%s", reason);
}

/* "wrong version number" → "WRONG_VERSION_NUMBER" */
static void code_of_reason(char *code, size_t size, const char *reason) {
    size_t i = 0;
    for (; reason[i] && i + 1 < size; i++)
        code[i] = isalnum((unsigned char)reason[i]) ? (char)toupper((unsigned char)reason[i]) : '_';
    code[i] = '\0';
}

static void failure_set(struct tls_failure *failure, unsigned long error) {
    const char *reason = error ? ossl.ERR_reason_error_string(error) : NULL;
    if (!reason) reason = "unknown error";
    failure->status = 0;
    code_of_reason(failure->code, sizeof failure->code, reason);
    /* "tlsv13 alert certificate required": what the peer has told before it closed. */
    const char *alert = strstr(reason, " alert ");
    snprintf(failure->reason, sizeof failure->reason, "%s%s", alert ? "the peer says: " : "",
             alert ? alert + strlen(" alert ") : reason);
}

static bool is_about_name(int result) {
    return result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;
}

static bool is_about_trust(int result) {
    return result == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           result == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
           result == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
}

void tls_failure_certificate(struct tls_failure *failure, X509_STORE_CTX *chain) {
    int result = ossl.X509_STORE_CTX_get_error(chain);
    X509 *certificate = ossl.X509_STORE_CTX_get_current_cert(chain);
    const char *what = "";
    char name[192] = "";
    if (certificate && is_about_name(result)) {
        what = ": the certificate is that of ";
        tls_name_text(ossl.X509_get_subject_name(certificate), name, sizeof name);
    } else if (certificate && is_about_trust(result)) {
        what = ": nothing here trusts its issuer, ";
        tls_name_text(ossl.X509_get_issuer_name(certificate), name, sizeof name);
    }
    failure->status = 0;
    snprintf(failure->code, sizeof failure->code, "%s", verify_code(result));
    snprintf(failure->reason, sizeof failure->reason, "%s%s%s",
             ossl.X509_verify_cert_error_string(result), what, name);
}

void tls_failure_queue(struct tls_failure *failure) {
    unsigned long error = ossl.ERR_get_error();
    ossl.ERR_clear_error();
    bool is_verdict = ERR_GET_LIB(error) == ERR_LIB_SSL &&
                      ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    if (!is_verdict || !*failure->code) failure_set(failure, error);
}

int tls_failure_raise(lua_State *L, const struct tls_failure *failure, const char *what) {
    if (failure->status != 0) return lilac_raise(L, failure->status, "%s", what);
    lua_pushfstring(L, "%s: %s (%s)", what, failure->reason, failure->code);
    error_new(L, "TLSError");
    lua_pushstring(L, failure->code);
    error_set_field(L, -2, "code");
    lua_pushstring(L, failure->reason);
    error_set_field(L, -2, "reason");
    error_add_traceback(L, -1, 1);
    return lua_error(L);
}
