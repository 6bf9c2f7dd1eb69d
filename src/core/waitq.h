/*
 * A FIFO of parked tasks: what events, locks, semaphores, conditions and queues are made of. The
 * waiters are the tasks' own places (lilac_own_wait), so a wait costs no allocation. Needs only
 * lilac.h; nothing here raises or yields but waitq_park.
 */
#ifndef LILAC_WAITQ_H
#define LILAC_WAITQ_H

#include "../lilac.h"

/* The head: a lilac_wait in which nobody waits. */
struct waitq {
    lilac_wait head;
};

void waitq_init(struct waitq *queue);

bool waitq_empty(const struct waitq *queue);

/* The first waiter, or NULL. It stays in the queue. */
lilac_wait *waitq_first(const struct waitq *queue);

/* How many wait. Counts them: for __tostring and dumps. */
size_t waitq_count(const struct waitq *queue);

/* The queue that a waiter is in. Walks to the head: for dumps and deadlock edges. */
struct waitq *waitq_of(const lilac_wait *wait);

/* Puts a waiter that is in no queue at the end. For waits in a block of their own, which are then
 * parked with lilac_park, and for moving one from queue to queue. */
void waitq_append(struct waitq *queue, lilac_wait *wait);

/* Moves all waiters of a queue to the end of another one. */
void waitq_move(struct waitq *to, struct waitq *from);

/* Takes the first waiter out and wakes it. False when the queue is empty. */
bool waitq_wake_one(struct waitq *queue);

/* Wakes all that wait now. Returns how many. */
size_t waitq_wake_all(struct waitq *queue);

/* Takes a waiter out of its queue; harmless when it is in none. The `cancel` hook of an operation
 * that waits in a queue, and has nothing else to undo, is waitq_cancel. */
void waitq_unlink(lilac_wait *wait);
bool waitq_cancel(lilac_wait *wait);

/* Parks the running task at the end of the queue: tail call, like lilac_park. */
int waitq_park(lua_State *L, struct waitq *queue, const lilac_op *op);

#endif
