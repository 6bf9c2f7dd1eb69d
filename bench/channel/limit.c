/* Numbers through a ring in C, from a thread to another: wall time per item. */
#include "../limit.h"

#include <pthread.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long *items, bound, first, count;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static long total;

static void *produce(void *argument) {
    (void)argument;
    for (long i = 1; i <= total; i++) {
        pthread_mutex_lock(&ring.lock);
        while (ring.count == ring.bound)
            pthread_cond_wait(&ring.changed, &ring.lock);
        ring.items[(ring.first + ring.count++) % ring.bound] = i;
        if (ring.count == 1) pthread_cond_signal(&ring.changed);
        pthread_mutex_unlock(&ring.lock);
    }
    return NULL;
}

static long consume(void) {
    long sum = 0;
    for (long i = 1; i <= total; i++) {
        pthread_mutex_lock(&ring.lock);
        while (ring.count == 0)
            pthread_cond_wait(&ring.changed, &ring.lock);
        sum += ring.items[ring.first];
        ring.first = (ring.first + 1) % ring.bound;
        if (ring.count-- == ring.bound) pthread_cond_signal(&ring.changed);
        pthread_mutex_unlock(&ring.lock);
    }
    return sum;
}

int main(int argc, char **argv) {
    pthread_t producer;
    struct timespec start, end;
    total = limit_count(argc, argv);
    ring.bound = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    ring.items = calloc((size_t)ring.bound, sizeof *ring.items);
    if (!ring.items) return 1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pthread_create(&producer, NULL, produce, NULL);
    if (consume() != total * (total + 1) / 2) return 1;
    pthread_join(producer, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    free(ring.items);
    printf("ns %f\n",
           ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
               (double)total);
    return 0;
}
