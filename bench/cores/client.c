/* Measures what a server on several cores can do: client COUNT KIND COMMAND… starts the command,
 * which prints its port, sends COUNT lines over many connections, a batch in flight on each, and
 * prints the wall time per line. Both have the same cores, so it does as little as it can: it knows
 * how long the answer to a batch is, and sleeps while the server has enough to do, for
 * milliseconds; nobody has to wake it. What of a core it takes nevertheless it prints, too. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 32, BATCH = 512, LINE = 24, ANSWER_MAX = 64, PAUSE_NS = 4000000 };

struct connection {
    int fd;
    size_t awaited; /* bytes of the answer to a batch that have not come yet */
};

static struct connection connections[CONNECTIONS];
static char batch[BATCH * LINE], inbox[BATCH * ANSWER_MAX];
static size_t batch_size, answer_size;
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

static double cpu_ns(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

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
    int port = server_start(argv + 3);
    for (int i = 0; i < CONNECTIONS; i++)
        connect_to(&connections[i], port);
    learn(&connections[0]);
    double start_ns = now_ns(), start_cpu_ns = cpu_ns();
    drive(batches);
    double wall_ns = now_ns() - start_ns;
    printf("ns %f\n", wall_ns / (double)(batches * BATCH));
    printf("percent %f\n", (cpu_ns() - start_cpu_ns) / wall_ns * 100);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return 0;
}
