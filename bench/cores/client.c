/* Measures what a server on several cores can do: client COUNT KIND COMMAND… starts the command,
 * which prints its port, sends COUNT lines over many connections, a batch in flight on each, and
 * prints the wall time per line. In batches of hundreds of lines, its own load is a few percent of
 * the server's: both have the same cores. */
#include <sys/epoll.h>

#include "../drive.h"

enum { CONNECTIONS = 32, BATCH = 256, LINE = 24, ANSWER_MAX = 64 };

struct connection {
    int fd;
    int answers; /* of the batch that have not come yet */
};

static struct connection connections[CONNECTIONS];
static char batch[BATCH * LINE], inbox[BATCH * ANSWER_MAX];
static size_t batch_size;

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
    struct sockaddr_in address = address_of_port(server_start(argv + 3, ANY_CORE));
    int poll = epoll_create1(0);
    check(poll >= 0, "epoll_create1");
    for (int i = 0; i < CONNECTIONS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = socket_connect((struct sockaddr *)&address, sizeof address);
        check(epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event) == 0, "epoll_ctl");
    }
    double start = clock_seconds(CLOCK_MONOTONIC);
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
    double seconds = clock_seconds(CLOCK_MONOTONIC) - start;
    printf("ns %f\n", seconds * 1e9 / (double)(batches * BATCH));
    server_end();
    return 0;
}
