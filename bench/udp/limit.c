/* The limit of udp: the same over raw libuv. What is received is sent from where it lies. */
#include <string.h>

#include <uv.h>

#include "../limit.h"

enum { CLIENTS = 50 };

static char inbox[65536], message[65536];
static unsigned size;
static long to_ask, to_hear;

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(inbox, sizeof inbox);
}

static void send_now(uv_udp_t *socket, char *bytes, unsigned count, const struct sockaddr *to) {
    uv_buf_t buffer = uv_buf_init(bytes, count);
    if (uv_udp_try_send(socket, &buffer, 1, to) != (int)count) exit(1);
}

static void on_question(uv_udp_t *socket, ssize_t nread, const uv_buf_t *buffer,
                        const struct sockaddr *from, unsigned flags) {
    (void)flags;
    if (nread < 0) exit(1);
    if (from) send_now(socket, buffer->base, (unsigned)nread, from);
}

static void on_answer(uv_udp_t *socket, ssize_t nread, const uv_buf_t *buffer,
                      const struct sockaddr *from, unsigned flags) {
    (void)buffer, (void)flags;
    if (!from) return;
    if (nread != (ssize_t)size) exit(1);
    if (--to_hear == 0) uv_stop(socket->loop);
    if (to_ask-- > 0) send_now(socket, message, size, NULL);
}

static void open_at(uv_udp_t *socket, struct sockaddr_in *address) {
    int length = sizeof *address;
    uv_udp_init(uv_default_loop(), socket);
    uv_ip4_addr("127.0.0.1", 0, address);
    uv_udp_bind(socket, (struct sockaddr *)address, 0);
    uv_udp_getsockname(socket, (struct sockaddr *)address, &length);
}

int main(int argc, char **argv) {
    static uv_udp_t server, clients[CLIENTS];
    struct sockaddr_in address, ignored;
    long count = limit_count(argc, argv);
    size = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 64;
    double start = cpu_seconds();
    open_at(&server, &address);
    uv_udp_recv_start(&server, on_alloc, on_question);
    to_hear = count;
    to_ask = count - CLIENTS;
    for (int i = 0; i < CLIENTS; i++) {
        open_at(&clients[i], &ignored);
        uv_udp_connect(&clients[i], (struct sockaddr *)&address);
        uv_udp_recv_start(&clients[i], on_alloc, on_answer);
        send_now(&clients[i], message, size, NULL);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("us %.3f\n", (cpu_seconds() - start) / (double)count * 1e6);
    return 0;
}
