/* The limit of echo: a raw libuv server. What is read is written at once. */
#include <stdio.h>

#include "../stream.h"

static void on_close(uv_handle_t *handle) {
    free(handle);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
    if (nread < 0) uv_close((uv_handle_t *)stream, on_close);
    if (nread > 0) stream_send(stream, buffer->base, (size_t)nread);
}

union handle {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

static void handle_init(union handle *handle, uv_loop_t *loop, int is_tcp) {
    if (is_tcp)
        uv_tcp_init(loop, &handle->tcp);
    else
        uv_pipe_init(loop, &handle->pipe, 0);
}

static void on_connection(uv_stream_t *server, int status) {
    union handle *client = malloc(sizeof *client);
    handle_init(client, server->loop, server->type == UV_TCP);
    if (status == 0 && uv_accept(server, &client->stream) == 0)
        uv_read_start(&client->stream, on_alloc, on_read);
    else
        uv_close((uv_handle_t *)client, on_close);
}

static int tcp_bind(union handle *server) {
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    return uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0);
}

static int tcp_port(union handle *server) {
    struct sockaddr_in address;
    int size = sizeof address;
    uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

/* With an argument, over the Unix socket of that path. */
int main(int argc, char **argv) {
    int is_tcp = argc < 2;
    union handle server;
    handle_init(&server, uv_default_loop(), is_tcp);
    int status = is_tcp ? tcp_bind(&server) : uv_pipe_bind(&server.pipe, argv[1]);
    if (status != 0 || uv_listen(&server.stream, 128, on_connection) != 0) return 1;
    if (is_tcp)
        printf("%d\n", tcp_port(&server));
    else
        puts(argv[1]);
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
