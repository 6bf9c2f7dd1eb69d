/*
 * The turning of a runtime's loop.
 */
#ifndef LILAC_LOOP_H
#define LILAC_LOOP_H

#include <stdbool.h>
#include <uv.h>

struct runtime;

/* Makes the queues of what is ready. */
void loop_init(struct runtime *runtime);

/* One turn: what is ready runs, then what is due or has arrived becomes ready; waits for it when
 * nothing is ready. False: nothing is ready and nothing can become so. */
bool loop_turn(struct runtime *runtime);

/* Whether what the loop turns for has come: the end of main, or in the shutdown of all tasks. */
bool loop_is_over(const struct runtime *runtime);

/* Lets libuv do what it has to do. */
void loop_poll(struct runtime *runtime, uv_run_mode mode);

/* Of the runtime's timer. */
void loop_on_timer(uv_timer_t *timer);

#endif
