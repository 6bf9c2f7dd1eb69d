/* Measures a command from spawn to exit, `runs` times over: the median wall time and the highest
 * resident size. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Runs the command once; returns its peak resident size in KiB, or -1 if it failed. */
static long command_run(char **command) {
    pid_t pid;
    int status;
    struct rusage usage;
    if (posix_spawnp(&pid, command[0], NULL, NULL, command, environ) != 0) return -1;
    if (wait4(pid, &status, 0, &usage) != pid || status != 0) return -1;
    return usage.ru_maxrss;
}

int main(int argc, char **argv) {
    long runs = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    if (runs <= 0) return fprintf(stderr, "usage: %s runs command...\n", argv[0]), 2;
    double *times = calloc((size_t)runs, sizeof *times);
    long peak_kib = 0;
    for (long i = 0; i < runs; i++) {
        double start = wall_ms();
        long kib = command_run(argv + 2);
        times[i] = wall_ms() - start;
        if (kib < 0) return fprintf(stderr, "%s: failed\n", argv[2]), 1;
        peak_kib = kib > peak_kib ? kib : peak_kib;
    }
    qsort(times, (size_t)runs, sizeof *times, by_value);
    printf("ms %.3f\nMiB %.2f\n", times[runs / 2], (double)peak_kib / 1024);
    free(times);
    return 0;
}
