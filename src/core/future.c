/*
 * Futures and the waiting for them. A task is a future that its body ends; see sched.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime.h"
#include "scope.h"

struct future *future_test(lua_State *L, int index) {
    struct future *future = lua_touserdata(L, index);
    size_t size = future ? lua_rawlen(L, index) : 0; /* of a light userdata: 0 */
    if (size == sizeof(struct task)) return future->magic == TASK_MAGIC ? future : NULL;
    return size == sizeof(struct future) && future->magic == FUTURE_MAGIC ? future : NULL;
}

struct task *task_test(lua_State *L, int index) {
    struct future *future = future_test(L, index);
    return future && future_is_task(future) ? future_task(future) : NULL;
}

static void enlist(struct future *future, lilac_wait *node) {
    lilac_wait *first = future->waiters;
    if (!first) {
        future->waiters = node->next = node->prev = node;
        return;
    }
    node->next = first;
    node->prev = first->prev;
    first->prev->next = node;
    first->prev = node;
}

static void delist(struct future *future, lilac_wait *node) {
    if (future->waiters == node) future->waiters = node->next == node ? NULL : node->next;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

void future_watch(struct future *future, struct watch *watch) {
    watch->node.task = NULL;
    watch->future = future;
    enlist(future, &watch->node);
}

void future_unwatch(struct watch *watch) {
    if (!watch->node.next) return;
    delist(watch->future, &watch->node);
    watch->future = NULL;
}

static void notify(struct future *future, lua_State *L, int index) {
    while (future->waiters) {
        lilac_wait *node = future->waiters;
        delist(future, node);
        if (node->task) {
            task_wake(node->task);
            continue;
        }
        struct watch *watch = container_of(node, struct watch, node);
        watch->future = NULL;
        watch->watcher->ended(watch, future, L, index);
    }
}

void future_end(lua_State *L, int index, struct future *future, enum future_state state,
                int count) {
    if (count > 1) {
        lua_createtable(L, count, 1);
        lua_insert(L, -count - 1);
        for (int i = count; i >= 1; i--)
            lua_rawseti(L, -i - 1, i);
        lua_pushinteger(L, count);
        lua_setfield(L, -2, "n");
    }
    if (count > 0) lua_setiuservalue(L, index, 1);
    future->results = (uint8_t)(count > 1 ? 2 : count);
    future->state = (uint8_t)state;
    notify(future, L, index);
}

void future_mark_taken(lua_State *L, struct future *future) {
    future->taken = true;
    if (!future->reported) return;
    future->reported = false;
    runtime_of(L)->untaken--;
}

void future_push_own(lua_State *L, int index, uint32_t task_id,
                     const struct cancel_origin *origin) {
    struct future *future = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    error_new_cancelled(L, task_id, !future->noted, origin);
    if (future->noted) error_take_fields(L, index);
    future->noted = false;
}

/* Makes the cancellation of the future at `index` by that origin its error, and pushes that. */
static void set_cancelled(lua_State *L, int index, const struct cancel_origin *origin) {
    future_push_own(L, index, CANCELLED_FUTURE, origin);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, 1);
}

void future_push_error(lua_State *L, int index) {
    /* Cancelled in plain C, where no object could be made. */
    static const struct cancel_origin unknown = {.by = "future:cancel()"};
    struct future *future = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    future_mark_taken(L, future);
    int type = lua_getiuservalue(L, index, 1);
    if (future->state != FUTURE_CANCELLED) return;
    const struct error *error = error_test(L, -1);
    if (type == LUA_TNIL)
        set_cancelled(L, index, &unknown);
    else if (error && error->is_shared)
        set_cancelled(L, index, &error->origin);
    else
        return;
    lua_remove(L, -2);
}

int future_take(lua_State *L, int index) {
    struct future *future = lua_touserdata(L, index);
    index = lua_absindex(L, index);
    if (future->state != FUTURE_DONE) {
        task_note_rethrow(L, index);
        future_push_error(L, index);
        return lua_error(L);
    }
    future->taken = true;
    if (future->results == 0) return 0;
    lua_getiuservalue(L, index, 1);
    if (future->results == 1) return 1;
    lua_getfield(L, -1, "n");
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, count, "too many results");
    int results = lua_gettop(L);
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, results, i);
    return count;
}

void future_cancel(struct future *future, const struct cancel_origin *origin) {
    if (future->state != FUTURE_PENDING) return;
    if (future_is_task(future)) {
        task_cancel(future_task(future), origin, LUA_NOREF);
        return;
    }
    future->state = FUTURE_CANCELLED;
    notify(future, NULL, 0);
}

/* ---- await ----------------------------------------------------------------------------------- */

/* Whether the waits from `task` on lead back to `self`. */
static bool leads_to(struct task *task, const struct task *self) {
    struct task *slow = task; /* half as fast: met again in a circle without `self` */
    for (bool odd = false; task && task != self; odd = !odd) {
        task = task->parked_on && task->op->holder ? task->op->holder(task->parked_on) : NULL;
        if (odd) slow = slow->op->holder(slow->parked_on);
        if (task == slow) return false;
    }
    return task == self;
}

bool future_join_cancel(lilac_wait *wait) {
    struct task *task = wait->task;
    struct future *future = task->awaits;
    struct task *awaited = future_is_task(future) ? future_task(future) : NULL;
    bool circle = awaited && awaited->interrupted_next && leads_to(awaited, task);
    if (!awaited || circle) delist(future, wait);
    struct cancel_origin origin = task_pending_origin(task);
    if (!circle) future_cancel(future, &origin);
    return !awaited || circle;
}

static bool shielded_cancel(lilac_wait *wait) {
    delist(wait->task->awaits, wait);
    return true;
}

struct task *future_join_holder(lilac_wait *wait) {
    struct future *future = wait->task->awaits;
    return future_is_task(future) ? future_task(future) : NULL;
}

void future_join_describe(lilac_wait *wait, char *text, size_t size) {
    struct future *future = wait->task->awaits;
    if (future_is_task(future))
        task_text(future_task(future), text, size);
    else
        snprintf(text, size, "a future");
}

/* A cancellation of this task that came together with that of the future is raised in its place;
 * one that came with a result, at the next await. */
static int await_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct task *task = task_running(L);
    struct future *future = lua_touserdata(L, 1);
    if (!task_was_deferred(task)) {
        bool both = future->state == FUTURE_CANCELLED && task->pending > 0;
        return both ? task_raise_cancellation(L, task, 0) : future_take(L, 1);
    }
    future->taken = true;
    if (future->state != FUTURE_FAILED) return task_raise_cancellation(L, task, 0);
    future_push_error(L, 1);
    return task_raise_cancellation(L, task, lua_gettop(L));
}

static const lilac_op op_await = {.name = "await",
                                  .cancel = future_join_cancel,
                                  .done = await_done,
                                  .describe = future_join_describe,
                                  .holder = future_join_holder};

static const lilac_op op_shield = {.name = "shield",
                                   .cancel = shielded_cancel,
                                   .done = await_done,
                                   .describe = future_join_describe,
                                   .holder = future_join_holder};

int future_join(lua_State *L, const lilac_op *op) {
    struct future *future = lua_touserdata(L, 1);
    if (future_is_task(future)) task_refuse_cycle(L, future_task(future));
    struct task *task = task_running(L);
    task->awaits = future;
    enlist(future, &task->own);
    return task_park(L, &task->own, op);
}

static int await_with(lua_State *L, const lilac_op *op) {
    lilac_checkpoint(L);
    struct future *future = lua_touserdata(L, 1);
    return future->state == FUTURE_PENDING ? future_join(L, op) : future_take(L, 1);
}

int future_await(lua_State *L) {
    return await_with(L, &op_await);
}

int future_await_shielded(lua_State *L) {
    return await_with(L, &op_shield);
}
