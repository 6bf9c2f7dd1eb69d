/*
 * Stopping what runs: SIGINT and its like, and code that computes without awaiting. A signal
 * handler on the loop's own thread plants a one-shot debug hook in the Lua state that is executing;
 * the hook runs at a clean Lua instruction, where it may raise. Not armed, all of this costs
 * nothing.
 */
#ifndef LILAC_INTERRUPT_H
#define LILAC_INTERRUPT_H

#include "runtime.h"

/* From here on signals and the watch work on this runtime, until interrupt_close. Of several
 * runtimes in a process the first has the signals, unless it is a thread of another. */
void interrupt_open(struct runtime *runtime);
void interrupt_close(struct runtime *runtime);

/* Watches for code that holds the loop, while there is a reason to stop it: an interrupt scope, a
 * signal, a shutdown. Calls nest. */
void interrupt_watch(struct runtime *runtime);
void interrupt_unwatch(struct runtime *runtime);

/* From another thread, which has written to the mailbox of a runtime that is open: has that
 * delivered at the next instruction, should Lua be running. The thread of the runtime itself takes
 * that back when it is too late. */
void interrupt_poke(struct runtime *runtime);
void interrupt_unpoke(struct runtime *runtime);

/* Cancels main because of the signal that has arrived. */
void interrupt_take_signal(struct runtime *runtime);

/* Prints the tasks, as SIGQUIT has asked. */
void interrupt_dump(struct runtime *runtime, lua_State *L);

/* The end: a signal that came too late to cancel anything is what the process dies of. */
void interrupt_end(struct runtime *runtime);

/* Whether main is being cancelled because nobody reads stdout any more. */
bool interrupt_ends_filter(const struct runtime *runtime);

/* Calls `restore` before a signal ends the process at once, in the signal handler. */
void interrupt_before_death(void (*restore)(void));

/* Whether the cancellation at `index`, which ended main, came from a signal: the process is to die
 * of it then. */
bool interrupt_ended_main(struct runtime *runtime, int index);

/* Takes back a hook that is planted in L, which goes to the pool. */
void interrupt_unplant(struct runtime *runtime, lua_State *L);

#endif
