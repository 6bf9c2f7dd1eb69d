/* The limit of echo: a raw libuv server. One read buffer for all connections; what is read is
 * written at once, and only what the socket does not take is copied. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

struct rest {
    uv_write_t request;
    char bytes[];
};

static char inbox[65536];

static void on_close(uv_handle_t *handle) {
    free(handle);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(inbox, sizeof inbox);
}

static void on_write(uv_write_t *request, int status) {
    (void)status;
    free(request->data);
}

static void rest_write(uv_stream_t *stream, const char *bytes, size_t size) {
    struct rest *rest = malloc(sizeof *rest + size);
    memcpy(rest->bytes, bytes, size);
    rest->request.data = rest;
    uv_buf_t buffer = uv_buf_init(rest->bytes, (unsigned)size);
    if (uv_write(&rest->request, stream, &buffer, 1, on_write) != 0) free(rest);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
    if (nread < 0) uv_close((uv_handle_t *)stream, on_close);
    if (nread <= 0) return;
    uv_buf_t out = uv_buf_init(buffer->base, (unsigned)nread);
    int sent = uv_try_write(stream, &out, 1);
    if (sent < 0) sent = 0;
    if (sent < nread) rest_write(stream, out.base + sent, (size_t)(nread - sent));
}

static void on_connection(uv_stream_t *server, int status) {
    uv_tcp_t *client = malloc(sizeof *client);
    uv_tcp_init(server->loop, client);
    if (status == 0 && uv_accept(server, (uv_stream_t *)client) == 0)
        uv_read_start((uv_stream_t *)client, on_alloc, on_read);
    else
        uv_close((uv_handle_t *)client, on_close);
}

int main(void) {
    uv_tcp_t server;
    struct sockaddr_in address;
    int size = sizeof address;
    uv_tcp_init(uv_default_loop(), &server);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&server, (struct sockaddr *)&address, 0);
    if (uv_listen((uv_stream_t *)&server, 128, on_connection) != 0) return 1;
    uv_tcp_getsockname(&server, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
