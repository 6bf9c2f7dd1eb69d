/*
 * gather: waits for several futures at once. The block that watches them is a userdata on the stack
 * of the waiting task; it is linked into the futures only while that task is parked here.
 */
#include <limits.h>
#include <stdio.h>

#include "../core/args.h"
#include "../core/runtime.h"
#include "builtin.h"

struct gather {
    lilac_wait wait;
    struct runtime *runtime;
    unsigned pending; /* futures that have not ended */
    int first_failed; /* index of the future that failed first; 0: none */
    int count;
    bool as_table, return_exceptions, cancel_on_error;
    bool cancelled;     /* or the rest was, because of an error: waits for every end */
    struct list failed; /* in the runtime's list, until the rest is cancelled */
    struct watch watches[];
};

/* Where things stand on the stack of gather, when its arguments are read. */
enum { CHILDREN = 1, BLOCK = 2 };

static void cancel_all(struct gather *gather, const struct cancel_origin *origin) {
    gather->cancelled = true;
    for (int i = 0; i < gather->count; i++) {
        struct future *future = gather->watches[i].future;
        if (future) future_cancel(future, origin);
    }
}

/* A future that is cancelled may be another gather's, whose rest is cancelled, and so on: one after
 * the other, as such a chain can be long. */
static void cancel_rest(struct gather *gather) {
    static const struct cancel_origin origin = {.by = "gather, as another failed"};
    struct list *all = &gather->runtime->failed_gathers;
    bool is_first = list_empty(all);
    gather->cancelled = true;
    list_append(all, &gather->failed);
    while (is_first && !list_empty(all)) {
        cancel_all(container_of(all->next, struct gather, failed), &origin);
        list_unlink(all->next);
    }
}

static void on_child_ended(struct watch *watch, struct future *child) {
    struct gather *gather = container_of(watch - watch->index, struct gather, watches);
    gather->pending--;
    if (child->state != FUTURE_DONE) child->taken = true;
    if (child->state != FUTURE_DONE && !gather->return_exceptions && gather->first_failed == 0) {
        gather->first_failed = watch->index + 1;
        if (gather->cancel_on_error && !gather->cancelled) cancel_rest(gather);
    }
    bool failed_at_once = gather->first_failed != 0 && !gather->cancelled;
    if (gather->pending == 0 || failed_at_once) lilac_wake(&gather->wait);
}

static bool gather_cancel(lilac_wait *wait) {
    cancel_all(container_of(wait, struct gather, wait), task_pending_origin(wait->task));
    return false;
}

/* Unlinks the block from those that go on; gather answers for their errors too. */
static void let_go(struct gather *gather) {
    for (int i = 0; i < gather->count && gather->pending > 0; i++) {
        struct future *child = gather->watches[i].future;
        if (!child) continue;
        child->adopted = true;
        future_unwatch(&gather->watches[i]);
    }
}

/* Pushes what gather returns for the ended child on top of the stack. */
static void push_outcome(lua_State *L) {
    struct future *child = lua_touserdata(L, -1);
    if (child->state != FUTURE_DONE)
        future_push_error(L, -1);
    else if (child->results == 0)
        lua_pushnil(L);
    else
        lua_getiuservalue(L, -1, 1);
    if (child->state == FUTURE_DONE && child->results > 1) {
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
    }
}

/* As a table: that of the children, each of which gives its place to its outcome. */
static int gather_results(lua_State *L, struct gather *gather) {
    int count = gather->count;
    if (!gather->as_table) luaL_checkstack(L, count + 2, "too many results");
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, CHILDREN, i);
        push_outcome(L);
        if (gather->as_table) {
            lua_rawseti(L, CHILDREN, i);
            lua_pop(L, 1);
        } else {
            lua_remove(L, -2);
        }
    }
    if (!gather->as_table) return count;
    lua_pushinteger(L, count);
    lua_setfield(L, CHILDREN, "n");
    lua_pushvalue(L, CHILDREN);
    return 1;
}

/* [children, block] */
static int gather_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct gather *gather = lua_touserdata(L, BLOCK);
    struct task *task = task_running(L);
    let_go(gather);
    bool deferred = task && task_was_deferred(task);
    if (deferred) {
        bool failed = false;
        for (int i = 1; i <= gather->count && !failed; i++) {
            lua_rawgeti(L, CHILDREN, i);
            failed = ((struct future *)lua_touserdata(L, -1))->state == FUTURE_FAILED;
            if (failed)
                future_push_error(L, -1);
            else
                lua_pop(L, 1);
        }
        return task_raise_cancellation(L, task, failed ? lua_gettop(L) : 0);
    }
    if (gather->first_failed == 0) return gather_results(L, gather);
    lua_rawgeti(L, CHILDREN, gather->first_failed);
    return future_take(L, -1);
}

static void gather_describe(lilac_wait *wait, char *text, size_t size) {
    struct gather *gather = container_of(wait, struct gather, wait);
    snprintf(text, size, "%u of %d pending", gather->pending, gather->count);
}

/* Of several children any may fail, and end the wait without the others: a circle through them is
 * certain only when one is left. */
static struct task *gather_holder(lilac_wait *wait) {
    struct gather *gather = container_of(wait, struct gather, wait);
    if (gather->pending != 1) return NULL;
    for (int i = 0; i < gather->count; i++) {
        struct future *child = gather->watches[i].future;
        if (child) return future_is_task(child) ? future_task(child) : NULL;
    }
    return NULL;
}

static const lilac_op op_gather = {.name = "gather",
                                   .cancel = gather_cancel,
                                   .done = gather_done,
                                   .describe = gather_describe,
                                   .holder = gather_holder};

/* ---- arguments ------------------------------------------------------------------------------- */

/* The future on top of the stack; NULL for a function, which is to become one. */
static struct future *check_item(lua_State *L, int arg, int item) {
    struct future *future = future_test(L, -1);
    if (!future && !lua_isfunction(L, -1)) {
        const char *got = luaL_typename(L, -1);
        luaL_argerror(
            L, arg,
            lua_pushfstring(L, "item %d: function, Task or Future expected, got %s", item, got));
    }
    return future;
}

/* Puts a plain list in the place of one at 1 that only looks like one: its # may be a metamethod,
 * and lie, and no memory is taken for what is not there. */
static void make_plain(lua_State *L, lua_Integer count) {
    lua_newtable(L);
    for (int i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        check_item(L, 1, i);
        lua_rawseti(L, -2, i);
    }
    lua_replace(L, 1);
}

/* Makes [children, block] of the list at 1, or of the arguments from 1 on. Nothing begins before
 * all items are known to be right: functions stay functions, and nothing is watched yet. */
static struct gather *collect(lua_State *L, bool as_table) {
    lua_Integer count = as_table ? luaL_len(L, 1) : lua_gettop(L);
    luaL_argcheck(L, count >= 0 && count < INT_MAX / 2, 1,
                  "a list expected, of which # gives the length");
    if (as_table && (lua_Unsigned)count > lua_rawlen(L, 1)) make_plain(L, count);
    lua_createtable(L, (int)count, as_table);
    int children = lua_gettop(L);
    size_t size = sizeof(struct gather) + (size_t)count * sizeof(struct watch);
    struct gather *gather = lua_newuserdatauv(L, size, 0);
    *gather = (struct gather){.runtime = runtime_of(L), .count = (int)count, .as_table = as_table};
    for (int i = 1; i <= count; i++) {
        if (as_table)
            lua_geti(L, 1, i);
        else
            lua_pushvalue(L, i);
        gather->watches[i - 1].future = check_item(L, as_table ? 1 : i, i);
        lua_rawseti(L, children, i);
    }
    lua_rotate(L, 1, 2);
    lua_settop(L, BLOCK);
    return gather;
}

/* Starts the functions. It may fail, and until it is done nothing is watched. */
static void start(lua_State *L, struct gather *gather) {
    for (int i = 0; i < gather->count; i++) {
        if (gather->watches[i].future) continue;
        lua_rawgeti(L, CHILDREN, i + 1);
        task_create(L, 0);
        gather->watches[i].future = lua_touserdata(L, -1);
        lua_rawseti(L, CHILDREN, i + 1);
    }
}

/* Watches all; gather->pending tells how many there are to wait for. */
static void watch(lua_State *L, struct gather *gather) {
    for (int i = 0; i < gather->count; i++) {
        struct watch *watch = &gather->watches[i];
        struct future *child = watch->future;
        *watch = (struct watch){.ended = on_child_ended, .index = i};
        if (child->state == FUTURE_PENDING) {
            future_watch(child, watch);
            gather->pending++;
            continue;
        }
        future_mark_taken(L, child);
        if (child->state != FUTURE_DONE && !gather->return_exceptions && gather->first_failed == 0)
            gather->first_failed = i + 1;
    }
}

static int lilac_gather(lua_State *L) {
    static const char *const options[] = {"return_exceptions", "cancel_on_error", NULL};
    bool as_table = lua_istable(L, 1), return_exceptions = false, cancel_on_error = false;
    if (as_table) {
        args_options(L, 2, options);
        return_exceptions = args_option_boolean(L, 2, "return_exceptions", false);
        cancel_on_error = args_option_boolean(L, 2, "cancel_on_error", false);
    }
    struct gather *gather = collect(L, as_table);
    gather->return_exceptions = return_exceptions;
    gather->cancel_on_error = cancel_on_error;
    lilac_checkpoint(L);
    start(L, gather);
    watch(L, gather);
    if (gather->first_failed != 0 && cancel_on_error) {
        struct cancel_origin origin = cancel_origin_here(L, "gather, as another failed", 0);
        cancel_all(gather, &origin);
    }
    bool failed_at_once = gather->first_failed != 0 && !gather->cancelled;
    if (gather->pending == 0 || failed_at_once) return gather_done(L, NULL);
    struct task *holder = gather_holder(&gather->wait);
    if (holder && task_closes_cycle(L, holder)) {
        let_go(gather);
        task_refuse_cycle(L, holder);
    }
    return lilac_park(L, &gather->wait, &op_gather);
}

int luaopen_lilac_gather(lua_State *L) {
    static const luaL_Reg functions[] = {{"gather", lilac_gather}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
