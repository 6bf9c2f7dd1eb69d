/*
 * TaskGroup: a scope around the body, and the children, who are waited for when it is left. The
 * first failure cancels the other children and the body.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../core/args.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "../core/scope.h"
#include "builtin.h"

struct group {
    const struct object_type *type;
    struct scope scope;  /* of the body */
    lilac_wait wait;     /* the parent, while it waits for the children */
    struct list members; /* those that have not ended */
    int errors_ref;      /* array of errors in the registry, or LUA_NOREF */
    int errors;
    bool quiet;       /* tg:cancel() ends the body of the function form without an error */
    bool aborted;     /* children and body were cancelled because of a failure */
    bool interrupted; /* the parent was to be cancelled when it came to wait for the children */
    bool closing, closed;
    struct cancel_origin origin; /* of the cancellation of children */
};

/* A child that has not ended. */
struct member {
    struct list link;
    struct watch watch;
    struct group *group;
};

static const struct object_type group_type = {"TaskGroup", sizeof(struct group)};

static struct group *check_group(lua_State *L, int arg) {
    return object_check(L, arg, &group_type);
}

/* ---- children -------------------------------------------------------------------------------- */

static void cancel_members(struct group *group, const struct cancel_origin *origin) {
    struct list *next;
    for (struct list *at = group->members.next; at != &group->members; at = next) {
        next = at->next;
        future_cancel(container_of(at, struct member, link)->watch.future, origin);
    }
}

static void abort_group(struct group *group) {
    if (group->aborted) return;
    group->aborted = true;
    cancel_members(group, &group->origin);
    if (!group->closing) scope_cancel(&group->scope);
}

/* In the table of errors, beside them: the task whose error is the first, and the set of all. */
enum { FAILED_TASK = 0, SEEN = -1 };

/* Keeps the error on top of the stack, once. Pops it. */
static void add_error(lua_State *L, struct group *group) {
    if (group->errors_ref == LUA_NOREF) {
        lua_newtable(L);
        lua_newtable(L);
        lua_rawseti(L, -2, SEEN);
        group->errors_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    int error = lua_gettop(L), errors = error + 1, seen = error + 2;
    lua_rawgeti(L, LUA_REGISTRYINDEX, group->errors_ref);
    lua_rawgeti(L, errors, SEEN);
    lua_pushvalue(L, error);
    if (lua_rawget(L, seen) == LUA_TNIL) {
        lua_pushvalue(L, error);
        lua_rawseti(L, errors, ++group->errors);
        lua_pushvalue(L, error);
        lua_pushboolean(L, 1);
        if (lua_rawequal(L, error, error)) lua_rawset(L, seen); /* NaN is no key */
    }
    lua_settop(L, error - 1);
}

/* Keeps the failed task on top of the stack, for its traceback, beside the only error so far. Pops
 * it. */
static void keep_failed(lua_State *L, struct group *group) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, group->errors_ref);
    lua_insert(L, -2);
    if (group->errors == 1)
        lua_rawseti(L, -2, FAILED_TASK);
    else
        lua_pop(L, 1);
    lua_pop(L, 1);
}

/* A child has failed. That of a group that was never closed, and whose parent has ended, has nobody
 * to tell it to. Tasks end in the scheduler, where Lua may be used. */
static void take_failure(struct group *group, struct task *task) {
    lua_State *L = task->runtime->L;
    luaL_checkstack(L, 8, "TaskGroup");
    task_push(L, task);
    if (!group->scope.task && !group->closing) {
        report_failure(L, -1);
        lua_pop(L, 1);
        return;
    }
    future_push_error(L, -1);
    add_error(L, group);
    keep_failed(L, group);
    abort_group(group);
}

static void on_child_ended(struct watch *watch, struct future *child, lua_State *L, int index) {
    (void)L, (void)index;
    struct member *member = container_of(watch, struct member, watch);
    struct group *group = member->group;
    list_unlink(&member->link);
    free(member);
    if (child->state == FUTURE_FAILED) take_failure(group, future_task(child));
    if (list_empty(&group->members)) lilac_wake(&group->wait);
}

static const struct watcher watcher = {on_child_ended};

/* tg:create_task(fn, …) → Task. One that is cancelled with the group and did not meet that yet, has
 * not failed by coming too late. */
static int group_create_task(lua_State *L) {
    struct group *group = check_group(L, 1);
    args_body(L, 2);
    struct task *creator = task_running(L);
    if (group->aborted && !group->closed && creator && creator->pending > 0)
        return task_raise_cancellation(L, creator, 0);
    if (group->closed || group->aborted || !group->scope.task)
        return lilac_throw(L, "InvalidStateError", "create_task: the TaskGroup %s",
                           group->closed ? "is closed" : "is shutting down");
    struct task *task = task_create(L, lua_gettop(L) - 2);
    struct member *member = malloc(sizeof *member);
    if (!member) {
        struct cancel_origin origin = cancel_origin_here(L, "create_task, out of memory", 0);
        task_cancel(task, &origin, LUA_NOREF);
        return luaL_error(L, "create_task: not enough memory");
    }
    member->group = group;
    member->watch = (struct watch){.watcher = &watcher};
    list_append(&group->members, &member->link);
    future_watch(&task->future, &member->watch);
    return 1;
}

/* tg:cancel(): cancels the children; in the function form the body too, quietly */
static int group_cancel(lua_State *L) {
    struct group *group = check_group(L, 1);
    struct cancel_origin origin = cancel_origin_here(L, "TaskGroup:cancel()", 0);
    cancel_members(group, &origin);
    if (group->quiet && !group->closing) scope_cancel(&group->scope);
    return 0;
}

/* The group lets go of its children, who go on without it. */
static void disband(struct group *group) {
    struct list *link;
    while ((link = list_shift(&group->members))) {
        struct member *member = container_of(link, struct member, link);
        future_unwatch(&member->watch);
        free(member);
    }
}

/* Left behind, in a generator or because nobody closes it. Whoever else closes it right now keeps
 * it. */
static void on_abandon(struct scope *scope) {
    struct group *group = container_of(scope, struct group, scope);
    lilac_wait *wait = &group->wait;
    if (!lilac_waiting(wait) || wait->task == scope->task) disband(group);
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* Cancelled from outside while it waits for the children: they are cancelled, and waited for. */
static bool join_cancel(lilac_wait *wait) {
    struct cancel_origin origin = task_pending_origin(wait->task);
    cancel_members(container_of(wait, struct group, wait), &origin);
    return false;
}

/* Pushes the one error, or an ExceptionGroup of several. */
static void push_errors(lua_State *L, struct group *group) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, group->errors_ref);
    if (group->errors == 1) {
        if (lua_rawgeti(L, -1, FAILED_TASK) != LUA_TNIL) task_note_rethrow(L, -1);
        lua_pop(L, 1);
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
        return;
    }
    for (int place = SEEN; place <= FAILED_TASK; place++) {
        lua_pushnil(L);
        lua_rawseti(L, -2, place);
    }
    lua_rawgeti(L, -1, 1);
    const char *first = error_push_text(L, -1);
    lua_pushfstring(L, "%d errors of a TaskGroup, the first: %s", group->errors, first);
    error_new(L, "ExceptionGroup");
    lua_rotate(L, -4, 1); /* below the errors, the first one, and its text */
    lua_pop(L, 2);
    error_set_field(L, -2, "errors");
}

/* The body has failed or was cancelled, by the error at 2: so are the children. */
static void abort_members(lua_State *L, struct group *group) {
    struct error *error = task_is_own_cancellation(L, 2) ? error_test(L, 2) : NULL;
    bool quiet = scope_owns(L, &group->scope, 2);
    group->aborted = true;
    if (!quiet) cancel_members(group, error ? &error->origin : &group->origin);
}

/* What leaving the group [group, error or nil, …] comes to, once all children have ended. Returns
 * false: nothing is to be raised in place of the body's error. True: an error is on top. */
static bool settle(lua_State *L, struct group *group) {
    struct task *task = task_running(L);
    bool interrupted = task_was_deferred(task) || group->interrupted;
    bool cancelled = task_is_own_cancellation(L, 2);
    bool outside = cancelled && !scope_owns(L, &group->scope, 2);
    if (!cancelled && !lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        add_error(L, group);
    }
    group->closed = true;
    scope_exit(L, &group->scope);
    if (group->errors > 0 && !(outside && task->leaving)) { /* os.exit goes on whatever failed */
        if (outside) task_rearm(L, task, 2);
        push_errors(L, group);
        luaL_unref(L, LUA_REGISTRYINDEX, group->errors_ref);
        group->errors_ref = LUA_NOREF;
        return true;
    }
    if (interrupted && !outside && task_take_cancellation(L, task)) return true;
    return false;
}

/* Parks until the children have ended; a cancellation that is pending already reaches them first.
 */
static int join(lua_State *L, struct group *group, const lilac_op *op) {
    struct task *task = task_able_to_wait(L);
    lilac_refuse_second(L, &group->wait, "close the TaskGroup");
    group->closing = true;
    if (task->pending > 0 && !group->interrupted) {
        group->interrupted = true;
        struct cancel_origin origin = task_pending_origin(task);
        cancel_members(group, &origin);
    }
    if (list_empty(&group->members)) return op->done(L, &group->wait);
    return task_park(L, &group->wait, op);
}

static void join_describe(lilac_wait *wait, char *text, size_t size) {
    struct group *group = container_of(wait, struct group, wait);
    int count = 0;
    for (struct list *at = group->members.next; at != &group->members; at = at->next)
        count++;
    snprintf(text, size, "%d tasks", count);
}

/* Of several members any may fail, and cancel the others: a circle through them is certain only
 * when one is left. */
static struct task *join_holder(lilac_wait *wait) {
    struct list *members = &container_of(wait, struct group, wait)->members;
    if (list_empty(members) || members->next->next != members) return NULL;
    struct member *member = container_of(members->next, struct member, link);
    return future_task(member->watch.future);
}

/* [group, error or nil]. Others may have created tasks since the last one has ended. */
static int close_done(lua_State *L, lilac_wait *wait) {
    struct group *group = container_of(wait, struct group, wait);
    if (!list_empty(&group->members)) return join(L, group, task_running(L)->op);
    if (!settle(L, group)) return 0;
    return lua_rawequal(L, -1, 2) ? 0 : lua_error(L);
}

static const lilac_op op_close = {.name = "TaskGroup:close",
                                  .cancel = join_cancel,
                                  .done = close_done,
                                  .describe = join_describe,
                                  .holder = join_holder};

static int group_close(lua_State *L) {
    struct group *group = check_group(L, 1);
    lua_settop(L, 2);
    if (group->closed) return 0;
    lilac_refuse_second(L, &group->wait, "close the TaskGroup");
    if (!lua_isnil(L, 2)) abort_members(L, group);
    return join(L, group, &op_close);
}

/* ---- the function form ----------------------------------------------------------------------- */

/* [group, error or nil, results…] */
static int form_done(lua_State *L, lilac_wait *wait) {
    struct group *group = container_of(wait, struct group, wait);
    if (!list_empty(&group->members)) return join(L, group, task_running(L)->op);
    bool quiet = scope_owns(L, &group->scope, 2);
    if (settle(L, group)) return lua_error(L);
    if (lua_isnil(L, 2) || quiet) return lua_gettop(L) - 2;
    lua_settop(L, 2);
    return lua_error(L);
}

static const lilac_op op_form = {.name = "TaskGroup",
                                 .cancel = join_cancel,
                                 .done = form_done,
                                 .describe = join_describe,
                                 .holder = join_holder};

/* [group, results…] or [group, error]. Results may leave no room on the stack for what is to come;
 * the children are waited for even where there can be none. */
static int body_done(lua_State *L, int status, lua_KContext context) {
    (void)context;
    struct group *group = lua_touserdata(L, 1);
    bool failed = status != LUA_OK && status != LUA_YIELD;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, 1);
        lua_pushliteral(L, "TaskGroup: too many results");
        failed = true;
    }
    if (failed) {
        abort_members(L, group);
    } else {
        lua_pushnil(L);
        lua_insert(L, 2);
    }
    return join(L, group, &op_form);
}

/* TaskGroup() → tg, to be closed; TaskGroup(function(tg) … end) → results… */
static int lilac_group(lua_State *L) {
    if (!lua_isnoneornil(L, 1)) args_callable(L, 1);
    lua_settop(L, 1);
    task_able_to_wait(L);
    struct group *group = object_new(L, &group_type, "lilac.TaskGroup", 0);
    list_init(&group->members);
    group->errors_ref = LUA_NOREF;
    group->quiet = !lua_isnil(L, 1);
    group->origin = cancel_origin_here(L, "TaskGroup, as a task of it failed", 0);
    group->scope.origin = group->origin;
    group->scope.on_abandon = on_abandon;
    scope_enter(L, &group->scope);
    if (!group->quiet) return 1;
    lua_insert(L, 1);
    lua_pushvalue(L, 1);
    int status = lua_pcallk(L, 1, LUA_MULTRET, 0, 0, body_done);
    return body_done(L, status, 0);
}

/* tg:start(fn, …) is Lua: lua/lilac/start.lua. */
static int start_done(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L);
}

static int group_start(lua_State *L) {
    check_group(L, 1);
    args_callable(L, 2);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lilac.start");
    lua_call(L, 1, 1);
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, start_done);
    return lua_gettop(L);
}

static int group_gc(lua_State *L) {
    struct group *group = check_group(L, 1);
    disband(group);
    lilac_wake(&group->wait); /* nobody waits, unless it was called by hand */
    luaL_unref(L, LUA_REGISTRYINDEX, group->errors_ref);
    group->errors_ref = LUA_NOREF;
    group->closed = true;
    return 0;
}

static int group_tostring(lua_State *L) {
    struct group *group = check_group(L, 1);
    lua_pushstring(L, group->closed ? "closed" : group->aborted ? "shutting down" : "open");
    return object_tostring(L);
}

int luaopen_lilac_group(lua_State *L) {
    static const luaL_Reg methods[] = {{"create_task", group_create_task},
                                       {"start", group_start},
                                       {"cancel", group_cancel},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__close", group_close}, {"__gc", group_gc}, {"__tostring", group_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"TaskGroup", lilac_group}, {NULL, NULL}};
    object_class(L, "lilac.TaskGroup", methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
