/*
 * OpenSSL, loaded at its first use: to relocate and initialise libcrypto takes longer than lilac
 * takes to start, and most programs have no use for it. So no function of it is called by its own
 * name; all are members of `ossl`, which openssl_load() fills from the shared library.
 */
#ifndef LILAC_OPENSSL_H
#define LILAC_OPENSSL_H

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#if OPENSSL_VERSION_MAJOR < 3
#error "lilac needs OpenSSL 3"
#endif

#define OPENSSL_FUNCTIONS(X)                                                                       \
    X(BIO_clear_flags)                                                                             \
    X(BIO_ctrl)                                                                                    \
    X(BIO_free)                                                                                    \
    X(BIO_get_data)                                                                                \
    X(BIO_get_new_index)                                                                           \
    X(BIO_meth_new)                                                                                \
    X(BIO_meth_set_ctrl)                                                                           \
    X(BIO_meth_set_read)                                                                           \
    X(BIO_meth_set_write)                                                                          \
    X(BIO_new)                                                                                     \
    X(BIO_new_mem_buf)                                                                             \
    X(BIO_read)                                                                                    \
    X(BIO_s_mem)                                                                                   \
    X(BIO_set_data)                                                                                \
    X(BIO_set_flags)                                                                               \
    X(BIO_set_init)                                                                                \
    X(ERR_clear_error)                                                                             \
    X(ERR_get_error)                                                                               \
    X(ERR_peek_last_error)                                                                         \
    X(ERR_reason_error_string)                                                                     \
    X(EVP_PKEY_free)                                                                               \
    X(PEM_read_bio_PrivateKey)                                                                     \
    X(PEM_read_bio_X509)                                                                           \
    X(PEM_read_bio_X509_AUX)                                                                       \
    X(SSL_CIPHER_get_name)                                                                         \
    X(SSL_CTX_add_client_CA)                                                                       \
    X(SSL_CTX_callback_ctrl)                                                                       \
    X(SSL_CTX_check_private_key)                                                                   \
    X(SSL_CTX_ctrl)                                                                                \
    X(SSL_CTX_free)                                                                                \
    X(SSL_CTX_get0_param)                                                                          \
    X(SSL_CTX_get_cert_store)                                                                      \
    X(SSL_CTX_new)                                                                                 \
    X(SSL_CTX_sess_set_new_cb)                                                                     \
    X(SSL_CTX_set1_cert_store)                                                                     \
    X(SSL_CTX_set_alpn_protos)                                                                     \
    X(SSL_CTX_set_alpn_select_cb)                                                                  \
    X(SSL_CTX_set_default_verify_dir)                                                              \
    X(SSL_CTX_set_default_verify_file)                                                             \
    X(SSL_CTX_set_options)                                                                         \
    X(SSL_CTX_set_session_id_context)                                                              \
    X(SSL_CTX_use_PrivateKey)                                                                      \
    X(SSL_CTX_use_certificate)                                                                     \
    X(SSL_SESSION_free)                                                                            \
    X(SSL_SESSION_is_resumable)                                                                    \
    X(SSL_ctrl)                                                                                    \
    X(SSL_do_handshake)                                                                            \
    X(SSL_free)                                                                                    \
    X(SSL_get0_alpn_selected)                                                                      \
    X(SSL_get0_param)                                                                              \
    X(SSL_get1_peer_certificate)                                                                   \
    X(SSL_get_current_cipher)                                                                      \
    X(SSL_get_error)                                                                               \
    X(SSL_get_ex_data)                                                                             \
    X(SSL_get_ex_data_X509_STORE_CTX_idx)                                                          \
    X(SSL_get_servername)                                                                          \
    X(SSL_get_verify_result)                                                                       \
    X(SSL_get_version)                                                                             \
    X(SSL_is_server)                                                                               \
    X(SSL_new)                                                                                     \
    X(SSL_pending)                                                                                 \
    X(SSL_read)                                                                                    \
    X(SSL_select_next_proto)                                                                       \
    X(SSL_session_reused)                                                                          \
    X(SSL_set_SSL_CTX)                                                                             \
    X(SSL_set_accept_state)                                                                        \
    X(SSL_set_bio)                                                                                 \
    X(SSL_set_connect_state)                                                                       \
    X(SSL_set_ex_data)                                                                             \
    X(SSL_set_session)                                                                             \
    X(SSL_set_verify)                                                                              \
    X(SSL_shutdown)                                                                                \
    X(SSL_version)                                                                                 \
    X(SSL_write)                                                                                   \
    X(TLS_method)                                                                                  \
    X(X509_NAME_print_ex)                                                                          \
    X(X509_STORE_CTX_get_current_cert)                                                             \
    X(X509_STORE_CTX_get_error)                                                                    \
    X(X509_STORE_CTX_get_ex_data)                                                                  \
    X(X509_STORE_add_cert)                                                                         \
    X(X509_STORE_up_ref)                                                                           \
    X(X509_VERIFY_PARAM_set1_host)                                                                 \
    X(X509_VERIFY_PARAM_set1_ip_asc)                                                               \
    X(X509_VERIFY_PARAM_set_hostflags)                                                             \
    X(X509_free)                                                                                   \
    X(X509_get_issuer_name)                                                                        \
    X(X509_get_subject_name)                                                                       \
    X(X509_verify_cert_error_string)

#define OPENSSL_MEMBER(name) __typeof__(name) *name;

extern struct openssl { OPENSSL_FUNCTIONS(OPENSSL_MEMBER) } ossl;

/* Loads the library, once for the process. NULL, or why it could not be. Any thread. */
const char *openssl_load(void);

#endif
