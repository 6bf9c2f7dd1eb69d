/* Measures what a server on several cores can do: client COUNT KIND COMMAND… starts the command,
 * which prints its port, sends COUNT lines over many connections, a batch in flight on each, and
 * prints the wall time per line. In batches of hundreds of lines, its own load is a few percent of
 * the server's: both have the same cores. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 32, BATCH = 256, LINE = 24, ANSWER_MAX = 64 };

struct connection {
    int fd;
    int answers; /* of the batch that have not come yet */
};

static struct connection connections[CONNECTIONS];
static char batch[BATCH * LINE], inbox[BATCH * ANSWER_MAX];
static size_t batch_size;
static pid_t server;

static void check(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    if (server > 0) kill(server, SIGKILL);
    exit(1);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Starts the server; returns its port. */
static int server_start(char **command) {
    int ends[2], port = 0;
    check(pipe(ends) == 0, "pipe");
    server = fork();
    check(server >= 0, "fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        execvp(command[0], command);
        _exit(127);
    }
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    check(output && fscanf(output, "%d", &port) == 1, "the server's port");
    return port;
}

static void connect_to(struct connection *connection, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    check(connection->fd >= 0, "socket");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check(connect(connection->fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
}

static void send_batch(struct connection *connection) {
    connection->answers = BATCH;
    check(write(connection->fd, batch, batch_size) == (ssize_t)batch_size, "write");
}

/* Whether the batch is answered. */
static bool receive(struct connection *connection) {
    ssize_t size = read(connection->fd, inbox, sizeof inbox);
    check(size > 0, "read");
    for (char *at = inbox; (at = memchr(at, '\n', (size_t)(inbox + size - at))); at++)
        connection->answers--;
    return connection->answers == 0;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long batches = strtol(argv[1], NULL, 10) / BATCH, sent = 0, received = 0;
    for (int i = 0; i < BATCH; i++)
        batch_size += (size_t)snprintf(batch + batch_size, LINE, "GET /name%d\n", i);
    int port = server_start(argv + 3), poll = epoll_create1(0);
    check(poll >= 0, "epoll_create1");
    for (int i = 0; i < CONNECTIONS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connect_to(&connections[i], port);
        check(epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event) == 0, "epoll_ctl");
    }
    double start_ns = now_ns();
    for (int i = 0; i < CONNECTIONS; i++, sent++)
        send_batch(&connections[i]);
    while (received < batches) {
        struct epoll_event events[CONNECTIONS];
        int count = epoll_wait(poll, events, CONNECTIONS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!receive(connection)) continue;
            received++;
            if (sent++ < batches) send_batch(connection);
        }
    }
    printf("ns %f\n", (now_ns() - start_ns) / (double)(batches * BATCH));
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return 0;
}
