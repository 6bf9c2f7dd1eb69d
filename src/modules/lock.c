/*
 * Lock and Condition.
 *
 * A released lock goes straight to its first waiter, so nobody overtakes it. Notifying a task moves
 * it from the condition's queue to the end of the lock's: it is woken once, with the lock in its
 * hands. A task cancelled in Condition:wait goes the same way, since it must hold the lock when it
 * raises.
 *
 * The lock knows its owner, for deadlock reports. The first uservalue of a Lock is that task's
 * object, so that the pointer may be followed when the task has ended.
 */
#include "lock.h"

#include <stdio.h>

#include "../core/args.h"
#include "../core/object.h"
#include "../core/sched.h"

struct lock {
    const struct object_type *type;
    bool locked;
    struct task *owner;
    struct waitq waiters; /* own waits of tasks in acquire, and condition_waits */
};

struct condition {
    const struct object_type *type;
    struct lock *lock; /* held by the first uservalue */
    struct waitq waiters;
};

static const struct object_type lock_type = {"Lock", sizeof(struct lock)};
static const struct object_type condition_type = {"Condition", sizeof(struct condition)};

/* ---- Lock ------------------------------------------------------------------------------------ */

/* The owner, if it can still go on and release the lock. */
static struct task *lock_owner(const struct lock *lock) {
    return lock->locked && lock->owner && lock->owner->L ? lock->owner : NULL;
}

/* The lock, whose object is at the absolute `index`, is the live task's from now on. */
static void lock_give(lua_State *L, int index, struct lock *lock, struct task *task) {
    task_push(L, task);
    lua_setiuservalue(L, index, 1);
    lock->locked = true;
    lock->owner = task;
}

/* Hands a held lock, whose object is at the absolute `index`, to the first waiter. */
static void lock_pass(lua_State *L, int index, struct lock *lock) {
    lilac_wait *next = waitq_first(&lock->waiters);
    if (next) {
        lock_give(L, index, lock, next->task);
        waitq_wake_one(&lock->waiters);
        return;
    }
    lua_pushnil(L);
    lua_setiuservalue(L, index, 1);
    lock->locked = false;
    lock->owner = NULL;
}

static struct task *acquire_holder(lilac_wait *wait) {
    return lock_owner(container_of(waitq_of(wait), struct lock, waiters));
}

static void describe_owner(const struct lock *lock, char *text, size_t size) {
    struct task *owner = lock_owner(lock);
    char name[TASK_TEXT] = "a task that has ended";
    if (owner) task_text(owner, name, sizeof name);
    snprintf(text, size, "lock held by %s", name);
}

static void acquire_describe(lilac_wait *wait, char *text, size_t size) {
    describe_owner(container_of(waitq_of(wait), struct lock, waiters), text, size);
}

static int acquire_done(lua_State *L, lilac_wait *wait) {
    (void)wait; /* the lock came with the wake */
    lua_settop(L, 1);
    return 1;
}

static const lilac_op acquire_op = {
    .name = "lock:acquire",
    .cancel = waitq_cancel,
    .done = acquire_done,
    .describe = acquire_describe,
    .holder = acquire_holder,
};

/* Acquires the lock at 2, and returns what is at 1. */
static int acquire(lua_State *L, struct lock *lock) {
    lilac_checkpoint(L);
    if (!lock->locked) {
        lock_give(L, 2, lock, task_running(L));
        lua_settop(L, 1);
        return 1;
    }
    task_refuse_cycle(L, lock_owner(lock));
    return waitq_park(L, &lock->waiters, &acquire_op);
}

static int release(lua_State *L, int index, struct lock *lock) {
    if (!lock->locked) {
        return lilac_throw(L, "InvalidStateError", "release: the lock is not acquired");
    }
    lock_pass(L, index, lock);
    return 0;
}

static int lock_acquire(lua_State *L) {
    struct lock *lock = object_check(L, 1, &lock_type);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    return acquire(L, lock);
}

static int lock_release(lua_State *L) {
    return release(L, 1, object_check(L, 1, &lock_type));
}

static int lock_locked(lua_State *L) {
    struct lock *lock = object_check(L, 1, &lock_type);
    lua_pushboolean(L, lock->locked);
    return 1;
}

static int lock_owner_task(lua_State *L) {
    struct task *owner = lock_owner(object_check(L, 1, &lock_type));
    if (!owner) return 0;
    task_push(L, owner);
    return 1;
}

/* The end of a __tostring. */
static int tostring(lua_State *L, const struct lock *lock, const struct waitq *waiters) {
    size_t count = waitq_count(waiters);
    lua_pushstring(L, lock->locked ? "locked" : "unlocked");
    if (count > 0) {
        lua_pushfstring(L, "%s, %I waiting", lua_tostring(L, -1), (LUAI_UACINT)count);
    }
    return object_tostring(L);
}

static int lock_tostring(lua_State *L) {
    struct lock *lock = object_check(L, 1, &lock_type);
    return tostring(L, lock, &lock->waiters);
}

static struct lock *lock_push_new(lua_State *L) {
    struct lock *lock = object_new(L, &lock_type, "lilac.Lock", 1);
    waitq_init(&lock->waiters);
    return lock;
}

static int lock_new(lua_State *L) {
    lock_push_new(L);
    return 1;
}

/* ---- Condition ------------------------------------------------------------------------------- */

/* One task in Condition:wait. A userdata on its stack, so that the cancel hook finds the lock. */
struct condition_wait {
    lilac_wait wait;
    struct lock *lock;
    enum {
        WAITING,  /* in the condition's queue; afterwards in the lock's */
        NOTIFIED, /* cancelled or not */
        CANCELLED /* before anybody notified it */
    } state;
};

static struct condition *condition_check_locked(lua_State *L, const char *op) {
    struct condition *condition = object_check(L, 1, &condition_type);
    if (!condition->lock->locked) {
        lilac_throw(L, "InvalidStateError", "%s: the lock is not acquired", op);
    }
    return condition;
}

/* Lets the first `count` waiters compete for the lock, which somebody holds. */
static void condition_notify_first(struct condition *condition, lua_Integer count) {
    lilac_wait *wait;
    for (; count > 0 && (wait = waitq_first(&condition->waiters)); count--) {
        container_of(wait, struct condition_wait, wait)->state = NOTIFIED;
        waitq_unlink(wait);
        waitq_append(&condition->lock->waiters, wait);
    }
}

/* The cancelled task, too, needs the lock before it raises; wait_done does the rest. */
static bool wait_cancel(lilac_wait *wait) {
    struct condition_wait *waiter = container_of(wait, struct condition_wait, wait);
    struct lock *lock = waiter->lock;
    if (waiter->state != WAITING) return false;
    waiter->state = CANCELLED;
    waitq_unlink(wait);
    if (lock->locked) {
        waitq_append(&lock->waiters, wait);
    } else {
        lock->locked = true;
        lock->owner = wait->task;
        lilac_wake(wait);
    }
    return false;
}

static int wait_done(lua_State *L, lilac_wait *wait) {
    struct condition *condition = object_check(L, 1, &condition_type);
    struct condition_wait *waiter = container_of(wait, struct condition_wait, wait);
    struct task *self = task_running(L);
    /* The cancel hook could not do that in full: plain C has no uservalues. */
    lock_give(L, 3, condition->lock, self);
    if (task_was_deferred(self)) {
        /* It will not act on the notification, so the next one must. */
        if (waiter->state == NOTIFIED) condition_notify_first(condition, 1);
        lilac_checkpoint(L);
    }
    lua_pushboolean(L, true);
    return 1;
}

static struct task *wait_holder(lilac_wait *wait) {
    struct condition_wait *waiter = container_of(wait, struct condition_wait, wait);
    return waiter->state == WAITING ? NULL : lock_owner(waiter->lock);
}

static void wait_describe(lilac_wait *wait, char *text, size_t size) {
    struct condition_wait *waiter = container_of(wait, struct condition_wait, wait);
    if (waiter->state == WAITING) {
        snprintf(text, size, "a notification");
    } else {
        describe_owner(waiter->lock, text, size);
    }
}

static const lilac_op wait_op = {
    .name = "condition:wait",
    .cancel = wait_cancel,
    .done = wait_done,
    .describe = wait_describe,
    .holder = wait_holder,
};

static int condition_wait(lua_State *L) {
    object_check(L, 1, &condition_type);
    lua_settop(L, 1);
    lilac_checkpoint(L);
    struct condition *condition = condition_check_locked(L, "wait");
    struct condition_wait *waiter = lua_newuserdatauv(L, sizeof *waiter, 0);
    *waiter = (struct condition_wait){.lock = condition->lock, .state = WAITING};
    lua_getiuservalue(L, 1, 1);
    lock_pass(L, 3, condition->lock);
    waitq_append(&condition->waiters, &waiter->wait);
    return lilac_park(L, &waiter->wait, &wait_op);
}

/* Asks the predicate and waits, in turn; either may park the task. `asked`: its answer is on top.
 */
static int wait_for_step(lua_State *L, int status, lua_KContext asked) {
    (void)status;
    for (;; asked = !asked) {
        if (asked && lua_toboolean(L, -1)) return 1;
        lua_settop(L, 2);
        if (asked) {
            lua_pushcfunction(L, condition_wait);
            lua_pushvalue(L, 1);
            lua_callk(L, 1, 0, false, wait_for_step);
        } else {
            lua_pushvalue(L, 2);
            lua_callk(L, 0, 1, true, wait_for_step);
        }
    }
}

static int condition_wait_for(lua_State *L) {
    object_check(L, 1, &condition_type);
    args_callable(L, 2);
    lilac_checkpoint(L);
    return wait_for_step(L, LUA_OK, false);
}

static int condition_notify(lua_State *L) {
    object_check(L, 1, &condition_type);
    lua_Integer count =
        lua_isnoneornil(L, 2) ? 1 : args_integer(L, 2, "number of waiters", 0, LUA_MAXINTEGER);
    condition_notify_first(condition_check_locked(L, "notify"), count);
    return 0;
}

static int condition_notify_all(lua_State *L) {
    condition_notify_first(condition_check_locked(L, "notify_all"), LUA_MAXINTEGER);
    return 0;
}

static int condition_acquire(lua_State *L) {
    struct condition *condition = object_check(L, 1, &condition_type);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    return acquire(L, condition->lock);
}

static int condition_release(lua_State *L) {
    struct condition *condition = object_check(L, 1, &condition_type);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    return release(L, 2, condition->lock);
}

static int condition_locked(lua_State *L) {
    struct condition *condition = object_check(L, 1, &condition_type);
    lua_pushboolean(L, condition->lock->locked);
    return 1;
}

static int condition_tostring(lua_State *L) {
    struct condition *condition = object_check(L, 1, &condition_type);
    return tostring(L, condition->lock, &condition->waiters);
}

static int condition_new(lua_State *L) {
    struct lock *lock;
    if (lua_isnoneornil(L, 1)) {
        lock = lock_push_new(L);
    } else {
        lock = object_check(L, 1, &lock_type);
        lua_settop(L, 1);
    }
    struct condition *condition = object_new(L, &condition_type, "lilac.Condition", 1);
    condition->lock = lock;
    waitq_init(&condition->waiters);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* ---- the module ------------------------------------------------------------------------------ */

static const luaL_Reg lock_methods[] = {
    {"acquire", lock_acquire},
    {"release", lock_release},
    {"locked", lock_locked},
    {"owner", lock_owner_task},
    {NULL, NULL},
};

static const luaL_Reg lock_meta[] = {
    {"__close", lock_release},
    {"__tostring", lock_tostring},
    {NULL, NULL},
};

static const luaL_Reg condition_methods[] = {
    {"acquire", condition_acquire},       {"release", condition_release},
    {"locked", condition_locked},         {"wait", condition_wait},
    {"wait_for", condition_wait_for},     {"notify", condition_notify},
    {"notify_all", condition_notify_all}, {NULL, NULL},
};

static const luaL_Reg condition_meta[] = {
    {"__close", condition_release},
    {"__tostring", condition_tostring},
    {NULL, NULL},
};

static const luaL_Reg constructors[] = {
    {"Lock", lock_new},
    {"Condition", condition_new},
    {NULL, NULL},
};

void lock_open(lua_State *L) {
    object_class(L, "lilac.Lock", lock_methods, lock_meta);
    object_class(L, "lilac.Condition", condition_methods, condition_meta);
    luaL_setfuncs(L, constructors, 0);
}
