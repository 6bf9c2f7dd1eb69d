/* Measures an echo server in TLS: starts the command, with a file of certificate and key as its
 * last word, on the last core, drives it from the first, and prints the server's CPU time per
 * message of 50 connections with one message in flight on each, or, where the size is 0, per
 * connection that is opened and closed. The server prints its port. */
#include <sys/epoll.h>

#include "../tls.h"

enum { CONNECTIONS = 50, SECONDS = 2, SIZE_MAX_BYTES = 65536 };

struct connection {
    int fd;
    SSL *ssl;
};

static struct connection connections[CONNECTIONS];
static char message[SIZE_MAX_BYTES], inbox[SIZE_MAX_BYTES];
static int size;
static SSL_CTX *context;
static struct sockaddr_in address;

static void connection_open(struct connection *connection) {
    connection->fd = socket_connect((struct sockaddr *)&address, sizeof address);
    connection->ssl = tls_connect(context, connection->fd);
}

static void connection_close(struct connection *connection) {
    SSL_shutdown(connection->ssl);
    shutdown(connection->fd, SHUT_WR);
    while (SSL_read(connection->ssl, inbox, sizeof inbox) > 0)
        continue;
    SSL_free(connection->ssl);
    close(connection->fd);
}

static void connection_send(struct connection *connection) {
    check(SSL_write(connection->ssl, message, size) == size, "SSL_write");
}

/* The socket blocks: once the first bytes have come, the others are on their way. */
static void connection_read(struct connection *connection) {
    for (int n, echoed = 0; echoed < size; echoed += n) {
        n = SSL_read(connection->ssl, inbox, size - echoed);
        check(n > 0 && memcmp(inbox, message + echoed, (size_t)n) == 0, "the echo");
    }
}

/* Returns when no message is in flight any more. */
static long load_messages(int poll, long count) {
    double end = clock_seconds(CLOCK_MONOTONIC) + SECONDS;
    long sent = CONNECTIONS, echoed = 0;
    for (int i = 0; i < CONNECTIONS; i++)
        connection_send(&connections[i]);
    while (echoed < sent) {
        struct epoll_event events[CONNECTIONS];
        int ready = epoll_wait(poll, events, CONNECTIONS, 1000);
        check(ready > 0, "epoll_wait");
        if (clock_seconds(CLOCK_MONOTONIC) >= end) count = 0;
        for (int i = 0; i < ready; i++) {
            connection_read(events[i].data.ptr);
            echoed++;
            if (sent >= count) continue;
            connection_send(events[i].data.ptr);
            sent++;
        }
    }
    return echoed;
}

static long load_connections(long count) {
    double end = clock_seconds(CLOCK_MONOTONIC) + SECONDS;
    long done = 0;
    for (; done < count && clock_seconds(CLOCK_MONOTONIC) < end; done++) {
        connection_open(&connections[0]);
        connection_close(&connections[0]);
    }
    return done;
}

static int connections_open(void) {
    int poll = epoll_create1(0);
    for (int i = 0; size > 0 && i < CONNECTIONS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connection_open(&connections[i]);
        check(epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event) == 0, "epoll_ctl");
    }
    return poll;
}

static long load(int poll, long count) {
    return size > 0 ? load_messages(poll, count) : load_connections(count);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: %s messages size command...\n", argv[0]), 2;
    long count = strtol(argv[1], NULL, 10);
    size = (int)strtol(argv[2], NULL, 10);
    check(size >= 0 && size <= SIZE_MAX_BYTES, "size");
    for (int i = 0; i < size; i++)
        message[i] = (char)(i * 31);
    context = client_context();
    certificate_make();
    char **command = command_with(argv + 2, argc - 2, certificate);
    address = address_of_port(server_start(command, last_core()));
    core_pin(0);
    int poll = connections_open();
    load(poll, count / 10);
    double start = server_cpu();
    long done = load(poll, count);
    printf("us %.3f\n", (server_cpu() - start) / (double)done * 1e6);
    server_end();
    return 0;
}
