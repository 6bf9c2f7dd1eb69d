#include "mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lock.h"

struct mailbox {
    atomic_uint references;
    pthread_mutex_t lock;
    uv_async_t *wakeup; /* NULL: the loop has ended */
    struct list letters;
    bool rests;
};

/* Of the process. Who is at rest is counted as one at work, too. A mailbox does not begin or end to
 * rest while it is locked, so what is said of one that does not rest needs no other lock. */
static struct {
    pthread_mutex_t lock; /* of at_rest */
    unsigned at_rest;
    atomic_uint at_work;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct mailbox *mailbox_open(uv_async_t *wakeup) {
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) return NULL;
    lock_init(&mailbox->lock);
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

/* Wakes a mailbox that rests and is locked; `fewer` are at work then: nobody may see one without
 * the other. */
static void rouse(struct mailbox *mailbox, unsigned fewer) {
    if (!mailbox->rests) {
        work.at_work -= fewer;
        return;
    }
    pthread_mutex_lock(&work.lock);
    mailbox->rests = false;
    work.at_rest--;
    work.at_work -= fewer;
    pthread_mutex_unlock(&work.lock);
}

void mailbox_close(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->wakeup = NULL;
    while (list_shift(&mailbox->letters))
        continue;
    rouse(mailbox, 0);
    pthread_mutex_unlock(&mailbox->lock);
    mailbox_unref(mailbox);
}

static enum post post(struct mailbox *mailbox, struct letter *letter, unsigned fewer) {
    pthread_mutex_lock(&mailbox->lock);
    enum post outcome = list_empty(&mailbox->letters) ? POST_FIRST : POST_QUEUED;
    if (!mailbox->wakeup) outcome = POST_REFUSED;
    if (outcome != POST_REFUSED) list_append(&mailbox->letters, &letter->link);
    rouse(mailbox, fewer);
    pthread_mutex_unlock(&mailbox->lock);
    return outcome;
}

enum post mailbox_post(struct mailbox *mailbox, struct letter *letter) {
    return post(mailbox, letter, 0);
}

enum post mailbox_post_last(struct mailbox *mailbox, struct letter *letter) {
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
    work.at_work += (unsigned)change;
}

bool mailbox_rest(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    bool has_letters = !list_empty(&mailbox->letters), is_alone = false;
    if (!has_letters) {
        pthread_mutex_lock(&work.lock);
        is_alone = work.at_rest + 1 >= work.at_work;
        mailbox->rests = !is_alone;
        if (mailbox->rests) work.at_rest++;
        pthread_mutex_unlock(&work.lock);
    }
    pthread_mutex_unlock(&mailbox->lock);
    return !is_alone;
}

void mailbox_rise(struct mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    rouse(mailbox, 0);
    pthread_mutex_unlock(&mailbox->lock);
}
