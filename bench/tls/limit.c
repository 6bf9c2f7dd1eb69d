/* The limit of echo in TLS: OpenSSL between two memory BIOs, over raw libuv. What is read is
 * written at once. */
#include <stdbool.h>
#include <stdio.h>

#include <openssl/ssl.h>

#include "../stream.h"

struct connection {
    uv_tcp_t tcp;
    SSL *ssl;
    BIO *in, *out;
};

static char plain[65536];
static SSL_CTX *context;

static void on_close(uv_handle_t *handle) {
    struct connection *connection = (struct connection *)handle;
    SSL_free(connection->ssl);
    free(connection);
}

/* Sends what OpenSSL has written. */
static void flush(struct connection *connection) {
    char *bytes;
    long size = BIO_get_mem_data(connection->out, &bytes);
    if (size <= 0) return;
    stream_send((uv_stream_t *)&connection->tcp, bytes, (size_t)size);
    (void)BIO_reset(connection->out);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
    struct connection *connection = (struct connection *)stream;
    int n = 0;
    if (nread > 0) {
        BIO_write(connection->in, buffer->base, (int)nread);
        while ((n = SSL_read(connection->ssl, plain, sizeof plain)) > 0)
            SSL_write(connection->ssl, plain, n);
    }
    bool is_over =
        nread < 0 || (n <= 0 && SSL_get_error(connection->ssl, n) != SSL_ERROR_WANT_READ);
    if (is_over && SSL_is_init_finished(connection->ssl)) SSL_shutdown(connection->ssl);
    flush(connection);
    if (is_over && !uv_is_closing((uv_handle_t *)stream)) uv_close((uv_handle_t *)stream, on_close);
}

static void on_connection(uv_stream_t *server, int status) {
    struct connection *connection = malloc(sizeof *connection);
    connection->ssl = SSL_new(context);
    connection->in = BIO_new(BIO_s_mem());
    connection->out = BIO_new(BIO_s_mem());
    SSL_set_bio(connection->ssl, connection->in, connection->out);
    SSL_set_accept_state(connection->ssl);
    uv_tcp_init(server->loop, &connection->tcp);
    if (status == 0 && uv_accept(server, (uv_stream_t *)&connection->tcp) == 0)
        uv_tcp_nodelay(&connection->tcp, 1),
            uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read);
    else
        uv_close((uv_handle_t *)&connection->tcp, on_close);
}

int main(int argc, char **argv) {
    uv_tcp_t server;
    struct sockaddr_in address;
    int size = sizeof address;
    context = SSL_CTX_new(TLS_server_method());
    const char *certificate = argc > 1 ? argv[1] : "";
    if (SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, certificate, SSL_FILETYPE_PEM) != 1)
        return fprintf(stderr, "usage: %s certificate\n", argv[0]), 2;
    uv_tcp_init(uv_default_loop(), &server);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&server, (struct sockaddr *)&address, 0);
    if (uv_listen((uv_stream_t *)&server, 128, on_connection) != 0) return 1;
    uv_tcp_getsockname(&server, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
