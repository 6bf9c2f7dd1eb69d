#include "loop.h"

#include <poll.h>

#include "alloc.h"
#include "interrupt.h"
#include "late.h"
#include "report.h"
#include "runtime.h"

#define RESUMES_PER_TURN 64      /* of what has arrived, and of what is ready */
#define RESUMES_PER_LOOK 8       /* at a cheap clock */
#define POLL_NS          4000000 /* I/O is looked at after so much time, and a tick of that clock */
#define MAX_TIMER_MS     2592000000u /* 30 days */

void loop_init(struct runtime *runtime) {
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    runtime->poll_ns = POLL_NS + (uint64_t)tick.tv_nsec;
    waitq_init(&runtime->ready);
    waitq_init(&runtime->arrived);
    waitq_init(&runtime->aside);
    waitq_init(&runtime->settlers);
    list_init(&runtime->late);
    guesses_init(&runtime->guesses);
}

/* Where many are ready, their memory is not in the cache: asks for the coroutine of the next but
 * one, as a single turn is too short for it to come, and for the place of the one after that. */
static void prefetch_after(const struct waitq *queue, const lilac_wait *wait) {
    const lilac_wait *soon = wait->next->next, *later = soon->next;
    if (soon == &queue->head || later == &queue->head || !soon->task || !soon->task->L) return;
    allocator_prefetch(soon->task->L);
    prefetch(later, 2 * (size_t)CACHE_LINE);
}

/* The next of those that are ready; with --shuffle one of the first few, so that tests meet other
 * orders. */
static lilac_wait *take_from(struct runtime *runtime, struct waitq *queue) {
    lilac_wait *wait = waitq_first(queue);
    if (runtime->options.shuffle) {
        runtime->random ^= runtime->random << 13;
        runtime->random ^= runtime->random >> 7;
        runtime->random ^= runtime->random << 17;
        for (uint64_t steps = runtime->random % 8; steps > 0; steps--)
            if (wait->next != &queue->head) wait = wait->next;
    }
    prefetch_after(queue, wait);
    waitq_unlink(wait);
    if (wait == runtime->last_told) runtime->last_told = NULL;
    return wait;
}

static void look_at_clock(struct runtime *runtime) {
    uint64_t now_ns = clock_coarse_ns();
    ages_look(&runtime->ages, runtime->last_id, now_ns);
    if (runtime->poll_due_ns == 0) runtime->poll_due_ns = now_ns + runtime->poll_ns;
}

/* Whether tasks have run for so long that I/O must be looked at. */
static bool is_poll_due(const struct runtime *runtime) {
    return runtime->ages.look_ns >= runtime->poll_due_ns;
}

HOT static void run_queue(struct runtime *runtime, struct waitq *queue) {
    for (int resumes = 0; resumes < RESUMES_PER_TURN; resumes++) {
        if (waitq_empty(queue)) return;
        if (resumes % RESUMES_PER_LOOK == 0) {
            look_at_clock(runtime);
            if (resumes > 0 && is_poll_due(runtime)) return;
        }
        lilac_wait *wait = take_from(runtime, queue);
        if (runtime->options.stress) lua_gc(runtime->L, LUA_GCCOLLECT);
        runtime->turns++;
        if (wait->task)
            task_resume(wait->task);
        else
            runtime->run_callback(runtime->L, wait);
    }
}

/* uv_run fires timers before it polls: what this one is there for is done after the poll, which
 * must not block any more. */
void loop_on_timer(uv_timer_t *timer) {
    uv_stop(timer->loop);
}

/* What has become ready since `before` was the last was told by the system. */
static void note_told(struct runtime *runtime, const lilac_wait *before) {
    const lilac_wait *last = runtime->ready.head.prev;
    runtime->last_told = last != before ? last : NULL;
}

void loop_poll(struct runtime *runtime, uv_run_mode mode) {
    const lilac_wait *before = runtime->ready.head.prev;
    runtime->polling = true;
    uv_run(&runtime->loop, mode);
    runtime->polling = false;
    runtime->poll_due_ns = 0;
    guesses_drop(&runtime->guesses);
    note_told(runtime, before);
}

/* As good as a poll, but for those that it does not reach. */
static bool guess(struct runtime *runtime) {
    const lilac_wait *before = runtime->ready.head.prev;
    if (is_poll_due(runtime) || !guesses_take(&runtime->guesses)) return false;
    note_told(runtime, before);
    return true;
}

static bool has_ready(const struct runtime *runtime) {
    return !waitq_empty(&runtime->ready) || !waitq_empty(&runtime->arrived);
}

/* Makes ready what is due or has arrived, without waiting for it. It goes before what is ready
 * already: that may be many tasks, and neither a timer nor a client is to wait for them all. While
 * of what the system told last some is left to be served, it would mostly tell that again. */
static void look_around(struct runtime *runtime) {
    waitq_move(&runtime->aside, &runtime->ready);
    clock_fire_due(&runtime->clock);
    mailbox_deliver(runtime->mailbox); /* `wakeup` alone keeps no loop alive */
    bool busy = has_ready(runtime) || !waitq_empty(&runtime->aside);
    if (busy && (!runtime->last_told || is_poll_due(runtime))) {
        runtime->poll_due_ns = 0; /* also where there is nothing to poll */
        if (uv_loop_alive(&runtime->loop)) loop_poll(runtime, UV_RUN_NOWAIT);
    }
    waitq_move(&runtime->arrived, &runtime->ready);
    waitq_move(&runtime->ready, &runtime->aside);
}

static void arm_timer(struct runtime *runtime) {
    uint64_t next_ns = clock_next(&runtime->clock);
    if (next_ns == NEVER_NS) {
        uv_timer_stop(&runtime->timer);
        return;
    }
    uint64_t now_ns = uv_hrtime();
    uint64_t ms = next_ns <= now_ns ? 0 : (next_ns - now_ns + 999999) / 1000000;
    uv_update_time(&runtime->loop);
    uv_timer_start(&runtime->timer, loop_on_timer, ms < MAX_TIMER_MS ? ms : MAX_TIMER_MS, 0);
}

/* Whether anything but the ready queue can ever wake a task. */
static bool is_alive(struct runtime *runtime) {
    if (clock_awaited(&runtime->clock)) return true;
    uv_timer_stop(&runtime->timer);
    return uv_loop_alive(&runtime->loop);
}

bool loop_is_over(const struct runtime *runtime) {
    if (runtime->closing) return runtime->live == 0;
    return !runtime->main->L || runtime->exiting || runtime->deadlocked;
}

/* Whether libuv has something to do at once. */
static bool has_events(uv_loop_t *loop) {
    struct pollfd events = {.fd = uv_backend_fd(loop), .events = POLLIN};
    return uv_loop_alive(loop) && (uv_backend_timeout(loop) == 0 || poll(&events, 1, 0) != 0);
}

/* Nothing is ready: lets libuv do what it has to do, and if that was nothing, all are blocked. */
static void wake_settlers(struct runtime *runtime) {
    clock_fire_due(&runtime->clock);
    if (has_events(&runtime->loop))
        loop_poll(runtime, UV_RUN_NOWAIT);
    else if (waitq_empty(&runtime->ready))
        waitq_wake_all(&runtime->settlers);
}

/* Whether to wait for letters alone: there are some to come, and somebody left to write them. */
static bool rest(struct runtime *runtime) {
    if (runtime->expected == 0 || !mailbox_rest(runtime->mailbox)) return false;
    uv_ref((uv_handle_t *)&runtime->wakeup);
    return true;
}

bool loop_turn(struct runtime *runtime) {
    run_queue(runtime, &runtime->arrived);
    run_queue(runtime, &runtime->ready);
    late_run(&runtime->late);
    if (loop_is_over(runtime)) return true;
    if (runtime->reports_due) report_due(runtime, false);
    if (runtime->interrupt.signal) interrupt_take_signal(runtime);
    if (runtime->interrupt.dump) interrupt_dump(runtime, runtime->L);
    look_around(runtime);
    if (has_ready(runtime)) return true;
    if (!waitq_empty(&runtime->settlers)) {
        wake_settlers(runtime);
        return true;
    }
    if (guess(runtime)) return true;
    bool rests = !is_alive(runtime);
    if (rests && !rest(runtime)) return false;
    arm_timer(runtime);
    loop_poll(runtime, UV_RUN_ONCE);
    if (rests) {
        mailbox_rise(runtime->mailbox);
        uv_unref((uv_handle_t *)&runtime->wakeup);
    }
    runtime->turns++;
    clock_fire_due(&runtime->clock);
    return true;
}
