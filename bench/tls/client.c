/* Measures an echo server in TLS: starts the command, with a file of certificate and key as its
 * last word, on the last core, drives it from the first, and prints the server's CPU time per
 * message of 50 connections with one message in flight on each, or, where the size is 0, per
 * connection that is opened and closed. The server prints its port. */
#include "../echo.h"
#include "../tls.h"

static struct connection {
    int fd;
    SSL *ssl;
} connections[CONNECTIONS];

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

static void connection_send(unsigned number) {
    check(SSL_write(connections[number].ssl, message, (int)size) == (int)size, "SSL_write");
}

/* The socket blocks: once the first bytes have come, the others are on their way. */
static bool connection_read(unsigned number) {
    for (int n, echoed = 0; echoed < (int)size; echoed += n) {
        n = SSL_read(connections[number].ssl, inbox, (int)size - echoed);
        check(n > 0 && memcmp(inbox, message + echoed, (size_t)n) == 0, "the echo");
    }
    return true;
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
    for (unsigned i = 0; size > 0 && i < CONNECTIONS; i++) {
        connection_open(&connections[i]);
        connection_watch(poll, connections[i].fd, i);
    }
    return poll;
}

static long load(int poll, long count) {
    if (size == 0) return load_connections(count);
    return messages_echo(poll, count, connection_send, connection_read);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: %s messages size command...\n", argv[0]), 2;
    long count = strtol(argv[1], NULL, 10);
    message_make(argv[2]);
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
