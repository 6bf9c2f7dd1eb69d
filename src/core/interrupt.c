#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "scope.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICK_NS     10000000 /* a task that computes is looked at so often, while watched */
#define TICK_SIGNAL (SIGRTMIN + 7)

static const int end_signals[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
static const char *const end_names[] = {"SIGHUP", "SIGINT", "SIGTERM", "SIGPIPE"};
#define END_SIGNALS (sizeof end_signals / sizeof *end_signals)

static struct runtime *volatile signal_owner;
static pthread_t signal_thread;

static const char *signal_name(int signo) {
    size_t i = 0;
    while (end_signals[i] != signo)
        i++;
    return end_names[i];
}

/* ---- the hook -------------------------------------------------------------------------------- */

static void on_hook(lua_State *L, lua_Debug *ar);

/* Puts the user's hook back in place; what the user has set meanwhile stays. */
static void restore_hook(struct interrupt *interrupt) {
    lua_State *L = interrupt->planted_in;
    interrupt->restoring = true;
    if (lua_gethook(L) == on_hook)
        lua_sethook(L, interrupt->hook, interrupt->hook_mask, interrupt->hook_count);
    interrupt->planted_in = NULL;
    interrupt->restoring = false;
}

/* Who runs has run for a while: a poke may hit anybody. */
static bool is_holding(const struct runtime *runtime) {
    return runtime->interrupt.held_ticks > 1;
}

/* Another task than the main one, which is to stop, computes. Told once, so that its clean-up may
 * compute, too. */
static bool is_in_the_way(const struct runtime *runtime, struct task *task) {
    if (!runtime->stopping || task == runtime->main || task->stopped) return false;
    return task->stopped = is_holding(runtime);
}

/* Makes pending what has to stop the running task now. */
static bool is_stopped(struct runtime *runtime, struct task *task) {
    int signo = runtime->interrupt.signal;
    if (signo) {
        interrupt_take_signal(runtime);
        if (task != runtime->main && task->pending == 0) {
            struct cancel_origin origin = {.by = signal_name(signo)};
            task_cancel(task, &origin, LUA_NOREF);
        }
        return true;
    }
    if (runtime->closing || runtime->stopping) {
        /* Its clean-up, too, has to come to an end. */
        static const struct cancel_origin origin = {.by = "the end of the grace"};
        bool is_late = clock_now(&runtime->clock) >= runtime->grace_end_ns;
        if (task->pending == 0 && (is_late || is_in_the_way(runtime, task)))
            task_cancel(task, &origin, LUA_NOREF);
        return task->pending > 0;
    }
    uint64_t now_ns = clock_now(&runtime->clock);
    bool stopped = false;
    for (struct scope *scope = task->scope; scope; scope = scope->outer) {
        if (!scope->interrupt || scope->delivered) continue;
        if (scope->deadline.place != 0 && clock_when(&runtime->clock, &scope->deadline) <= now_ns) {
            clock_disarm(&runtime->clock, &scope->deadline);
            scope_cancel(scope);
        }
        stopped = stopped || scope->requested;
    }
    return stopped;
}

/* A callback computes: it fails, so that the loop can turn and main be cancelled. */
static void stop_callback(lua_State *L, struct runtime *runtime) {
    struct cancel_origin origin = {.by = "the cancellation of its thread"};
    if (runtime->interrupt.signal) {
        origin.by = signal_name(runtime->interrupt.signal);
        interrupt_take_signal(runtime);
    }
    error_new_cancelled(L, CANCELLED_CALLBACK, true, &origin);
    lua_error(L);
}

/* --debug: tells who holds the loop, once for each stretch, while it lasts. */
static void report_slow(lua_State *L, struct runtime *runtime) {
    struct interrupt *interrupt = &runtime->interrupt;
    double held_s = interrupt->held_ticks * (TICK_NS / 1e9);
    if (held_s < runtime->options.slow_callback_s || interrupt->slow_turn == runtime->turns) return;
    interrupt->slow_turn = runtime->turns;
    char who[TASK_TEXT] = "a callback";
    if (runtime->current) task_text(runtime->current, who, sizeof who);
    luaL_traceback(L, L, NULL, 0);
    fprintf(stderr, "lilac: %s has held the loop for %.2f s\n%s\n", who, held_s,
            lua_tostring(L, -1));
    lua_pop(L, 1);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
    struct runtime *runtime = runtime_of(L);
    struct interrupt *interrupt = &runtime->interrupt;
    if (interrupt->planted_in != L) { /* left behind by an earlier planting */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    lua_Hook user_hook = interrupt->hook;
    int user_mask = interrupt->hook_mask;
    restore_hook(interrupt);
    if (user_hook && (user_mask & (1 << ar->event))) user_hook(L, ar);
    struct task *task = runtime->current;
    if (atomic_exchange(&interrupt->poked, false)) mailbox_deliver(runtime->mailbox);
    if (interrupt->dump) interrupt_dump(runtime, L);
    if (runtime->options.debug && lua_checkstack(L, 4)) report_slow(L, runtime);
    bool is_stopping = runtime->stopping && is_holding(runtime);
    if (!task && (interrupt->signal || is_stopping)) stop_callback(L, runtime);
    if (task && is_stopped(runtime, task) && task->pending > 0) task_raise_cancellation(L, task, 0);
}

/* In a signal handler on the loop's thread. Where the hook was planted before, it is in place
 * still, or the user has set another one since, or that state waits for this one to return. */
static void plant(struct interrupt *interrupt, lua_State *L) {
    if (interrupt->restoring) return;
    if (interrupt->planted_in == L && lua_gethook(L) == on_hook) return;
    if (interrupt->planted_in) restore_hook(interrupt);
    interrupt->hook = lua_gethook(L);
    interrupt->hook_mask = lua_gethookmask(L);
    interrupt->hook_count = lua_gethookcount(L);
    interrupt->planted_in = L;
    lua_sethook(L, on_hook, interrupt->hook_mask | LUA_MASKCOUNT, 1);
}

void interrupt_unplant(struct runtime *runtime, lua_State *L) {
    if (runtime->interrupt.planted_in == L)
        restore_hook(&runtime->interrupt);
    else if (lua_gethook(L) == on_hook)
        lua_sethook(L, NULL, 0, 0);
}

/* ---- signals --------------------------------------------------------------------------------- */

/* The loop has not turned since the last tick: whoever runs now holds it. */
static void on_tick(int signo, siginfo_t *info, void *context) {
    (void)signo;
    (void)context;
    struct runtime *runtime = info->si_value.sival_ptr;
    struct interrupt *interrupt = &runtime->interrupt;
    lua_State *L = runtime->running;
    bool held = L && (interrupt->last_turn == runtime->turns || interrupt->poked);
    interrupt->held_ticks = held ? interrupt->held_ticks + 1 : 0;
    if (held) plant(interrupt, L);
    interrupt->last_turn = runtime->turns;
}

/* The first tick comes after `first_ns`; 0: none comes any more. */
static void set_timer(struct interrupt *interrupt, long first_ns) {
    struct itimerspec interval = {.it_value.tv_nsec = first_ns};
    if (first_ns > 0) interval.it_interval.tv_nsec = TICK_NS;
    if (interrupt->has_timer) timer_settime(interrupt->timer, 0, &interval, NULL);
}

static void set_ticking(struct interrupt *interrupt, bool on) {
    set_timer(interrupt, on ? TICK_NS : 0);
}

void interrupt_poke(struct runtime *runtime) {
    runtime->interrupt.poked = true;
    set_timer(&runtime->interrupt, 1);
}

void interrupt_unpoke(struct runtime *runtime) {
    runtime->interrupt.poked = false;
    runtime->interrupt.held_ticks = 0;
    if (runtime->interrupt.watches == 0) set_ticking(&runtime->interrupt, false);
}

/* A signal may arrive in any thread; what it is about is the owner's. */
static bool is_elsewhere(int signo) {
    if (!signal_owner || pthread_equal(signal_thread, pthread_self())) return false;
    pthread_kill(signal_thread, signo);
    return true;
}

static void end_by(struct runtime *runtime, int signo) {
    runtime->interrupt.signal = signo;
    uv_async_send(&runtime->wakeup);
    set_ticking(&runtime->interrupt, true); /* main may be computing */
}

/* Whether a SIGPIPE means that nobody reads stdout any more, which `print` does not tell: the
 * program ends then, as any filter. All other broken pipes are errors of those who write. */
static bool is_end_of_stdout(struct interrupt *interrupt) {
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (interrupt->stdout_broken) return false;
    interrupt->stdout_broken = poll(&out, 1, 0) > 0 && (out.revents & POLLERR);
    return interrupt->stdout_broken;
}

static void (*volatile before_death)(void);

static void on_end_signal(int signo) {
    int saved_errno = errno;
    struct runtime *runtime = signal_owner;
    bool is_ending = runtime && runtime->interrupt.signals > 0;
    if (is_elsewhere(signo) || (is_ending && signo == SIGHUP)) {
        /* It arrives there; or a terminal that goes away has sent it more than once, which is no
         * sign of impatience. */
    } else if (signo == SIGPIPE) {
        if (runtime && is_end_of_stdout(&runtime->interrupt)) end_by(runtime, signo);
    } else if (!runtime || runtime->interrupt.signals++ > 0) {
        if (before_death) before_death();
        signal(signo, SIG_DFL);
        raise(signo);
    } else {
        end_by(runtime, signo);
    }
    errno = saved_errno;
}

/* SIGQUIT asks for a list of the tasks, also while one of them computes. */
static void on_dump_signal(int signo) {
    int saved_errno = errno;
    struct runtime *runtime = signal_owner;
    if (!is_elsewhere(signo) && runtime) {
        runtime->interrupt.dump = 1;
        uv_async_send(&runtime->wakeup);
        set_ticking(&runtime->interrupt, true);
    }
    errno = saved_errno;
}

void interrupt_dump(struct runtime *runtime, lua_State *L) {
    runtime->interrupt.dump = 0;
    if (runtime->interrupt.watches == 0) set_ticking(&runtime->interrupt, false);
    dump_print(L);
}

void interrupt_take_signal(struct runtime *runtime) {
    struct interrupt *interrupt = &runtime->interrupt;
    int signo = interrupt->signal;
    interrupt->signal = 0;
    if (interrupt->watches == 0) set_ticking(interrupt, false);
    if (!runtime->main) { /* main is over: what is left is being cancelled anyway */
        runtime->exit_signal = signo;
        return;
    }
    struct cancel_origin origin = {.by = signal_name(signo)};
    task_cancel(runtime->main, &origin, LUA_NOREF);
}

void interrupt_end(struct runtime *runtime) {
    if (runtime->interrupt.signal) runtime->exit_signal = runtime->interrupt.signal;
    runtime->interrupt.signal = 0;
}

bool interrupt_ended_main(struct runtime *runtime, int index) {
    struct error *error = error_test(runtime->L, index);
    for (size_t i = 0; error && i < END_SIGNALS; i++) {
        if (error->origin.by != end_names[i]) continue;
        runtime->exit_signal = end_signals[i];
        return true;
    }
    return false;
}

bool interrupt_ends_filter(const struct runtime *runtime) {
    struct sigaction action;
    return runtime->interrupt.stdout_broken && sigaction(SIGPIPE, NULL, &action) == 0 &&
           action.sa_handler == on_end_signal;
}

void interrupt_before_death(void (*restore)(void)) {
    before_death = restore;
}

void interrupt_watch(struct runtime *runtime) {
    if (runtime->interrupt.watches++ == 0) set_ticking(&runtime->interrupt, true);
}

void interrupt_unwatch(struct runtime *runtime) {
    if (--runtime->interrupt.watches == 0) set_ticking(&runtime->interrupt, false);
}

void interrupt_open(struct runtime *runtime) {
    struct interrupt *interrupt = &runtime->interrupt;
    struct sigaction action = {.sa_flags = SA_RESTART | SA_SIGINFO, .sa_sigaction = on_tick};
    sigaction(TICK_SIGNAL, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    event.sigev_value.sival_ptr = runtime;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    interrupt->has_timer = timer_create(CLOCK_MONOTONIC, &event, &interrupt->timer) == 0;
    if (runtime->options.debug) interrupt_watch(runtime);
    if (signal_owner || runtime->options.is_thread) return;
    signal_thread = pthread_self();
    signal_owner = runtime;
    action = (struct sigaction){.sa_flags = SA_RESTART, .sa_handler = on_dump_signal};
    sigaction(SIGQUIT, &action, &interrupt->old_quit);
    action.sa_handler = on_end_signal;
    for (size_t i = 0; i < END_SIGNALS; i++) {
        /* What whoever started us has ignored (nohup; a shell, for what it runs in the background)
         * is none of our business. */
        sigaction(end_signals[i], NULL, &interrupt->old_end[i]);
        if (interrupt->old_end[i].sa_handler != SIG_IGN) sigaction(end_signals[i], &action, NULL);
    }
}

void interrupt_close(struct runtime *runtime) {
    struct interrupt *interrupt = &runtime->interrupt;
    if (interrupt->has_timer) timer_delete(interrupt->timer);
    interrupt->has_timer = false;
    interrupt->watches = 0;
    if (signal_owner != runtime) return;
    signal_owner = NULL;
    sigaction(SIGQUIT, &interrupt->old_quit, NULL);
    for (size_t i = 0; i < END_SIGNALS; i++)
        sigaction(end_signals[i], &interrupt->old_end[i], NULL);
}
