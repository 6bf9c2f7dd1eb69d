#include "mailbox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct mailbox {
    atomic_uint references;
    pthread_mutex_t lock;
    uv_async_t *wakeup; /* NULL: the loop has ended */
    struct list letters;
    bool rests; /* under the lock of `work`, too */
};

/* Of the process. */
static struct {
    pthread_mutex_t lock;
    unsigned at_work, at_rest;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct mailbox *mailbox_open(uv_async_t *wakeup) {
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) return NULL;
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->references = 1;
    mailbox->wakeup = wakeup;
    list_init(&mailbox->letters);
    return mailbox;
}

struct mailbox *mailbox_ref(struct mailbox *mailbox) {
    atomic_fetch_add(&mailbox->references, 1);
    return mailbox;
}

void mailbox_unref(struct mailbox *mailbox) {
    if (atomic_fetch_sub(&mailbox->references, 1) > 1) return;
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_close(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->wakeup = NULL;
    while (list_shift(&mailbox->letters))
        continue;
    pthread_mutex_unlock(&mailbox->lock);
    mailbox_unref(mailbox);
}

/* Wakes a mailbox that rests; it is locked. */
static void rouse(struct mailbox *mailbox) {
    if (mailbox->rests) work.at_rest--;
    mailbox->rests = false;
}

/* `fewer` are at work once the letter is there: nobody may see one without the other. */
static bool post(struct mailbox *mailbox, struct letter *letter, unsigned fewer) {
    pthread_mutex_lock(&mailbox->lock);
    bool accepts = mailbox->wakeup != NULL;
    if (accepts) list_append(&mailbox->letters, &letter->link);
    if (mailbox->rests || fewer > 0) {
        pthread_mutex_lock(&work.lock);
        rouse(mailbox);
        work.at_work -= fewer;
        pthread_mutex_unlock(&work.lock);
    }
    pthread_mutex_unlock(&mailbox->lock);
    return accepts;
}

bool mailbox_post(struct mailbox *mailbox, struct letter *letter) {
    return post(mailbox, letter, 0);
}

bool mailbox_post_last(struct mailbox *mailbox, struct letter *letter) {
    return post(mailbox, letter, 1);
}

void mailbox_wake(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    if (mailbox->wakeup) uv_async_send(mailbox->wakeup);
    pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_withdraw(struct mailbox *mailbox, struct letter *letter) {
    pthread_mutex_lock(&mailbox->lock);
    list_unlink(&letter->link);
    pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_deliver(struct mailbox *mailbox) {
    struct list arrived; /* from here on only this thread sees them */
    list_init(&arrived);
    pthread_mutex_lock(&mailbox->lock);
    if (!list_empty(&mailbox->letters)) {
        list_append(&mailbox->letters, &arrived);
        list_unlink(&mailbox->letters);
    }
    pthread_mutex_unlock(&mailbox->lock);
    struct list *link;
    while ((link = list_shift(&arrived))) {
        struct letter *letter = container_of(link, struct letter, link);
        letter->deliver(letter);
    }
}

/* ---- who is at work -------------------------------------------------------------------------- */

void mailbox_count_work(int change) {
    pthread_mutex_lock(&work.lock);
    work.at_work += (unsigned)change;
    pthread_mutex_unlock(&work.lock);
}

bool mailbox_rest(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    bool rests = list_empty(&mailbox->letters);
    pthread_mutex_lock(&work.lock);
    bool alone = rests && work.at_rest + 1 >= work.at_work;
    mailbox->rests = rests && !alone;
    if (mailbox->rests) work.at_rest++;
    pthread_mutex_unlock(&work.lock);
    pthread_mutex_unlock(&mailbox->lock);
    return !alone;
}

void mailbox_rise(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    pthread_mutex_lock(&work.lock);
    rouse(mailbox);
    pthread_mutex_unlock(&work.lock);
    pthread_mutex_unlock(&mailbox->lock);
}
