#include "scratch.h"

#include <pthread.h>
#include <stdlib.h>

_Thread_local struct scratch *scratch;

static pthread_key_t owner; /* frees that of a thread at its end, also in a host's threads */
static bool has_owner;

static void on_thread_end(void *memory) {
    free(((struct scratch *)memory)->room);
    free(memory);
    scratch = NULL;
}

static void make_owner(void) {
    has_owner = pthread_key_create(&owner, on_thread_end) == 0;
}

bool scratch_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (scratch) return true;
    pthread_once(&once, make_owner);
    scratch = aligned_alloc(_Alignof(struct scratch), sizeof *scratch);
    if (!scratch) return false;
    scratch->room = NULL;
    scratch->string_head = 0;
    if (has_owner) pthread_setspecific(owner, scratch);
    return true;
}
