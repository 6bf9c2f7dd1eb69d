/*
 * Scopes: regions of a task that can be cancelled on their own (a timeout, a task group's body). A
 * cancellation by a scope is known by the number of its error. The scope that asked absorbs it and
 * nobody else does, so counting is not needed and a timeout(0) never eats somebody else's cancel.
 */
#ifndef LILAC_SCOPE_H
#define LILAC_SCOPE_H

#include "list.h"
#include "sched.h"

struct scope {
    struct task *task; /* NULL: not entered, or left */
    struct scope *outer, *inner;
    struct deadline deadline;
    uint32_t slot;      /* of its object, among the anchors */
    uint32_t error;     /* the number of the error that it has raised */
    bool requested : 1; /* it was cancelled */
    bool delivered : 1; /* and that error was raised */
    bool interrupt : 1; /* also stops code that computes without awaiting */
    struct cancel_origin origin;

    /* Called when its task has ended in it, before it is left: its object may go from then on.
     * Plain C; NULL: nothing to do. */
    void (*on_abandon)(struct scope *scope);
};

/* Enters the running task into a zeroed scope whose origin is set. The object that holds it is on
 * top of the stack, and is kept alive until scope_exit. */
void scope_enter(lua_State *L, struct scope *scope);

/* Leaves it, and lets go of the object. Twice is fine. */
void scope_exit(lua_State *L, struct scope *scope);

/* Leaves it: disarms its deadline and drops a cancellation that was not raised. Twice is fine. */
void scope_leave(struct scope *scope);

/* Cancels what runs in the scope. Once; plain C. */
void scope_cancel(struct scope *scope);

/* The cancellation by a scope that was raised with that error is to be raised again, unless the
 * task has left the scope. */
void scope_rearm(struct task *task, const struct error *error);

/* Arms the deadline (again). False: out of memory. */
bool scope_arm(struct scope *scope, uint64_t when_ns);

/* Whether the error object at `index` is the cancellation that this scope asked for. */
bool scope_owns(lua_State *L, const struct scope *scope, int index);

/* The outermost scope whose cancellation is still to be raised, or NULL. */
struct scope *scope_pending(const struct task *task);

/* Whether the task is in a scope with a deadline. */
bool scope_has_deadline(const struct task *task);

/* Leaves all scopes of a task that has ended: a generator may have left one behind. */
void scope_leave_all(struct task *task);

void scope_on_deadline(struct deadline *deadline);

#endif
