#include "guess.h"

#include "runtime.h"

enum {
    MOST = 192, /* before the system is asked, as others wait for that: they take about 1 ms */
    WORTH = 4,  /* a miss costs more than a hit saves: one of so many may be one */
    MAX_PAUSE = 255
};

void guesses_init(struct guesses *guesses) {
    *guesses = (struct guesses){0};
    list_init(&guesses->planned);
}

/* After each poor round the pause is longer, and after a good one as much shorter. */
static void learn(struct guesses *guesses, bool was_poor) {
    guesses->pause = was_poor ? 2 * guesses->pause + 1 : guesses->pause / 2;
    if (guesses->pause > MAX_PAUSE) guesses->pause = MAX_PAUSE;
    guesses->pause_left = was_poor ? guesses->pause : 0;
}

bool guesses_take(struct guesses *guesses) {
    struct list *link;
    unsigned taken = 0, missed = 0;
    if (list_empty(&guesses->planned) || guesses->taken == MOST) return false;
    if (guesses->pause_left > 0) {
        guesses->pause_left--;
        return false;
    }
    while (guesses->taken < MOST && (link = list_shift(&guesses->planned))) {
        struct guess *guess = container_of(link, struct guess, link);
        guesses->taken++;
        taken++;
        if (!guess->take(guess)) missed++;
    }
    learn(guesses, missed * WORTH > taken);
    return missed < taken;
}

void guesses_drop(struct guesses *guesses) {
    guesses->taken = 0;
    while (list_shift(&guesses->planned))
        continue;
}

void guess_init(struct guess *guess, bool (*take)(struct guess *guess)) {
    list_init(&guess->link);
    guess->take = take;
}

void guess_plan(lua_State *L, struct guess *guess) {
    list_append(&runtime_of(L)->guesses.planned, &guess->link);
}

void guess_drop(struct guess *guess) {
    list_unlink(&guess->link);
}
