/* The limit of connect: the same over raw libuv. */
#include <string.h>

#include <uv.h>

#include "../limit.h"

enum { CLIENTS = 50 };

static char inbox[65536];
static struct sockaddr_in address;
static long to_begin, to_end;

struct client {
    uv_tcp_t tcp;
    uv_connect_t request;
};

static void on_accepted_close(uv_handle_t *handle) {
    free(handle);
}

static void on_connection(uv_stream_t *server, int status) {
    uv_tcp_t *peer = malloc(sizeof *peer);
    uv_tcp_init(server->loop, peer);
    if (status != 0 || uv_accept(server, (uv_stream_t *)peer) != 0) exit(1);
    uv_tcp_nodelay(peer, 1);
    uv_close((uv_handle_t *)peer, on_accepted_close);
}

static void client_begin(void);

static void on_client_close(uv_handle_t *handle) {
    free(handle);
    if (--to_end == 0) uv_stop(uv_default_loop());
    client_begin();
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(inbox, sizeof inbox);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
    (void)buffer;
    if (nread == UV_EOF)
        uv_close((uv_handle_t *)stream, on_client_close);
    else if (nread != 0)
        exit(1);
}

static void on_connect(uv_connect_t *request, int status) {
    if (status != 0) exit(1);
    uv_read_start(request->handle, on_alloc, on_read);
}

static void client_begin(void) {
    if (to_begin-- <= 0) return;
    struct client *client = malloc(sizeof *client);
    uv_tcp_init_ex(uv_default_loop(), &client->tcp, AF_INET);
    uv_tcp_nodelay(&client->tcp, 1);
    uv_tcp_connect(&client->request, &client->tcp, (struct sockaddr *)&address, on_connect);
}

int main(int argc, char **argv) {
    uv_tcp_t server;
    int length = sizeof address;
    long count = limit_count(argc, argv);
    double start = cpu_seconds();
    uv_tcp_init(uv_default_loop(), &server);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&server, (struct sockaddr *)&address, 0);
    if (uv_listen((uv_stream_t *)&server, 1024, on_connection) != 0) return 1;
    uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length);
    to_begin = to_end = count;
    for (int i = 0; i < CLIENTS; i++)
        client_begin();
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("us %.3f\n", (cpu_seconds() - start) / (double)count * 1e6);
    return 0;
}
