/* Measures an echo server: starts the command on the last core, drives it from the first over 50
 * connections, one message in flight on each, and prints the server's CPU time per message. Over
 * "tcp" the server prints its port; else the address is the path of a Unix socket, which it is
 * given as its argument, and prints too. The load ends after `messages`, or after SECONDS for a
 * slow server. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 50, SECONDS = 2, SIZE_MAX_BYTES = 65536 };

struct connection {
    int fd;
    size_t echoed;
};

static struct connection connections[CONNECTIONS];
static char message[SIZE_MAX_BYTES], inbox[SIZE_MAX_BYTES];
static size_t size;
static pid_t server;

static union {
    struct sockaddr any;
    struct sockaddr_in tcp;
    struct sockaddr_un local;
} address;
static socklen_t address_size;

static void check(int ok, const char *what) {
    if (ok) return;
    perror(what);
    if (server > 0) kill(server, SIGKILL);
    exit(1);
}

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    check(clock_gettime(clock, &now) == 0, "clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void core_pin(long core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)core, &cores);
    check(sched_setaffinity(0, sizeof cores, &cores) == 0, "sched_setaffinity");
}

/* Starts the server; returns the first number that it prints, when that is ready. */
static int server_start(char **command) {
    int ends[2], first = 0;
    check(pipe(ends) == 0, "pipe");
    server = fork();
    check(server >= 0, "fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        core_pin(sysconf(_SC_NPROCESSORS_ONLN) - 1);
        dup2(ends[1], STDOUT_FILENO);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    check(output && fscanf(output, "%d", &first) != EOF, "what the server prints");
    return first;
}

static void tcp_server_start(char **command) {
    address.tcp.sin_family = AF_INET;
    address.tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.tcp.sin_port = htons((uint16_t)server_start(command));
    address_size = sizeof address.tcp;
}

/* In place of its address, the command gets the path as its last word. */
static void unix_server_start(char **words, int count, char *path) {
    memmove(words, words + 1, (size_t)(count - 1) * sizeof *words);
    words[count - 1] = path;
    unlink(path);
    address.local.sun_family = AF_UNIX;
    snprintf(address.local.sun_path, sizeof address.local.sun_path, "%s", path);
    address_size = sizeof address.local;
    server_start(words);
}

static void connection_open(struct connection *connection, int poll) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int on = 1;
    connection->fd = socket(address.any.sa_family, SOCK_STREAM, 0);
    check(connect(connection->fd, &address.any, address_size) == 0, "connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check(epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event) == 0, "epoll_ctl");
}

static void connection_send(struct connection *connection) {
    connection->echoed = 0;
    check(send(connection->fd, message, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
}

/* Reads what is there; true when the message has come back whole. */
static int connection_read(struct connection *connection) {
    ssize_t n = recv(connection->fd, inbox, size - connection->echoed, MSG_DONTWAIT);
    check(n > 0 && memcmp(inbox, message + connection->echoed, (size_t)n) == 0, "the echo");
    connection->echoed += (size_t)n;
    return connection->echoed == size;
}

/* Echoes `count` messages, or as many as SECONDS allow; returns their number. */
static long load(int poll, long count) {
    double end = clock_seconds(CLOCK_MONOTONIC) + SECONDS;
    long done = 0;
    while (done < count && clock_seconds(CLOCK_MONOTONIC) < end) {
        struct epoll_event events[CONNECTIONS];
        int ready = epoll_wait(poll, events, CONNECTIONS, 1000);
        check(ready > 0, "epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (!connection_read(events[i].data.ptr)) continue;
            connection_send(events[i].data.ptr);
            done++;
        }
    }
    return done;
}

int main(int argc, char **argv) {
    if (argc < 5)
        return fprintf(stderr, "usage: %s messages size tcp|path command...\n", argv[0]), 2;
    long count = strtol(argv[1], NULL, 10);
    size = strtoul(argv[2], NULL, 10);
    check(size > 0 && size <= SIZE_MAX_BYTES, "size");
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 31);
    char *path = strcmp(argv[3], "tcp") == 0 ? NULL : argv[3];
    if (path)
        unix_server_start(argv + 3, argc - 3, path);
    else
        tcp_server_start(argv + 4);
    core_pin(0);
    int poll = epoll_create1(0);
    for (int i = 0; i < CONNECTIONS; i++) {
        connection_open(&connections[i], poll);
        connection_send(&connections[i]);
    }
    clockid_t cpu;
    check(clock_getcpuclockid(server, &cpu) == 0, "clock_getcpuclockid");
    load(poll, count / 10);
    double start = clock_seconds(cpu);
    long done = load(poll, count);
    printf("us %.3f\n", (clock_seconds(cpu) - start) / (double)done * 1e6);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    if (path) unlink(path);
    return 0;
}
