/*
 * What is to be done once, when the tasks that are ready have run, and before the loop looks for
 * I/O again: sending in one piece what they have written, say.
 */
#ifndef LILAC_LATE_H
#define LILAC_LATE_H

#include "../lilac.h"
#include "list.h"

struct late {
    struct list link;               /* in the runtime's list, while it is planned */
    void (*run)(struct late *late); /* plain C; it is not planned any more */
};

void late_init(struct late *late, void (*run)(struct late *late));

/* It is not planned yet. */
void late_plan(lua_State *L, struct late *late);

/* Whether it was planned; it is not any more. */
bool late_drop(struct late *late);

/* Runs what is in the list, and what that plans. */
void late_run(struct list *planned);

#endif
