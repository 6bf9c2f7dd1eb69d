/*
 * What other threads have to say to a loop. Letters queue up under a lock; however many come
 * between two turns of the loop, they wake it once. Shared by all who may write to it, and outlives
 * its loop.
 *
 * It also tells deadlocks that span threads. A loop that has nothing left to wait for but letters
 * is at rest. When all that are at work are at rest, no letter can come any more.
 */
#ifndef LILAC_MAILBOX_H
#define LILAC_MAILBOX_H

#include <stdbool.h>
#include <uv.h>

#include "list.h"

struct mailbox;

/* Embedded in what another thread brings to an end. */
struct letter {
    struct list link;
    void (*deliver)(struct letter *letter); /* on the loop's thread, at its leisure; plain C */
};

static inline void letter_init(struct letter *letter, void (*deliver)(struct letter *letter)) {
    list_init(&letter->link);
    letter->deliver = deliver;
}

/* The mailbox of the loop that `wakeup` wakes, with one reference. NULL: out of memory. */
struct mailbox *mailbox_open(uv_async_t *wakeup);

/* The loop ends: what has not been delivered never is, and nothing more is accepted. Drops the
 * reference of mailbox_open. */
void mailbox_close(struct mailbox *mailbox);

struct mailbox *mailbox_ref(struct mailbox *mailbox);
void mailbox_unref(struct mailbox *mailbox);

/* What comes of a letter. */
enum post {
    POST_REFUSED, /* the loop has ended */
    POST_QUEUED,  /* it is delivered with one that came before */
    POST_FIRST,   /* mailbox_wake must follow, outside of locks */
};

/* Leaves a letter, from any thread. */
enum post mailbox_post(struct mailbox *mailbox, struct letter *letter);
void mailbox_wake(struct mailbox *mailbox);

/* Takes back a letter that may have been posted. On the loop's thread. */
void mailbox_withdraw(struct mailbox *mailbox, struct letter *letter);

/* Delivers what has come. On the loop's thread. */
void mailbox_deliver(struct mailbox *mailbox);

/* ---- who is at work -------------------------------------------------------------------------- */

/* So many more, or fewer, are at work: programs that run, jobs that another thread is to do. */
void mailbox_count_work(int change);

/* mailbox_post, of the one letter that whoever is at work still owes: it is at work no more. */
enum post mailbox_post_last(struct mailbox *mailbox, struct letter *letter);

/* The loop has nothing to wait for but letters. False: nor has any other, so that none will come.
 */
bool mailbox_rest(struct mailbox *mailbox);
void mailbox_rise(struct mailbox *mailbox);

#endif
