/*
 * lilac.signal. Signals are the process's, and come in any of its threads; who listens has a loop
 * of its own. A handler of the system's notes at the stations of all loops which signal has come,
 * and wakes them; there the listeners for it are told: a function is called soon, as a callback; a
 * task that waits is woken. While somebody listens for a signal, nothing else happens at it; after
 * that, whatever did before.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/object.h"
#include "builtin.h"
#include "callback.h"
#include "signame.h"

/* Of the signals that have names the last is SIGSYS, 31. */
enum { SIGNALS = 32 };

/* The one station of a runtime. */
struct station {
    lilac_handle handle; /* first */
    uv_async_t wakeup;
    struct station *_Atomic next;
    atomic_uint arrived; /* bits by number */
    struct list listeners;
    unsigned awaited; /* handlers, and iterators that a task waits at: they keep the loop alive */
};

/* What a signal handler may touch: the stations, and how many handlers look at them just now. */
static struct station *_Atomic stations;
static atomic_uint lookers;

/* Of the process: how many listen for a signal, and what stood there before. */
static struct {
    pthread_mutex_t lock; /* also of changes of `stations` */
    unsigned listening[SIGNALS];
    struct sigaction before[SIGNALS];
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A function that stands for one signal, or an iterator over several. libuv knows nothing of it. */
struct listener {
    lilac_handle handle; /* first */
    struct station *station;
    struct list link;
    uint32_t wanted, arrived;  /* bits by number */
    struct callback *callback; /* NULL: an iterator */
    lilac_wait waiter;
};

/* Their addresses are keys of the registry: the station, and the open handlers by address. */
static const char station_key, handlers_key;

/* ---- stations -------------------------------------------------------------------------------- */

static void on_signal(int signo) {
    int saved_errno = errno;
    atomic_fetch_add(&lookers, 1);
    for (struct station *at = stations; at; at = at->next) {
        atomic_fetch_or(&at->arrived, 1u << signo);
        uv_async_send(&at->wakeup);
    }
    atomic_fetch_sub(&lookers, 1);
    errno = saved_errno;
}

/* Until no handler looks at what was there before. They wait for nobody, and end at once. */
static void wait_for_lookers(void) {
    while (atomic_load(&lookers) > 0)
        sched_yield();
}

static void add_station(struct station *here) {
    pthread_mutex_lock(&desk.lock);
    here->next = stations;
    stations = here;
    pthread_mutex_unlock(&desk.lock);
}

static void remove_station(struct station *here) {
    pthread_mutex_lock(&desk.lock);
    struct station *_Atomic *at = &stations;
    while (*at && *at != here)
        at = &(*at)->next;
    if (*at) *at = here->next; /* else it could not be opened */
    wait_for_lookers();
    pthread_mutex_unlock(&desk.lock);
}

static void station_hold(struct station *here) {
    if (here->awaited++ == 0) uv_ref((uv_handle_t *)&here->wakeup);
}

static void station_release(struct station *here) {
    if (--here->awaited == 0) uv_unref((uv_handle_t *)&here->wakeup);
}

static void waiter_wake(struct listener *listener) {
    if (!lilac_waiting(&listener->waiter)) return;
    station_release(listener->station);
    lilac_wake(&listener->waiter);
}

static void on_wakeup(uv_async_t *wakeup) {
    struct station *here = container_of(wakeup, struct station, wakeup);
    uint32_t come = atomic_exchange(&here->arrived, 0);
    for (struct list *at = here->listeners.next; at != &here->listeners; at = at->next) {
        struct listener *listener = container_of(at, struct listener, link);
        if (!(listener->wanted & come)) continue;
        if (listener->callback) {
            callback_fire(listener->callback);
        } else {
            listener->arrived |= listener->wanted & come;
            waiter_wake(listener);
        }
    }
}

/* The last one who listened for it has left, and the desk is locked. A signal that nobody was told
 * of yet is for what stands there from now on. */
static void stop_listening(struct station *here, int signo) {
    sigaction(signo, &desk.before[signo], NULL);
    wait_for_lookers();
    uint32_t bit = 1u << signo;
    if (atomic_fetch_and(&here->arrived, ~bit) & bit) kill(getpid(), signo);
}

/* A callback is cancelled by who can. */
static void listener_on_close(lilac_handle *handle) {
    struct listener *listener = (struct listener *)handle;
    struct station *here = listener->station;
    if (!here) return;
    if (listener->callback) station_release(here);
    waiter_wake(listener);
    list_unlink(&listener->link);
    pthread_mutex_lock(&desk.lock);
    for (int signo = 1; signo < SIGNALS; signo++)
        if (listener->wanted & 1u << signo && --desk.listening[signo] == 0)
            stop_listening(here, signo);
    pthread_mutex_unlock(&desk.lock);
}

static const lilac_handle_type handler_type = {
    .name = "lilac.SignalHandle", .size = sizeof(struct listener), .on_close = listener_on_close};
static const lilac_handle_type iterator_type = {
    .name = "lilac.SignalIterator", .size = sizeof(struct listener), .on_close = listener_on_close};

static void station_on_close(lilac_handle *handle) {
    struct station *here = (struct station *)handle;
    while (!list_empty(&here->listeners))
        lilac_handle_close(&container_of(here->listeners.next, struct listener, link)->handle);
    remove_station(here);
}

static const lilac_handle_type station_type = {
    .name = "lilac.Signals", .size = sizeof(struct station), .on_close = station_on_close};

/* The station of this state, which is opened when it is not there; pushes nothing. */
static struct station *station_open(lua_State *L, const char *op) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &station_key);
    struct station *here = lua_isnil(L, -1) ? NULL : lilac_handle_test(L, -1, &station_type);
    lua_pop(L, 1);
    if (here) return here;
    here = lilac_handle_new(L, &station_type);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &station_key);
    list_init(&here->listeners);
    int status = uv_async_init(lilac_loop(L), &here->wakeup, on_wakeup);
    if (status != 0) lilac_raise(L, status, "%s", op);
    lilac_handle_opened(&here->handle, (uv_handle_t *)&here->wakeup);
    uv_unref((uv_handle_t *)&here->wakeup);
    add_station(here);
    return here;
}

/* The signals that somebody at this station listens for. */
static uint32_t wanted_at(const struct station *here) {
    uint32_t wanted = 0;
    for (struct list *at = here->listeners.next; at != &here->listeners; at = at->next)
        wanted |= container_of(at, struct listener, link)->wanted;
    return wanted;
}

/* Plain C. What came before is not for the first who listens here. */
static void listener_join(struct listener *listener, struct station *here, uint32_t wanted) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    atomic_fetch_and(&here->arrived, wanted_at(here));
    listener->station = here;
    listener->wanted = wanted;
    list_append(&here->listeners, &listener->link);
    pthread_mutex_lock(&desk.lock);
    for (int signo = 1; signo < SIGNALS; signo++)
        if (wanted & 1u << signo && desk.listening[signo]++ == 0)
            sigaction(signo, &action, &desk.before[signo]);
    pthread_mutex_unlock(&desk.lock);
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* The signal named at `arg`, if one can listen for it. */
static int check_catchable(lua_State *L, int arg) {
    int signo = signame_check(L, arg);
    const char *why;
    switch (signo) {
    case SIGKILL:
    case SIGSTOP: why = "cannot be caught"; break;
    case SIGCHLD: why = "belongs to lilac, which reaps what lilac.process starts"; break;
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL: why = "means that the process is broken: it cannot go on"; break;
    default: return signo;
    }
    return luaL_argerror(L, arg, lua_pushfstring(L, "%s %s", signame_text(signo), why));
}

/* The signals named by all the arguments. */
static uint32_t check_names(lua_State *L) {
    uint32_t wanted = 0;
    int count = lua_gettop(L);
    for (int arg = 1; arg == 1 || arg <= count; arg++)
        wanted |= 1u << check_catchable(L, arg);
    return wanted;
}

/* ---- handle ---------------------------------------------------------------------------------- */

/* Anchors the handler at 1 while it is open, or lets it go. */
static void set_anchored(lua_State *L, bool on) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key);
    if (on)
        lua_pushvalue(L, 1);
    else
        lua_pushnil(L);
    lua_rawsetp(L, -2, lua_touserdata(L, 1));
    lua_pop(L, 1);
}

/* handle(name, fn) → handle; calls fn(name) at each signal, as a callback. */
static int signal_handle(lua_State *L) {
    int signo = check_catchable(L, 1);
    args_callable(L, 2);
    struct station *here = station_open(L, "signal.handle");
    struct listener *listener = lilac_handle_new(L, &handler_type);
    lua_replace(L, 1);
    lua_settop(L, 2);
    lua_pushstring(L, signame_text(signo));
    struct callback *callback = callback_standing(L, 2);
    lua_settop(L, 1);
    set_anchored(L, true);
    listener->callback = callback;
    listener_join(listener, here, 1u << signo);
    station_hold(here);
    return 1;
}

/* handle:close() */
static int handler_close(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &handler_type);
    if (!listener) return 0;
    callback_cancel(L, listener->callback);
    set_anchored(L, false);
    lilac_handle_release(L, 1);
    return 0;
}

/* ---- iter, wait ------------------------------------------------------------------------------ */

static struct listener *listener_of(lilac_wait *wait) {
    return container_of(wait, struct listener, waiter);
}

/* Takes the first of the signals that have come, in the order of their numbers. NULL: none has. */
static const char *listener_take(struct listener *listener) {
    for (int signo = 1; signo < SIGNALS; signo++) {
        if (!(listener->arrived & 1u << signo)) continue;
        listener->arrived &= ~(1u << signo);
        return signame_text(signo);
    }
    return NULL;
}

/* "SIGHUP SIGINT" */
static void listener_text(const struct listener *listener, char *text, size_t size) {
    size_t used = 0;
    *text = '\0';
    for (int signo = 1; signo < SIGNALS && used < size; signo++) {
        if (!(listener->wanted & 1u << signo)) continue;
        used += (size_t)snprintf(text + used, size - used, used > 0 ? " %s" : "%s",
                                 signame_text(signo));
    }
}

static void listener_describe(lilac_wait *wait, char *text, size_t size) {
    listener_text(listener_of(wait), text, size);
}

static int listener_park(lua_State *L, struct listener *listener, const lilac_op *op) {
    station_hold(listener->station);
    return lilac_park(L, &listener->waiter, op);
}

/* Makes a listener for the signals named by the arguments the only value on the stack. */
static struct listener *listener_new(lua_State *L, const char *op) {
    uint32_t wanted = check_names(L);
    struct station *here = station_open(L, op);
    lua_settop(L, 0);
    struct listener *listener = lilac_handle_new(L, &iterator_type);
    listener_join(listener, here, wanted);
    return listener;
}

static bool next_cancel(lilac_wait *wait) {
    station_release(listener_of(wait)->station);
    return true;
}

/* A signal, or the end: the iterator was closed. */
static int next_done(lua_State *L, lilac_wait *wait) {
    struct listener *listener = lilac_handle_test(L, 1, &iterator_type);
    (void)wait;
    lua_pushstring(L, listener ? listener_take(listener) : NULL);
    return 1;
}

static const lilac_op next_op = {
    .name = "signal:iter", .cancel = next_cancel, .done = next_done, .describe = listener_describe};

/* iterator() → name; nil when it is closed */
static int iterator_next(lua_State *L) {
    struct listener *listener = lilac_handle_test(L, 1, &iterator_type);
    lilac_checkpoint(L);
    if (listener) lilac_refuse_second(L, &listener->waiter, "signal iterator");
    if (!listener || listener->arrived) return next_done(L, NULL);
    return listener_park(L, listener, &next_op);
}

/* iter(name, …) → iterator */
static int signal_iter(lua_State *L) {
    listener_new(L, "signal.iter");
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 1); /* the loop closes it */
    return 4;
}

static bool wait_cancel(lilac_wait *wait) {
    lilac_handle_close(&listener_of(wait)->handle);
    return true;
}

static int wait_done(lua_State *L, lilac_wait *wait) {
    struct listener *listener = lilac_handle_test(L, 1, &iterator_type);
    next_done(L, wait);
    if (listener) lilac_handle_close(&listener->handle);
    return 1;
}

static const lilac_op wait_op = {
    .name = "signal:wait", .cancel = wait_cancel, .done = wait_done, .describe = listener_describe};

/* wait(name, …) → name */
static int signal_wait(lua_State *L) {
    check_names(L);
    lilac_checkpoint(L);
    return listener_park(L, listener_new(L, "signal.wait"), &wait_op);
}

/* ---- raise, kill ----------------------------------------------------------------------------- */

/* raise(name): sends a signal to this process. */
static int signal_raise(lua_State *L) {
    kill(getpid(), signame_check(L, 1));
    return 0;
}

/* kill(pid, name) */
static int signal_kill(lua_State *L) {
    pid_t pid = (pid_t)args_integer(L, 1, "process id", 1, INT32_MAX);
    int signo = signame_check(L, 2);
    if (kill(pid, signo) == 0) return 0;
    return lilac_raise(L, uv_translate_sys_error(errno), "kill %d", (int)pid);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int listener_tostring(lua_State *L, const lilac_handle_type *type) {
    struct listener *listener = lilac_handle_test(L, 1, type);
    char text[120] = "closed";
    if (listener) listener_text(listener, text, sizeof text);
    lua_pushstring(L, text);
    return object_tostring(L);
}

static int handler_tostring(lua_State *L) {
    return listener_tostring(L, &handler_type);
}

static int iterator_tostring(lua_State *L) {
    return listener_tostring(L, &iterator_type);
}

int luaopen_lilac_signal(lua_State *L) {
    static const luaL_Reg handler_methods[] = {{"close", handler_close}, {NULL, NULL}};
    static const luaL_Reg handler_meta[] = {
        {"__close", handler_close}, {"__tostring", handler_tostring}, {NULL, NULL}};
    static const luaL_Reg iterator_meta[] = {
        {"__call", iterator_next}, {"__tostring", iterator_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"handle", signal_handle}, {"wait", signal_wait},
                                         {"iter", signal_iter},     {"raise", signal_raise},
                                         {"kill", signal_kill},     {NULL, NULL}};
    lilac_check_version(L);
    lilac_handle_metatable(L, &station_type, NULL, NULL);
    lilac_handle_metatable(L, &handler_type, handler_methods, handler_meta);
    lilac_handle_metatable(L, &iterator_type, NULL, iterator_meta);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key);
    luaL_newlib(L, functions);
    return 1;
}
