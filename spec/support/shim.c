/* Put before the C library (LD_PRELOAD) by the specs, for what a machine does not do by itself: a
 * resolver that hangs, a kernel without room for a datagram, a disk that is full, days that pass;
 * and for what nobody else can count. See shim.lua. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Appends a line to the file that $SHIM_LOG names. */
static void log_line(const char *text) {
    const char *path = getenv("SHIM_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    if (fprintf(file, "%s\n", text) < 0 || fclose(file) != 0) abort();
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

/* With $SHIM_STRIDE so many seconds pass, for all clocks, whenever somebody looks at the coarse one:
 * the loop does, at least once a turn. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    static long ahead_s;
    int (*next)(clockid_t, struct timespec *);
    *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    int status = next(clock, now);
    const char *stride = getenv("SHIM_STRIDE");
    if (stride && clock == CLOCK_MONOTONIC_COARSE) ahead_s += strtol(stride, NULL, 10);
    now->tv_sec += ahead_s;
    return status;
}

/* ---- how often the system is asked: "asked 12" and "vain 3" go to the file $SHIM_COUNTS --------- */

static long asked, vain;

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms) {
    int (*next)(int, struct epoll_event *, int, int);
    *(void **)&next = dlsym(RTLD_NEXT, "epoll_wait");
    asked++;
    return next(fd, events, count, timeout_ms);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
    ssize_t (*next)(int, void *, size_t, int);
    *(void **)&next = dlsym(RTLD_NEXT, "recv");
    ssize_t got = next(fd, bytes, size, flags);
    if (got < 0 && errno == EAGAIN) vain++;
    return got;
}

static __attribute__((destructor)) void tell_counts(void) {
    const char *path = getenv("SHIM_COUNTS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    if (fprintf(file, "asked %ld\nvain %ld\n", asked, vain) < 0 || fclose(file) != 0) abort();
}

/* ---- a disk without room for files larger than $SHIM_DISK bytes ---------------------------------
 */

static bool is_file(int fd) {
    struct stat found;
    return fd > STDERR_FILENO && fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

static off_t position(int fd) {
    return lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
}

/* How many of the bytes there is room for; 0: none, and errno tells so. */
static size_t fitting(int fd, size_t size, off_t at) {
    const char *disk = getenv("SHIM_DISK");
    if (!disk || !is_file(fd)) return size;
    off_t room = strtol(disk, NULL, 10) - at;
    if (room <= 0) errno = ENOSPC;
    return room <= 0 ? 0 : (size_t)room < size ? (size_t)room : size;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*next)(int, const void *, size_t);
    *(void **)&next = dlsym(RTLD_NEXT, "write");
    size_t fits = fitting(fd, size, position(fd));
    return size > 0 && fits == 0 ? -1 : next(fd, bytes, fits);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    ssize_t (*next)(int, const void *, size_t, off_t);
    *(void **)&next = dlsym(RTLD_NEXT, "pwrite");
    size_t fits = fitting(fd, size, at);
    return size > 0 && fits == 0 ? -1 : next(fd, bytes, fits, at);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size,
                        unsigned flags) {
    ssize_t (*next)(int, off64_t *, int, off64_t *, size_t, unsigned);
    *(void **)&next = dlsym(RTLD_NEXT, "copy_file_range");
    size_t fits = fitting(to, size, to_at ? *to_at : position(to));
    return size > 0 && fits == 0 ? -1 : next(from, from_at, to, to_at, fits, flags);
}

/* With $SHIM_SYNC the disk notices only when it is asked to keep the file. */
int fsync(int fd) {
    int (*next)(int);
    *(void **)&next = dlsym(RTLD_NEXT, "fsync");
    if (!getenv("SHIM_SYNC") || !is_file(fd)) return next(fd);
    errno = ENOSPC;
    return -1;
}
