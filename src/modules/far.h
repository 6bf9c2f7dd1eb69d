/*
 * The far end of threads that run Lua: each has a state and a runtime of its own, and does one job
 * after the other. The near end is thread.c.
 */
#ifndef LILAC_FAR_H
#define LILAC_FAR_H

#include "../core/crew.h"
#include "../core/error.h"
#include "../core/sched.h"
#include "parcel.h"

enum ending {
    ENDED_RETURNED,  /* outcome: the results; NULL: none */
    ENDED_RAISED,    /* outcome: the error, its traceback */
    ENDED_CANCELLED, /* the same; the error is the cancellation */
    ENDED_EXITED,    /* it called os.exit */
    ENDED_BROKEN     /* the thread could not do it: see failure, else it is out of memory */
};

struct far_job {
    struct job job;
    struct parcel *call;      /* function, arguments */
    struct parcel *variables; /* of the context; NULL: none */
    struct parcel *outcome;
    enum ending ending;
    int exit_code;
    int failure;      /* of the thread to open its Lua state and loop, a libuv code; 0: none */
    unsigned untaken; /* errors that its tasks left and nobody took */

    /* To stop it, see far_stop. */
    struct letter stop;
    struct cancel_origin origin;
    double grace_s;
    struct runtime *runtime;
    bool stopped;

    /* The near end's. */
    const char *op; /* what has sent it: "to_thread" */
    struct pool *pool;
    struct list in_pool;
    lilac_wait *wait;     /* the task that waits for it; NULL: it has not begun to, or gave up */
    struct watch watch;   /* of that task, while it has not begun */
    struct deadline late; /* when it is abandoned */
    bool arrived;         /* it is done, before the task has begun to wait */
};

/* What the threads of a crew are made from: malloc'ed, by far_setup_new. */
struct far_setup;

/* The options of this runtime, package.path and package.cpath as they are now, and how much memory
 * a state may take (0: no limit). NULL: out of memory. */
struct far_setup *far_setup_new(lua_State *L, size_t memory);

extern const struct crew_type far_crew;

/* For the job_type of the near end. */
bool far_run(struct job *job, void *context);
void far_settle(struct job *job, void *context);
void far_free(struct job *job);

/* Cancels the job, whose origin and grace are set, if a thread runs it: its task at its await, or
 * at the next Lua instruction. */
void far_stop(struct far_job *job);

#endif
