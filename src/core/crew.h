/*
 * Threads of a runtime that do its jobs, started when there is something to do. Blocking C
 * (work.c), name lookups and Lua (modules/thread.c) each have a crew, so none queues behind
 * another.
 *
 * A job belongs to the loop that submits it. The loop gets it back, done, in a letter; or it gives
 * the job up, and then whoever has it last frees it.
 */
#ifndef LILAC_CREW_H
#define LILAC_CREW_H

#include "mailbox.h"

struct runtime;
struct crew;

struct job {
    const struct job_type *type;
    struct crew *crew;
    struct list link;           /* in the crew's queue, until a thread takes it */
    struct list sibling;        /* among those that the loop waits for */
    struct letter done;         /* to the loop */
    struct crew_thread *thread; /* that does it; NULL: none */
    bool over, left;            /* the thread's end; the loop's end */
};

struct job_type {
    /* In a thread, whose context the crew has opened (NULL: it could not). False: the context is
     * broken, and the thread must end. */
    bool (*run)(struct job *job, void *context);
    /* After that, when nobody pokes any more; may be NULL. */
    void (*settle)(struct job *job, void *context);
    /* On the loop: it is done. Never called of a job that was given up. */
    void (*done)(struct job *job);
    /* On the loop: its crew has ended before it was done; `free` follows. May be NULL. */
    void (*drop)(struct job *job);
    /* Wherever the last end is. */
    void (*free)(struct job *job);
};

struct crew_type {
    const char *name;
    void *(*open)(void *setup);   /* in a new thread, its context; may be NULL: there is none */
    void (*close)(void *context); /* at its end; may be NULL */
};

/* The most threads that a crew has where nobody says how many: as Python's executors, as jobs
 * mostly wait. */
unsigned crew_usual_max(void);

/* At most `max` threads of a runtime. `setup` was malloc'ed, and is freed with the crew (here, when
 * memory is out: NULL). */
struct crew *crew_open(struct runtime *runtime, const struct crew_type *type, unsigned max,
                       void *setup);

/* Has a job done, whose type is set and which is zeroed otherwise. 0, or a negative libuv code when
 * there is no thread to do it: then it is still the caller's. */
int crew_submit(struct crew *crew, struct job *job);

/* Gives a job up that was not done: frees it, here or, when a thread has begun it, there. */
void job_leave(struct job *job);

/* Whether no thread has begun it; then it is left, and freed. */
bool job_leave_queued(struct job *job);

/* Calls `poke` with the context of the thread that runs the job now, which cannot end meanwhile. */
void job_poke(struct job *job, void (*poke)(struct job *job, void *context));

/* Gives up the thread that runs the job, and the job with it. Another thread takes its place. When
 * the job is over already this does nothing, and `done` will be called. */
bool job_abandon(struct job *job);

/* No more jobs: gives up those that are not done, and ends the threads. on_end(ctx), if any, is
 * called on the loop when the last one has ended; at once, if there is none. */
void crew_end(struct crew *crew, void (*on_end)(void *ctx), void *ctx);

/* The crew is gone for its owner: it is freed with its last thread. After crew_end. */
void crew_release(struct crew *crew);

bool crew_is_ending(const struct crew *crew);
struct runtime *runtime_of_crew(const struct crew *crew);

/* How many threads it may have, and has. */
unsigned crew_max(const struct crew *crew);
unsigned crew_threads(struct crew *crew);

/* For the shutdown: ends the crews of a runtime, and, when the loop has run dry, abandons the
 * threads that have not ended. */
void crews_end(struct runtime *runtime);
void crews_abandon(struct runtime *runtime);

/* How many abandoned threads have not come to an end yet, of all crews: the process must then end
 * by _exit. */
unsigned crews_lost(void);

#endif
