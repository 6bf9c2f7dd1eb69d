#include "waitq.h"

/* Waits in no queue have NULL links, as zeroed memory has; the head links to itself. */

void waitq_init(struct waitq *queue) {
    queue->head = (lilac_wait){.next = &queue->head, .prev = &queue->head};
}

bool waitq_empty(const struct waitq *queue) {
    return queue->head.next == &queue->head;
}

lilac_wait *waitq_first(const struct waitq *queue) {
    return waitq_empty(queue) ? NULL : queue->head.next;
}

size_t waitq_count(const struct waitq *queue) {
    size_t count = 0;
    for (const lilac_wait *wait = queue->head.next; wait != &queue->head; wait = wait->next) {
        count++;
    }
    return count;
}

struct waitq *waitq_of(const lilac_wait *wait) {
    /* Somebody waits at every member but the head. */
    while (lilac_waiting(wait)) {
        wait = wait->next;
    }
    return (struct waitq *)wait; /* its first member */
}

void waitq_append(struct waitq *queue, lilac_wait *wait) {
    lilac_wait *head = &queue->head;
    wait->prev = head->prev;
    wait->next = head;
    head->prev->next = wait;
    head->prev = wait;
}

void waitq_unlink(lilac_wait *wait) {
    if (!wait->next) return;
    wait->prev->next = wait->next;
    wait->next->prev = wait->prev;
    wait->next = wait->prev = NULL;
}

bool waitq_cancel(lilac_wait *wait) {
    waitq_unlink(wait);
    return true;
}

void waitq_move(struct waitq *to, struct waitq *from) {
    if (waitq_empty(from)) return;
    lilac_wait *first = from->head.next, *last = from->head.prev, *end = to->head.prev;
    end->next = first;
    first->prev = end;
    last->next = &to->head;
    to->head.prev = last;
    waitq_init(from);
}

bool waitq_wake_one(struct waitq *queue) {
    lilac_wait *first = waitq_first(queue);
    if (!first) return false;
    /* Out before the wake: the ready queue uses the same links. */
    waitq_unlink(first);
    lilac_wake(first);
    return true;
}

size_t waitq_wake_all(struct waitq *queue) {
    /* Nobody runs before this returns, so nobody joins the queue meanwhile. */
    size_t count = 0;
    while (waitq_wake_one(queue)) {
        count++;
    }
    return count;
}

int waitq_park(lua_State *L, struct waitq *queue, const lilac_op *op) {
    lilac_wait *wait = lilac_own_wait(L);
    waitq_append(queue, wait);
    return lilac_park(L, wait, op);
}
