/*
 * An intrusive, circular, doubly linked list. A head is a `struct list` that points at itself when
 * the list is empty, and so does a member that is in no list: unlinking twice is harmless.
 */
#ifndef LILAC_LIST_H
#define LILAC_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *node) {
    node->next = node->prev = node;
}

static inline bool list_empty(const struct list *head) {
    return head->next == head;
}

static inline void list_append(struct list *head, struct list *node) {
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_unlink(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Removes and returns the first member, or NULL. */
static inline struct list *list_shift(struct list *head) {
    struct list *first = head->next;
    if (first == head) return NULL;
    list_unlink(first);
    return first;
}

#endif
