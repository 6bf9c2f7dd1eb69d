/*
 * The runtime's end of the handles. What modules need of them is in lilac.h.
 */
#ifndef LILAC_HANDLE_H
#define LILAC_HANDLE_H

#include "../lilac.h"

struct runtime;

/* Closes every block that is left, for the shutdown, when no task runs any more. Turns the loop for
 * a bounded time when closed streams still have something to send. The blocks die in the loop turns
 * that follow. */
void handle_close_all(struct runtime *runtime);

/* Frees the blocks that are left when the loop has run dry: those whose boxes were never finalised.
 * At the very end, when no script runs any more. */
void handle_free_all(struct runtime *runtime);

#endif
