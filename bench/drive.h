/* What the programs share that start a server, drive it from outside, and measure it. */
#ifndef BENCH_DRIVE_H
#define BENCH_DRIVE_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ANY_CORE = -1 };

static pid_t server;

static inline void check(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    if (server > 0) kill(server, SIGKILL);
    exit(1);
}

static inline double clock_seconds(clockid_t clock) {
    struct timespec now;
    check(clock_gettime(clock, &now) == 0, "clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void core_pin(long core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)core, &cores);
    check(sched_setaffinity(0, sizeof cores, &cores) == 0, "sched_setaffinity");
}

static inline long last_core(void) {
    return sysconf(_SC_NPROCESSORS_ONLN) - 1;
}

/* Starts the server, on a core of its own or on any; returns the first number that it prints, when
 * it is ready: 0 when that is none. */
static inline int server_start(char **command, long core) {
    int ends[2], first = 0;
    check(pipe(ends) == 0, "pipe");
    server = fork();
    check(server >= 0, "fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (core != ANY_CORE) core_pin(core);
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

/* The CPU time of the server in seconds. Of a process that runs, the system may tell only that of
 * its last tick, some 4 ms ago: waits until it rests. */
static inline double server_cpu(void) {
    enum { TRIES = 50, LONGER_THAN_A_TICK_US = 11000 };
    clockid_t cpu;
    check(clock_getcpuclockid(server, &cpu) == 0, "clock_getcpuclockid");
    double before = -1, now = clock_seconds(cpu);
    for (int i = 0; i < TRIES && now != before; i++) {
        usleep(LONGER_THAN_A_TICK_US);
        before = now;
        now = clock_seconds(cpu);
    }
    return now;
}

static inline void server_end(void) {
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

/* Gives the command one word more, the last, in the room of the word before it. */
static inline char **command_with(char **words, int count, char *last) {
    memmove(words, words + 1, (size_t)(count - 1) * sizeof *words);
    words[count - 1] = last;
    return words;
}

static inline struct sockaddr_in address_of_port(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A new socket that is connected, and blocks. */
static inline int socket_connect(const struct sockaddr *address, socklen_t size) {
    int on = 1, fd = socket(address->sa_family, SOCK_STREAM, 0);
    check(fd >= 0 && connect(fd, address, size) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

#endif
