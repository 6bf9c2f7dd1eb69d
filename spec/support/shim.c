/* Put before the C library (LD_PRELOAD) by the specs, for what loopback does not do by itself: a
 * resolver that hangs, a kernel without room for a datagram. See shim.lua. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Appends a line to the file that $SHIM_LOG names. */
static void log_line(const char *text) {
    const char *path = getenv("SHIM_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (fd < 0) return;
    if (write(fd, text, strlen(text)) < 0 || write(fd, "\n", 1) < 0) abort();
    close(fd);
}

/* Names that begin with "hang" have the address 127.0.0.9, as soon as there is a file $SHIM_GATE. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!node || strncmp(node, "hang", 4) != 0) return next(node, service, hints, result);
    log_line(node);
    while (access(getenv("SHIM_GATE"), F_OK) != 0)
        usleep(1000);
    return next("127.0.0.9", service, hints, result);
}

/* The first $SHIM_FULL times a datagram that begins with "late" finds no room. */
ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to,
               socklen_t to_size) {
    static long sent;
    ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    *(void **)&next = dlsym(RTLD_NEXT, "sendto");
    const char *full = getenv("SHIM_FULL");
    if (full && size >= 4 && memcmp(bytes, "late", 4) == 0 && sent++ < strtol(full, NULL, 10)) {
        errno = EAGAIN;
        return -1;
    }
    return next(fd, bytes, size, flags, to, to_size);
}
