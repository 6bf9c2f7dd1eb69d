/*
 * Guesses: a read that is likely to find something is tried, in place of asking the system which
 * reads would. To ask costs a tenth of a small message, and a client that was answered in one turn
 * of the loop has mostly asked again by the next. Where that is not so, guessing rests for a while.
 */
#ifndef LILAC_GUESS_H
#define LILAC_GUESS_H

#include "../lilac.h"
#include "list.h"

struct guess {
    struct list link; /* while it is planned */

    /* Plain C: reads, and wakes whom that is for. False: there was nothing. */
    bool (*take)(struct guess *guess);
};

/* Of a runtime. */
struct guesses {
    struct list planned; /* since the system was asked */
    unsigned taken;      /* likewise */
    unsigned pause;      /* how many opportunities are missed after a poor round; … */
    unsigned pause_left; /* … and still to be missed */
};

void guesses_init(struct guesses *guesses);

/* Takes those that are planned, as far as there are not too many. False: there was nothing, and the
 * system is to be asked. */
bool guesses_take(struct guesses *guesses);

/* The system was asked: it knows better than what was planned. */
void guesses_drop(struct guesses *guesses);

void guess_init(struct guess *guess, bool (*take)(struct guess *guess));

/* It is not planned yet. */
void guess_plan(lua_State *L, struct guess *guess);

/* It is not planned any more, if it was. */
void guess_drop(struct guess *guess);

#endif
