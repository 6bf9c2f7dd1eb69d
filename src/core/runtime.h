/*
 * The runtime of one Lua state: its loop, clock, tasks and handles, from opening to the one
 * shutdown order: cancel what is left, drain it within the grace, close the handles, run the loop
 * dry.
 */
#ifndef LILAC_RUNTIME_H
#define LILAC_RUNTIME_H

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "ages.h"
#include "guess.h"
#include "mailbox.h"
#include "sched.h"
#include "slots.h"
#include "work.h"

struct runtime_options {
    bool debug;
    double grace_s;
    double slow_callback_s;
    bool shuffle;
    uint64_t shuffle_seed;
    bool stress;    /* a full GC before every resume */
    bool is_thread; /* of another runtime, which has the signals */
    bool is_guest;  /* in the Lua state of another host */
};

/* One lua_resume of a user coroutine that is going on: the Lua states that are active inside the
 * running task, innermost first. Lives on the C stack of that resume. */
struct nesting {
    lua_State *from; /* who resumed */
    lua_State *co;   /* whom */
    bool closing;    /* to unwind it: coroutine.close */
    bool throwing;   /* to raise the value it is resumed with at its yield */
    lua_Hook hook;   /* of the user, kept from the trampoline; NULL: none, or it is in place */
    int hook_mask, hook_count;
    struct nesting *outer;
};

/* See interrupt.c. What signal handlers touch is volatile. */
struct interrupt {
    volatile sig_atomic_t signal;  /* SIGHUP, SIGINT, … has arrived and is to be taken */
    volatile sig_atomic_t signals; /* so many have: the second one ends the process */
    volatile sig_atomic_t dump;    /* SIGQUIT has arrived */
    atomic_bool poked;             /* another thread has written: look at once */
    sig_atomic_t last_turn;
    volatile sig_atomic_t held_ticks; /* the same code has run for so many */
    sig_atomic_t slow_turn;           /* the last turn that was reported as slow */
    bool stdout_broken;               /* and it is known */
    unsigned watches;
    bool has_timer;
    timer_t timer;
    volatile sig_atomic_t restoring; /* the user's hook is being put back: not the time to plant */
    lua_State *volatile planted_in;  /* where the hook is planted, and what it stands in for */
    lua_Hook hook;
    int hook_mask, hook_count;
    struct sigaction old_quit, old_end[4];
};

enum { MAX_IDLE = 4096 }; /* coroutines that are kept for tasks to come */

struct runtime {
    struct task root; /* no task: what the Lua states point at that run in none */
    lua_State *L;     /* the host's thread: tasks are resumed from it, callbacks run on it */
    uv_loop_t loop;
    uv_timer_t timer;  /* the one timer, armed for the earliest deadline */
    uv_async_t wakeup; /* from signal handlers, and other threads */
    struct mailbox *mailbox;
    uint32_t expected; /* letters that must come, or somebody waits for */
    struct list crews;
    struct crew *lanes[LANES]; /* see work.c; NULL: not needed yet */
    struct clock clock;
    struct ages ages;
    struct runtime_options options;

    uint64_t poll_ns;     /* the longest that tasks run before I/O is looked at, … */
    uint64_t poll_due_ns; /* … and when that is over; 0: due, until a task runs */
    struct waitq ready;   /* own waits of tasks, and callbacks (no task) */
    struct waitq arrived; /* the same, woken by the world while others were ready: go first */
    struct waitq aside;   /* those that are ready, while the loop looks around */
    const lilac_wait *last_told; /* by the system, and not served yet; compared with, and no more */
    struct waitq settlers;       /* who waits until nothing else is ready */
    struct list late;            /* see late.h */
    struct guesses guesses;
    struct list failed_gathers; /* see gather.c */
    struct task *current;
    struct task *main;
    lua_State *volatile running; /* the Lua state that executes now; NULL in the scheduler */
    struct nesting *nesting;
    volatile sig_atomic_t turns; /* of the loop, so far: tells whether somebody holds it */

    struct allocator *requests; /* their memory: a cancellation is never refused for a limit */
    struct cancel_request *last_request; /* without a message, for others to share, or NULL */
    struct cancel_request spare_request; /* when there is no memory for one */
    struct slots slots;                  /* of tasks */
    lua_State **coroutines;        /* by slot, from 1; NULL where a task would need a new one */
    uint32_t live;                 /* tasks */
    uint32_t idle;                 /* coroutines without a task, … */
    uint32_t idle_slots[MAX_IDLE]; /* … and their slots; those in `slots` have none */
    struct list stages;            /* see stage.c */
    struct slots scope_slots;
    uint32_t last_id;
    uint32_t last_error;       /* the last number of an error */
    int tasks_ref, scopes_ref; /* in the registry: tasks and coroutines, scopes, by slot */
    int names_ref, tracebacks_ref, rethrown_ref; /* by task, weak keys */
    int contexts_ref; /* context variables, by the address of a live task */
    int task_meta_ref;
    int failures_ref;    /* failed tasks that nobody has taken yet, and when to report them */
    int transparent_ref; /* set of C functions that may be awaited across */
    int exception_handler_ref;
    lua_CFunction xpcall; /* ours: see report_hide_from_handlers */
    unsigned xpcalls;     /* so many are going on */

    lilac_handle handles;            /* list head of all blocks */
    struct deadline report_deadline; /* when the oldest failure that nobody took is reported */
    lua_Integer failures_first, failures_last; /* of the queue at failures_ref */
    bool reports_due;
    unsigned untaken; /* reported and still not taken: exit status 1 */
    void (*run_callback)(lua_State *L, lilac_wait *ready); /* see modules/callback.c */
    struct task *interrupted_last; /* see task_interrupt; NULL: nothing is being interrupted */
    uint64_t grace_end_ns;         /* while closing, or stopping */
    bool open, closing;
    bool polling;    /* inside of libuv: an error that gets out now breaks the loop */
    bool stopping;   /* main was cancelled by the runtime whose thread this is */
    bool deadlocked; /* main waits for what has to end first, and never will */
    bool exiting;    /* os.exit was called */
    int exit_code;
    uint64_t random; /* state of the shuffle */

    struct interrupt interrupt;
    int exit_signal; /* that main was cancelled by */
};

/* Its address is the runtime's key in the registry. */
extern const char runtime_key;

/* Opens a runtime in a state. Raises on failure. */
struct runtime *runtime_open(lua_State *L, const struct runtime_options *options);

/* Runs the function and `nargs` arguments on top of the stack as the main task until it ends, then
 * the shutdown. Reports an uncaught error on stderr. Returns the exit status: 0, 1 or 3. */
int runtime_main(lua_State *L, int nargs);

/* The same for a Lua host that is not the interpreter: returns the results or raises the error of
 * main. */
int runtime_run(lua_State *L, int nargs);

/* For the thread of another runtime, which runs one main after the other: the begin and the end of
 * all, and one of them, from the function and `nargs` arguments on top of the stack to its end and
 * that of all tasks it has left. Replaces them by its task, and returns that; NULL, and on top a
 * DeadlockError, when it never got out. After os.exit `exiting` is set. */
void runtime_begin(lua_State *L);
void runtime_finish(lua_State *L);
struct future *runtime_run_one(lua_State *L, int nargs);

/* Cancels the main of runtime_run_one, and whatever runs in its way. What clings to its life is
 * cancelled again at `end_ns`. On the runtime's own thread. */
void runtime_stop(struct runtime *runtime, const struct cancel_origin *origin, uint64_t end_ns);

/* For who has caught an error: whether it came out of a callback of libuv, where only a C module
 * can raise one. Then the loop was left in the middle of its work, and the runtime is given up:
 * nothing of it may be touched any more, nor its state be closed. */
bool runtime_give_up(lua_State *L);

/* The signal that main died of, or 0. */
int runtime_exit_signal(lua_State *L);

/* Whether a closed runtime left a thread behind that is stuck in C: the process must then end by
 * _exit, and flush no file that such a thread may be reading. */
bool runtime_left_threads(void);

#endif
