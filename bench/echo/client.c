/* Measures an echo server: starts the command on the last core, drives it from the first over 50
 * connections, one message in flight on each, and prints the server's CPU time per message. Over
 * "tcp" the server prints its port; else the address is the path of a Unix socket, which it is
 * given as its argument, and prints too. The load ends after `messages`, or after SECONDS for a
 * slow server. */
#include <sys/un.h>

#include "../echo.h"

static struct connection {
    int fd;
    size_t echoed;
} connections[CONNECTIONS];

static union {
    struct sockaddr any;
    struct sockaddr_in tcp;
    struct sockaddr_un local;
} address;
static socklen_t address_size;

static void tcp_server_start(char **command) {
    address.tcp = address_of_port(server_start(command, last_core()));
    address_size = sizeof address.tcp;
}

/* In place of its address, the command gets the path as its last word. */
static void unix_server_start(char **words, int count, char *path) {
    unlink(path);
    address.local.sun_family = AF_UNIX;
    snprintf(address.local.sun_path, sizeof address.local.sun_path, "%s", path);
    address_size = sizeof address.local;
    server_start(command_with(words, count, path), last_core());
}

static void connection_send(unsigned number) {
    struct connection *connection = &connections[number];
    connection->echoed = 0;
    check(send(connection->fd, message, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
}

/* Reads what is there. */
static bool connection_read(unsigned number) {
    struct connection *connection = &connections[number];
    ssize_t n = recv(connection->fd, inbox, size - connection->echoed, MSG_DONTWAIT);
    check(n > 0 && memcmp(inbox, message + connection->echoed, (size_t)n) == 0, "the echo");
    connection->echoed += (size_t)n;
    return connection->echoed == size;
}

static long load(int poll, long count) {
    return messages_echo(poll, count, connection_send, connection_read);
}

int main(int argc, char **argv) {
    if (argc < 5)
        return fprintf(stderr, "usage: %s messages size tcp|path command...\n", argv[0]), 2;
    long count = strtol(argv[1], NULL, 10);
    message_make(argv[2]);
    check(size > 0, "size");
    char *path = strcmp(argv[3], "tcp") == 0 ? NULL : argv[3];
    if (path)
        unix_server_start(argv + 3, argc - 3, path);
    else
        tcp_server_start(argv + 4);
    core_pin(0);
    int poll = epoll_create1(0);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connections[i].fd = socket_connect(&address.any, address_size);
        connection_watch(poll, connections[i].fd, i);
    }
    load(poll, count / 3);
    double start = server_cpu();
    long echoed = load(poll, count);
    printf("us %.3f\n", (server_cpu() - start) / (double)echoed * 1e6);
    server_end();
    if (path) unlink(path);
    return 0;
}
