/*
 * Event, Semaphore, BoundedSemaphore and Barrier; Lock and Condition come from lock.c.
 *
 * All keep their waiters in the order of arrival. Whoever ends a wait settles its outcome at once:
 * a released permit is its first waiter's from then on, an event once set lets go all who waited, a
 * full barrier all who stood at it, whatever happens to it before they run.
 */
#include <stdio.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/object.h"
#include "../core/waitq.h"
#include "../lilac.h"
#include "lock.h"

int luaopen_lilac_sync(lua_State *L);

/* ---- Event ----------------------------------------------------------------------------------- */

struct event {
    const struct object_type *type;
    bool set;
    struct waitq waiters;
};

static const struct object_type event_type = {"Event", sizeof(struct event)};

static int event_wait_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    lua_pushboolean(L, true);
    return 1;
}

static const lilac_op event_wait_op = {
    .name = "event:wait",
    .cancel = waitq_cancel,
    .done = event_wait_done,
};

static int event_wait(lua_State *L) {
    struct event *event = object_check(L, 1, &event_type);
    lilac_checkpoint(L);
    if (!event->set) return waitq_park(L, &event->waiters, &event_wait_op);
    lua_pushboolean(L, true);
    return 1;
}

static int event_set(lua_State *L) {
    struct event *event = object_check(L, 1, &event_type);
    event->set = true;
    waitq_wake_all(&event->waiters);
    return 0;
}

static int event_clear(lua_State *L) {
    struct event *event = object_check(L, 1, &event_type);
    event->set = false;
    return 0;
}

static int event_is_set(lua_State *L) {
    struct event *event = object_check(L, 1, &event_type);
    lua_pushboolean(L, event->set);
    return 1;
}

/* The end of a __tostring: the state is on top of the stack. */
static int tostring(lua_State *L, const struct waitq *waiters) {
    size_t count = waitq_count(waiters);
    if (count > 0) {
        lua_pushfstring(L, "%s, %I waiting", lua_tostring(L, -1), (LUAI_UACINT)count);
    }
    return object_tostring(L);
}

static int event_tostring(lua_State *L) {
    struct event *event = object_check(L, 1, &event_type);
    lua_pushstring(L, event->set ? "set" : "unset");
    return tostring(L, &event->waiters);
}

static int event_new(lua_State *L) {
    struct event *event = object_new(L, &event_type, "lilac.Event", 0);
    waitq_init(&event->waiters);
    return 1;
}

/* ---- Semaphore and BoundedSemaphore ---------------------------------------------------------- */

struct semaphore {
    const struct object_type *type;
    lua_Integer value; /* free permits: above 0 only while nobody waits */
    lua_Integer bound; /* the most of them */
    struct waitq waiters;
};

static const struct object_type semaphore_type = {"Semaphore", sizeof(struct semaphore)};

static int semaphore_acquire_done(lua_State *L, lilac_wait *wait) {
    (void)wait; /* the permit came with the wake */
    lua_settop(L, 1);
    return 1;
}

static const lilac_op semaphore_acquire_op = {
    .name = "semaphore:acquire",
    .cancel = waitq_cancel,
    .done = semaphore_acquire_done,
};

static int semaphore_acquire(lua_State *L) {
    struct semaphore *semaphore = object_check(L, 1, &semaphore_type);
    lilac_checkpoint(L);
    if (semaphore->value == 0) {
        return waitq_park(L, &semaphore->waiters, &semaphore_acquire_op);
    }
    semaphore->value--;
    lua_settop(L, 1);
    return 1;
}

static int semaphore_release(lua_State *L) {
    struct semaphore *semaphore = object_check(L, 1, &semaphore_type);
    if (semaphore->value >= semaphore->bound) {
        const char *bound = lua_pushfstring(L, "%I", (LUAI_UACINT)semaphore->bound);
        return lilac_throw(L, "InvalidStateError", "release: all %s permits are free already",
                           bound);
    }
    if (!waitq_wake_one(&semaphore->waiters)) semaphore->value++;
    return 0;
}

static int semaphore_locked(lua_State *L) {
    struct semaphore *semaphore = object_check(L, 1, &semaphore_type);
    lua_pushboolean(L, semaphore->value == 0);
    return 1;
}

static int semaphore_value(lua_State *L) {
    struct semaphore *semaphore = object_check(L, 1, &semaphore_type);
    lua_pushinteger(L, semaphore->value);
    return 1;
}

static int semaphore_tostring(lua_State *L) {
    struct semaphore *semaphore = object_check(L, 1, &semaphore_type);
    lua_pushfstring(L, "%I free", (LUAI_UACINT)semaphore->value);
    return tostring(L, &semaphore->waiters);
}

static struct semaphore *semaphore_create(lua_State *L, const char *class_name) {
    lua_Integer value =
        lua_isnoneornil(L, 1) ? 1 : args_integer(L, 1, "number of permits", 0, LUA_MAXINTEGER);
    struct semaphore *semaphore = object_new(L, &semaphore_type, class_name, 0);
    semaphore->value = value;
    semaphore->bound = LUA_MAXINTEGER;
    waitq_init(&semaphore->waiters);
    return semaphore;
}

static int semaphore_new(lua_State *L) {
    semaphore_create(L, "lilac.Semaphore");
    return 1;
}

static int bounded_semaphore_new(lua_State *L) {
    struct semaphore *semaphore = semaphore_create(L, "lilac.BoundedSemaphore");
    semaphore->bound = semaphore->value;
    return 1;
}

/* ---- Barrier --------------------------------------------------------------------------------- */

struct barrier {
    const struct object_type *type;
    lua_Integer parties;
    lua_Integer waiting;
    bool broken;
    struct waitq waiters; /* of barrier_waits */
};

/* One task at the barrier: a userdata on its stack, where the outcome is written before the wake.
 */
struct barrier_wait {
    lilac_wait wait;
    struct barrier *barrier;
    lua_Integer index; /* 0: the barrier was aborted or reset */
};

static const struct object_type barrier_type = {"Barrier", sizeof(struct barrier)};

/* Lets all go who stand at the barrier, with their numbers, or with an error when it broke. */
static void barrier_let_go(struct barrier *barrier, bool broken) {
    lilac_wait *wait;
    for (lua_Integer index = 1; (wait = waitq_first(&barrier->waiters)); index++) {
        container_of(wait, struct barrier_wait, wait)->index = broken ? 0 : index;
        waitq_wake_one(&barrier->waiters);
    }
    barrier->waiting = 0;
}

static bool barrier_wait_cancel(lilac_wait *wait) {
    container_of(wait, struct barrier_wait, wait)->barrier->waiting--;
    return waitq_cancel(wait);
}

static int barrier_wait_done(lua_State *L, lilac_wait *wait) {
    lua_Integer index = container_of(wait, struct barrier_wait, wait)->index;
    if (index == 0) {
        return lilac_throw(L, "BrokenBarrierError", "wait: the barrier was aborted or reset");
    }
    lua_pushinteger(L, index);
    return 1;
}

static void barrier_wait_describe(lilac_wait *wait, char *text, size_t size) {
    struct barrier *barrier = container_of(wait, struct barrier_wait, wait)->barrier;
    snprintf(text, size, "barrier with %lld/%lld", (long long)barrier->waiting,
             (long long)barrier->parties);
}

static const lilac_op barrier_wait_op = {
    .name = "barrier:wait",
    .cancel = barrier_wait_cancel,
    .done = barrier_wait_done,
    .describe = barrier_wait_describe,
};

static int barrier_wait(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    lilac_checkpoint(L);
    /* Before anything is looked at: a finaliser may break the barrier. */
    struct barrier_wait *waiter = lua_newuserdatauv(L, sizeof *waiter, 0);
    if (barrier->broken) {
        return lilac_throw(L, "BrokenBarrierError", "wait: the barrier is broken");
    }
    if (barrier->waiting + 1 == barrier->parties) {
        barrier_let_go(barrier, false);
        lua_pushinteger(L, barrier->parties);
        return 1;
    }
    *waiter = (struct barrier_wait){.barrier = barrier};
    barrier->waiting++;
    waitq_append(&barrier->waiters, &waiter->wait);
    return lilac_park(L, &waiter->wait, &barrier_wait_op);
}

static int barrier_abort(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    barrier->broken = true;
    barrier_let_go(barrier, true);
    return 0;
}

static int barrier_reset(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    barrier->broken = false;
    barrier_let_go(barrier, true);
    return 0;
}

static int barrier_parties(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    lua_pushinteger(L, barrier->parties);
    return 1;
}

static int barrier_n_waiting(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    lua_pushinteger(L, barrier->waiting);
    return 1;
}

static int barrier_broken(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    lua_pushboolean(L, barrier->broken);
    return 1;
}

static int barrier_tostring(lua_State *L) {
    struct barrier *barrier = object_check(L, 1, &barrier_type);
    if (barrier->broken) {
        lua_pushliteral(L, "broken");
    } else {
        lua_pushfstring(L, "%I/%I waiting", (LUAI_UACINT)barrier->waiting,
                        (LUAI_UACINT)barrier->parties);
    }
    return object_tostring(L);
}

static int barrier_new(lua_State *L) {
    lua_Integer parties = args_integer(L, 1, "number of parties", 1, LUA_MAXINTEGER);
    struct barrier *barrier = object_new(L, &barrier_type, "lilac.Barrier", 0);
    barrier->parties = parties;
    waitq_init(&barrier->waiters);
    return 1;
}

/* ---- the module ------------------------------------------------------------------------------ */

static const luaL_Reg event_methods[] = {
    {"wait", event_wait},     {"set", event_set}, {"clear", event_clear},
    {"is_set", event_is_set}, {NULL, NULL},
};

static const luaL_Reg event_meta[] = {{"__tostring", event_tostring}, {NULL, NULL}};

static const luaL_Reg semaphore_methods[] = {
    {"acquire", semaphore_acquire},
    {"release", semaphore_release},
    {"locked", semaphore_locked},
    {"value", semaphore_value},
    {NULL, NULL},
};

static const luaL_Reg semaphore_meta[] = {
    {"__close", semaphore_release},
    {"__tostring", semaphore_tostring},
    {NULL, NULL},
};

static const luaL_Reg barrier_methods[] = {
    {"wait", barrier_wait},
    {"abort", barrier_abort},
    {"reset", barrier_reset},
    {"parties", barrier_parties},
    {"n_waiting", barrier_n_waiting},
    {"broken", barrier_broken},
    {NULL, NULL},
};

static const luaL_Reg barrier_meta[] = {{"__tostring", barrier_tostring}, {NULL, NULL}};

static const luaL_Reg constructors[] = {
    {"Event", event_new},
    {"Semaphore", semaphore_new},
    {"BoundedSemaphore", bounded_semaphore_new},
    {"Barrier", barrier_new},
    {NULL, NULL},
};

int luaopen_lilac_sync(lua_State *L) {
    object_class(L, "lilac.Event", event_methods, event_meta);
    object_class(L, "lilac.Semaphore", semaphore_methods, semaphore_meta);
    object_class(L, "lilac.BoundedSemaphore", semaphore_methods, semaphore_meta);
    object_class(L, "lilac.Barrier", barrier_methods, barrier_meta);
    luaL_newlib(L, constructors);
    lock_open(L);
    return 1;
}
