/* Measures what a server on several cores can do: client COUNT KIND COMMAND… starts the command,
 * which prints its port, sends COUNT lines over many connections, a batch in flight on each, and
 * prints the wall time per line. Both have the same cores, so it does as little as it can: it knows
 * how long the answer to a batch is, and sleeps while the server has enough to do, for
 * milliseconds; nobody has to wake it. What of a core it takes nevertheless it prints, too. */
#include <errno.h>

#include "../drive.h"

enum { CONNECTIONS = 32, BATCH = 2048, LINE = 24, ANSWER_MAX = 64, PAUSE_NS = 2000000 };

struct connection {
    int fd;
    size_t awaited; /* bytes of the answer to a batch that have not come yet */
};

static struct connection connections[CONNECTIONS];
static char batch[BATCH * LINE], inbox[BATCH * ANSWER_MAX];
static size_t batch_size, answer_size;

static void send_batch(struct connection *connection) {
    connection->awaited = answer_size;
    check(write(connection->fd, batch, batch_size) == (ssize_t)batch_size, "write");
}

/* Sends a first batch, and learns how long the answer is. */
static void learn(struct connection *connection) {
    int lines = 0;
    send_batch(connection);
    while (lines < BATCH) {
        ssize_t size = read(connection->fd, inbox, sizeof inbox);
        check(size > 0, "read");
        answer_size += (size_t)size;
        for (ssize_t i = 0; i < size; i++)
            lines += inbox[i] == '\n';
    }
}

/* Takes what has come, unseen; whether that was the rest of an answer. */
static bool receive(struct connection *connection) {
    ssize_t size = recv(connection->fd, NULL, sizeof inbox, MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EAGAIN) return false;
    check(size > 0 && (size_t)size <= connection->awaited, "recv");
    return (connection->awaited -= (size_t)size) == 0;
}

/* Keeps all connections busy until so many batches are answered. */
static void drive(long batches) {
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};
    long sent = CONNECTIONS, received = 0;
    for (int i = 0; i < CONNECTIONS; i++)
        send_batch(&connections[i]);
    while (received < batches) {
        nanosleep(&pause, NULL);
        for (int i = 0; i < CONNECTIONS; i++) {
            if (connections[i].awaited == 0 || !receive(&connections[i])) continue;
            received++;
            if (sent++ < batches) send_batch(&connections[i]);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long batches = strtol(argv[1], NULL, 10) / BATCH;
    for (int i = 0; i < BATCH; i++)
        batch_size += (size_t)snprintf(batch + batch_size, LINE, "GET /name%d\n", i);
    struct sockaddr_in address = address_of_port(server_start(argv + 3, ANY_CORE));
    for (int i = 0; i < CONNECTIONS; i++)
        connections[i].fd = socket_connect((struct sockaddr *)&address, sizeof address);
    learn(&connections[0]);
    double start = clock_seconds(CLOCK_MONOTONIC);
    double start_cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    drive(batches);
    double wall = clock_seconds(CLOCK_MONOTONIC) - start;
    double cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - start_cpu;
    printf("ns %f\n", wall * 1e9 / (double)(batches * BATCH));
    printf("percent %f\n", cpu / wall * 100);
    server_end();
    return 0;
}
