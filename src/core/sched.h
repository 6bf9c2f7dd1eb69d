/*
 * The scheduler: tasks, futures and the ready queue. What modules need of it is in lilac.h; this
 * header is for the few that look inside (base, task, gather, group, sync's deadlock edges, dumps).
 *
 * A task is a userdata that has a coroutine while it lives and its results afterwards: the first
 * uservalue of a task or future is the result (several: a table with n; none: nil).
 */
#ifndef LILAC_SCHED_H
#define LILAC_SCHED_H

#include "../lilac.h"
#include "clock.h"
#include "error.h"
#include "list.h"
#include "waitq.h"

struct runtime;
struct scope;

/* On the way of every switch: these functions stand together in memory. */
#define HOT __attribute__((hot))

/* What such a function calls only to fail, or once: apart, so that the others need not make ready
 * for it. */
#define COLD __attribute__((cold, noinline))

#define FUTURE_MAGIC 0x4c664655u
#define TASK_MAGIC   0x4c66544bu

enum future_state { FUTURE_PENDING, FUTURE_DONE, FUTURE_FAILED, FUTURE_CANCELLED };

/* A result to come. */
struct future {
    uint32_t magic;
    uint8_t state;
    uint8_t results;   /* 0, 1, or 2: a table of several */
    bool taken : 1;    /* somebody has seen the outcome: no report when it is an error */
    bool adopted : 1;  /* a gather answers for it: its late error is reported under --debug only */
    bool reported : 1; /* as failed and not taken */
    bool noted : 1;    /* a task that has fields for the error that it shares */
    lilac_wait *waiters; /* circular, in order of arrival: tasks, and watches (no task) */
};

struct watch;

/* Is told that a future has ended, in plain C but for this: the future's object is at `index` of L,
 * where one value more can be pushed. L is NULL when it was cancelled where there is no Lua. */
struct watcher {
    void (*ended)(struct watch *watch, struct future *future, lua_State *L, int index);
};

/* One of the futures that a watcher watches. */
struct watch {
    lilac_wait node; /* node.task is NULL: that tells it from a parked task */
    const struct watcher *watcher;
    struct future *future; /* while it watches; NULL when it has ended, but for what `ended` does */
};

/* A cancellation by task:cancel() that was not raised yet; of one task, or of several: those that
 * the same line cancels one after the other, without a message. They also share the error that is
 * raised, as making one is a fifth of the cost of a cancellation. */
struct cancel_request {
    struct cancel_origin origin;
    uint32_t tasks;  /* that have it */
    int message_ref; /* in the registry, or LUA_NOREF */
    int error_ref;   /* an error to raise in place of a CancelledError, or LUA_NOREF */
    int shared_ref;  /* the CancelledError that several share, once the first has it; … */
    uint32_t shared; /* … its number */
    bool own;        /* the task asked for it itself */
};

/* One without a message, of no task yet. */
static inline struct cancel_request cancel_request_by(const char *by) {
    return (struct cancel_request){.origin = {.by = by},
                                   .message_ref = LUA_NOREF,
                                   .error_ref = LUA_NOREF,
                                   .shared_ref = LUA_NOREF};
}

/* What the flags of a task leave of their word is for its creator. */
#define CREATOR_BITS 23
#define CREATOR_IDS  (1u << CREATOR_BITS)

struct task {
    struct future future;
    struct runtime *runtime;
    lua_State *L; /* its coroutine, or its stage before it begins; NULL when it has ended */

    lilac_wait own;        /* its place in a wait queue, or in the ready queue, which is one too */
    lilac_wait *parked_on; /* where it is parked; NULL: running or ready */
    lua_State *parked_in;  /* the coroutine that awaits: its own, or a user coroutine inside */
    const lilac_op *op;    /* what it is parked in, or was last */
    union {
        struct deadline deadline; /* while it sleeps */
        struct future *awaits;    /* while it awaits */
        lua_State *exchanges;     /* while it waits in a queue: the coroutine to exchange with */
        uint32_t staged;          /* before it begins: values that it has on the stage; 0: none */
    };

    struct scope *scope;            /* the innermost one it is in */
    struct cancel_request *request; /* NULL: none */
    struct task *interrupted_next;  /* see task_interrupt */
    uint16_t cancelling;            /* task:cancel() less task:uncancel() */
    uint16_t pending;               /* cancellations to raise: the request, and scopes */

    uint32_t slot; /* while it lives, else 0; on a stage: its place there */
    uint32_t id;
    uint32_t shared;      /* the number of the CancelledError that it shares; 0: none */
    struct place created; /* by the line that called create_task */
    bool started : 1;
    bool raise : 1;       /* its wait was undone: resume into the pending cancellation */
    bool deferred : 1;    /* cancelled while its op goes on to an end: op->done sees to it */
    bool failed : 1;      /* the trampoline caught an error */
    bool has_context : 1; /* context variables are set for it */
    bool has_name : 1;
    bool leaving : 1;  /* called os.exit, and is unwound already */
    bool stopped : 1;  /* computed in the way of a main that is to stop, and was told */
    bool rethrown : 1; /* raised the error of an awaited future: that traceback goes on here */
    uint32_t creator : CREATOR_BITS; /* the last bits of its id; 0: a callback, or unknown */
};

/* ---- futures --------------------------------------------------------------------------------- */

/* The future (or task) at `index`, or NULL. */
struct future *future_test(lua_State *L, int index);

/* The task at `index`, or NULL. */
struct task *task_test(lua_State *L, int index);

static inline bool future_is_task(const struct future *future) {
    return future->magic == TASK_MAGIC;
}

static inline struct task *future_task(struct future *future) {
    return container_of(future, struct task, future);
}

/* Ends a pending future: its `count` results (or one error) are on top of the stack, and popped;
 * its object is at `index`, which is absolute. Wakes and notifies whoever waits. */
void future_end(lua_State *L, int index, struct future *future, enum future_state state, int count);

/* Somebody has seen the outcome. */
void future_mark_taken(lua_State *L, struct future *future);

/* Pushes the results of the ended future at `index`, or raises its error; marks it taken. */
int future_take(lua_State *L, int index);

/* Pushes the error of the failed or cancelled future at `index`; marks it taken. One that it shared
 * with others becomes its own, as it can tell of the way that it takes from here. */
void future_push_error(lua_State *L, int index);

/* Pushes an error for the cancellation of the future at `index` alone, with the fields that it has
 * for the one that it shares. */
void future_push_own(lua_State *L, int index, uint32_t task_id, const struct cancel_origin *origin);

/* Parks the running task until the future at argument 1 has ended, then takes its outcome.
 * Cancelling the task cancels the future, and waits for its end. Tail call. */
int future_await(lua_State *L);

/* As future_await, but cancelling leaves the future running. */
int future_await_shielded(lua_State *L);

/* What they are made of, for other operations: parks the running task until the pending future at
 * argument 1 has ended; task->awaits is the future meanwhile. After lilac_checkpoint. Tail call. */
int future_join(lua_State *L, const lilac_op *op);

/* Hooks for such operations. Cancelling cancels the future, and the wait goes on until its end; but
 * not where that end waits for this task, in a circle: then the cancellation is raised at once. */
bool future_join_cancel(lilac_wait *wait);
void future_join_describe(lilac_wait *wait, char *text, size_t size);
struct task *future_join_holder(lilac_wait *wait);

void future_watch(struct future *future, struct watch *watch);
void future_unwatch(struct watch *watch);

/* Ends a plain pending future as cancelled; a task is asked to cancel itself. Plain C. */
void future_cancel(struct future *future, const struct cancel_origin *origin);

/* For the `done` of an operation whose cancel hook returned false: whether the running task was
 * cancelled meanwhile. Asking forgets it; the cancellation itself is still pending. */
bool task_was_deferred(struct task *task);

/* ---- tasks ----------------------------------------------------------------------------------- */

/* The runtime of any coroutine of this state; raises when lilac is not open in it. */
struct runtime *runtime_of(lua_State *L);

/* The running task, or NULL in a callback. */
struct task *task_running(lua_State *L);

/* The running task; raises, as lilac_checkpoint does, where it cannot wait. Leaves a pending
 * cancellation alone: for clean-up that must begin nevertheless. */
struct task *task_able_to_wait(lua_State *L);

/* Creates a task from a function and `count` arguments on top of the stack, replaces them by the
 * task and puts it at the end of the ready queue. */
struct task *task_create(lua_State *L, int count);

/* The C function under the body of every task, which tracebacks leave out. */
int task_trampoline(lua_State *L);

/* Runs a ready task until it parks or ends. Only the loop calls it. */
void task_resume(struct task *task);

/* Takes a string from the top of the stack: the name of the task (an object) at `index`. */
void task_set_name(lua_State *L, int index);

/* Pushes the object of a live task. */
void task_push(lua_State *L, struct task *task);

/* Asks a live task to cancel itself. Plain C: `message_ref` is a registry reference or LUA_NOREF,
 * and is owned from here on. */
void task_cancel(struct task *task, const struct cancel_origin *origin, int message_ref);

/* Has an error raised in a live task at its await, as if it were a cancellation. Plain C; owns the
 * registry reference. */
void task_throw(struct task *task, int error_ref);

/* Forgets a task:cancel() that was not raised yet. */
void task_drop_request(struct task *task);

/* A cancellation became pending: undoes the wait if the task is parked. For task_cancel and scopes.
 */
void task_interrupt(struct task *task);

/* As lilac_park, for what is to be waited for in any case: a cancellation that is pending already
 * does not undo the wait. Right after lilac_checkpoint none is, and this is a little faster. */
int task_park(lua_State *L, lilac_wait *wait, const lilac_op *op);

/* Makes a parked task ready. */
void task_wake(struct task *task);

/* Takes the pending cancellation that comes first (the task's own, then the outermost scope's) and
 * pushes its error. False when there is none. */
bool task_take_cancellation(lua_State *L, struct task *task);

/* Raises the pending cancellation of the running task; the error at `cause` (0: none) caused by it
 * or met on the way is kept as its `cause`. */
int task_raise_cancellation(lua_State *L, struct task *task, int cause);

/* The same where the wait of the task has just been undone: as it has done nothing since it was
 * cancelled, it may share the error with others. */
int task_raise_undone(lua_State *L, struct task *task);

/* The origin of the cancellation that task_take_cancellation would raise. */
struct cancel_origin task_pending_origin(const struct task *task);

/* The running task is about to raise the error of the ended future at `index`: should that end it,
 * the traceback goes on through it. */
void task_note_rethrow(lua_State *L, int index);

/* Whether the error (NULL: none) is a cancellation of that task. */
bool task_owns(const struct task *task, const struct error *error);

/* Puts an error of its own in the place of the one that the task shares, on top of the stack. */
void task_unshare(lua_State *L, struct task *task);

/* Whether the value at `index` is the cancellation of the running task itself, which passes every
 * pcall. */
bool task_is_own_cancellation(lua_State *L, int index);

/* Puts a cancellation that was raised already (the error object at `index`) back as pending, so
 * that it is raised at the next await. */
void task_rearm(lua_State *L, struct task *task, int index);

/* Whether `holder`, through the waits of the tasks it depends on (op->holder), waits for the
 * running task, and none of them is under a deadline. */
bool task_closes_cycle(lua_State *L, struct task *holder);

/* Raises DeadlockError when it does. Before a wait for `holder` is armed. */
void task_refuse_cycle(lua_State *L, struct task *holder);

/* Writes "task 'name'" or "task 'task-7'". */
#define TASK_TEXT 80
void task_text_at(lua_State *L, int index, char *text,
                  size_t size); /* of a task object, ended too */
void task_text(const struct task *task, char *text, size_t size);

/* The live tasks, for dumps and all_tasks: the first, and the next one, or NULL. Those that wait on
 * the stage are found through the ready queue. */
struct task *task_next(struct runtime *runtime, struct task *task);

#endif
