/*
 * gather: waits for several futures at once. The block that watches them is a userdata on the stack
 * of the waiting task; it is linked into the futures only while that task is parked here.
 */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>

#include "../core/alloc.h"
#include "../core/args.h"
#include "../core/runtime.h"
#include "builtin.h"

struct gather {
    struct watcher watcher;
    lilac_wait wait;
    struct runtime *runtime;
    unsigned pending; /* futures that have not ended */
    int first_failed; /* index of the future that failed first; 0: none */
    int count, taken; /* futures; those whose outcome has taken their place */
    bool as_table, return_exceptions, cancel_on_error;
    bool cancelled;         /* or the rest was, because of an error: waits for every end */
    struct list failed;     /* in the runtime's list, until the rest is cancelled */
    struct watch watches[]; /* their futures stay there when they have ended; NULL: taken */
};

/* The children may be many, and not in the cache: each is asked for while those before it are seen
 * to. */
enum { AHEAD = 12 };

/* Where things stand on the stack of gather, when its arguments are read. */
enum { CHILDREN = 1, BLOCK = 2 };

static void cancel_all(struct gather *gather, const struct cancel_origin *origin) {
    gather->cancelled = true;
    for (int i = 0; i < gather->count; i++)
        if (gather->watches[i].future) future_cancel(gather->watches[i].future, origin);
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

/* Whether the task that gathers can have the error that a cancelled child shares with others. */
static bool is_shareable(const struct future *child, const struct task *task) {
    return child->state == FUTURE_CANCELLED && !child->noted && task->shared == 0;
}

/* Puts the outcome of the child at `index` in its place at once: with many children, each will have
 * left the cache by the end. What takes more than that is left for then. Nothing here can raise,
 * and while gather is parked, its frame is where its task was parked in. */
static void take_outcome(struct gather *gather, struct watch *watch, lua_State *L, int index) {
    const struct future *child = watch->future;
    const struct task *task = gather->wait.task;
    if (!L || !task || !gather->as_table || child->results > 1) return;
    bool shares = gather->return_exceptions && is_shareable(child, task);
    if (child->state != FUTURE_DONE && !shares) return;
    int type = lua_getiuservalue(L, index, 1);
    if (shares && type == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_xmove(L, task->parked_in, 1);
    lua_rawseti(task->parked_in, CHILDREN, (int)(watch - gather->watches) + 1);
    watch->future = NULL;
    gather->taken++;
}

static void on_child_ended(struct watch *watch, struct future *child, lua_State *L, int index) {
    struct gather *gather = container_of(watch->watcher, struct gather, watcher);
    watch->future = child;
    take_outcome(gather, watch, L, index);
    gather->pending--;
    if (child->state != FUTURE_DONE) child->taken = true;
    if (child->state != FUTURE_DONE && !gather->return_exceptions && gather->first_failed == 0) {
        gather->first_failed = (int)(watch - gather->watches) + 1;
        if (gather->cancel_on_error && !gather->cancelled) cancel_rest(gather);
    }
    bool failed_at_once = gather->first_failed != 0 && !gather->cancelled;
    if (gather->pending == 0 || failed_at_once) lilac_wake(&gather->wait);
}

static bool gather_cancel(lilac_wait *wait) {
    struct cancel_origin origin = task_pending_origin(wait->task);
    cancel_all(container_of(wait, struct gather, wait), &origin);
    return false;
}

/* Unlinks the block from those that go on; gather answers for their errors too. */
static void let_go(struct gather *gather) {
    for (int i = 0; i < gather->count && gather->pending > 0; i++) {
        struct future *child = gather->watches[i].future;
        if (!child || child->state != FUTURE_PENDING) continue;
        child->adopted = true;
        future_unwatch(&gather->watches[i]);
    }
}

/* Pushes what gather returns for the ended child on top of the stack: its first result, nil, or its
 * error, which tasks that were cancelled together share, if none has put something into it. */
static void push_outcome(lua_State *L, const struct future *child, const struct task *task) {
    int type = lua_getiuservalue(L, -1, 1);
    bool shares = type != LUA_TNIL && is_shareable(child, task);
    if (child->state == FUTURE_CANCELLED && !shares) {
        lua_pop(L, 1);
        future_push_error(L, -1);
    } else if (child->results > 1) {
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
    }
}

/* As a table: that of the children, each of which gives its place to its outcome. A task that
 * shares an error itself is to get no other one that it would take for its own. */
static int gather_results(lua_State *L, struct gather *gather) {
    int count = gather->count;
    const struct task *task = task_running(L);
    if (!gather->as_table) luaL_checkstack(L, count + 2, "too many results");
    int left = count - gather->taken;
    for (int i = 1; i <= count && left > 0; i++) {
        if (!gather->watches[i - 1].future) continue;
        left--;
        if (i + AHEAD < count) prefetch(gather->watches[i + AHEAD].future, 1);
        lua_rawgeti(L, CHILDREN, i);
        push_outcome(L, gather->watches[i - 1].future, task);
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

/* It was cancelled, and all children have ended: raises that, caused by the first that failed. */
static int raise_deferred(lua_State *L, const struct gather *gather, struct task *task) {
    for (int i = 0; i < gather->count; i++) {
        const struct future *child = gather->watches[i].future;
        if (!child || child->state != FUTURE_FAILED) continue;
        lua_rawgeti(L, CHILDREN, i + 1);
        future_push_error(L, -1);
        return task_raise_cancellation(L, task, lua_gettop(L));
    }
    return task_raise_cancellation(L, task, 0);
}

/* [children, block] */
static int gather_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct gather *gather = lua_touserdata(L, BLOCK);
    struct task *task = task_running(L);
    let_go(gather);
    if (task_was_deferred(task)) return raise_deferred(L, gather, task);
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
        if (child && child->state == FUTURE_PENDING)
            return future_is_task(child) ? future_task(child) : NULL;
    }
    return NULL;
}

static const lilac_op op_gather = {.name = "gather",
                                   .cancel = gather_cancel,
                                   .done = gather_done,
                                   .describe = gather_describe,
                                   .holder = gather_holder};

/* ---- arguments ------------------------------------------------------------------------------- */

static int refuse_item(lua_State *L, int arg, int item) {
    const char *got = luaL_typename(L, -1);
    return luaL_argerror(
        L, arg,
        lua_pushfstring(L, "item %d: function, Task or Future expected, got %s", item, got));
}

/* How long the list at 1 is. One with a metatable only looks like one: its # may lie, and its items
 * be made by a function. A plain one takes its place. */
static lua_Integer plain_list(lua_State *L) {
    if (!lua_getmetatable(L, 1)) return (lua_Integer)lua_rawlen(L, 1);
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count >= 0 && count < INT_MAX / 2, 1,
                  "a list expected, of which # gives the length");
    lua_newtable(L);
    for (int i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        if (!future_test(L, -1) && !lua_isfunction(L, -1)) refuse_item(L, 1, i);
        lua_rawseti(L, -2, i);
    }
    lua_replace(L, 1);
    lua_pop(L, 1);
    return count;
}

static void watch_child(struct gather *gather, int index) {
    struct watch *watch = &gather->watches[index];
    if (watch->future->state != FUTURE_PENDING) return;
    future_watch(watch->future, watch);
    gather->pending++;
}

/* Lets go of all that was watched so far. */
static void unwatch(struct gather *gather) {
    for (int i = 0; i < gather->count; i++) {
        struct future *child = gather->watches[i].future;
        future_unwatch(&gather->watches[i]);
        gather->watches[i].future = child;
    }
    gather->pending = 0;
}

/* Fills [children, block], on top of the stack, from the list at 1 or the arguments from 1 on. Each
 * is watched at once, while it is in the cache: so nothing here may raise, or make an object, but
 * for an item that is refused. False: there are functions, and nothing is watched yet. */
static bool collect(lua_State *L, int count, bool as_table) {
    int children = lua_gettop(L) - 1;
    struct gather *gather = lua_touserdata(L, -1);
    bool has_functions = false;
    uintptr_t last = 0;
    for (int i = 1; i <= count; i++) {
        if (as_table)
            lua_rawgeti(L, 1, i);
        else
            lua_pushvalue(L, i);
        struct future *child = future_test(L, -1);
        if (!child && !lua_isfunction(L, -1)) {
            unwatch(gather);
            refuse_item(L, as_table ? 1 : i, i);
        }
        lua_rawseti(L, children, i);
        gather->watches[i - 1] = (struct watch){.watcher = &gather->watcher, .future = child};
        gather->count = i;
        if (!child && !has_functions) {
            unwatch(gather);
            has_functions = true;
        }
        if (has_functions) continue;
        watch_child(gather, i - 1);
        /* Tasks that were created one after the other lie at equal distances. */
        uintptr_t at = (uintptr_t)child;
        prefetch((const void *)(at + AHEAD * (at - last)), 2 * (size_t)CACHE_LINE);
        last = at;
    }
    return !has_functions;
}

/* Makes tasks of the functions, which may fail; then watches all. */
static void start(lua_State *L, struct gather *gather) {
    for (int i = 0; i < gather->count; i++) {
        if (gather->watches[i].future) continue;
        lua_rawgeti(L, CHILDREN, i + 1);
        task_create(L, 0);
        gather->watches[i].future = lua_touserdata(L, -1);
        lua_rawseti(L, CHILDREN, i + 1);
    }
    for (int i = 0; i < gather->count; i++)
        watch_child(gather, i);
}

/* Takes the outcome of those that had ended before. */
static void take_ended(lua_State *L, struct gather *gather) {
    int ended = gather->count - (int)gather->pending;
    for (int i = 0; i < gather->count && ended > 0; i++) {
        struct future *child = gather->watches[i].future;
        if (child->state == FUTURE_PENDING) continue;
        ended--;
        future_mark_taken(L, child);
        if (child->state != FUTURE_DONE && !gather->return_exceptions && gather->first_failed == 0)
            gather->first_failed = i + 1;
    }
}

static struct gather *gather_new(lua_State *L) {
    static const char *const options[] = {"return_exceptions", "cancel_on_error", NULL};
    struct gather init = {
        .watcher = {on_child_ended}, .runtime = runtime_of(L), .as_table = lua_istable(L, 1)};
    if (init.as_table) {
        args_options(L, 2, options);
        init.return_exceptions = args_option_boolean(L, 2, "return_exceptions", false);
        init.cancel_on_error = args_option_boolean(L, 2, "cancel_on_error", false);
    }
    lua_Integer count = init.as_table ? plain_list(L) : lua_gettop(L);
    luaL_argcheck(L, count < INT_MAX / 2, 1, "too many");
    lilac_checkpoint(L);
    lua_createtable(L, (int)count, init.as_table);
    size_t size = sizeof(struct gather) + (size_t)count * sizeof(struct watch);
    struct gather *gather = lua_newuserdatauv(L, size, 0);
    allocator_expect(gather, size);
    *gather = init;
    bool is_watched = collect(L, (int)count, init.as_table);
    lua_rotate(L, 1, 2);
    lua_settop(L, BLOCK);
    if (!is_watched) start(L, gather);
    take_ended(L, gather);
    return gather;
}

static int lilac_gather(lua_State *L) {
    struct gather *gather = gather_new(L);
    if (gather->first_failed != 0 && gather->cancel_on_error) {
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
