/*
 * Locks between threads that are held for a moment only: who comes second looks again for a while
 * before it has the system put it to sleep.
 */
#ifndef LILAC_LOCK_H
#define LILAC_LOCK_H

#include <pthread.h>

static inline void lock_init(pthread_mutex_t *lock) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

#endif
