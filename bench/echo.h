/* What the clients of the echo servers share: messages, one in flight on each connection. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <sys/epoll.h>

#include "drive.h"

enum { CONNECTIONS = 50, SECONDS = 2, SIZE_MAX_BYTES = 65536 };

static char message[SIZE_MAX_BYTES], inbox[SIZE_MAX_BYTES];
static size_t size;

static inline void message_make(const char *bytes) {
    size = strtoul(bytes, NULL, 10);
    check(size <= SIZE_MAX_BYTES, "size");
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 31);
}

/* The number of the connection is what `poll` will tell. */
static inline void connection_watch(int poll, int fd, unsigned number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* Echoes `count` messages, or as many as SECONDS allow; returns their number, when none is in
 * flight any more. `send` and `read` take the number of a connection; `read` tells whether the
 * message has come back whole. */
static inline long messages_echo(int poll, long count, void (*send)(unsigned),
                                 bool (*read)(unsigned)) {
    double end = clock_seconds(CLOCK_MONOTONIC) + SECONDS;
    long sent = CONNECTIONS, echoed = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        send(i);
    while (echoed < sent) {
        struct epoll_event events[CONNECTIONS];
        int ready = epoll_wait(poll, events, CONNECTIONS, 1000);
        check(ready > 0, "epoll_wait");
        if (clock_seconds(CLOCK_MONOTONIC) >= end) count = 0;
        for (int i = 0; i < ready; i++) {
            if (!read(events[i].data.u32)) continue;
            echoed++;
            if (sent >= count) continue;
            send(events[i].data.u32);
            sent++;
        }
    }
    return echoed;
}

#endif
