/*
 * lilac.connections: the connections of a server. Each has a task that runs the handler; when that
 * has ended, its stream is closed, and its error reported. Whoever waits for room for one more, or
 * for the end of all, is woken then. lilac.server composes the rest.
 *
 * It is in C as it is all that a server adds to a connection.
 */
#include <stdlib.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "../core/slots.h"
#include "builtin.h"
#include "stream.h"

struct connections {
    const struct object_type *type; /* first */
    struct list members;            /* those that have not ended */
    lua_Integer count, admitted, most;
    struct slots slots;      /* of the streams in the table STREAMS */
    struct connection *next; /* what the next one takes, when its beginning has failed */
    struct waitq door, end;
    bool gone; /* it was finalised, by hand */
};

struct connection {
    struct list link;
    struct watch watch; /* of its task */
    struct connections *all;
    uint32_t slot;
};

enum { HANDLER = 1, STREAMS = 2 }; /* uservalues */

enum { NAME_SIZE = 160 };

static const struct object_type connections_type = {"Connections", sizeof(struct connections)};

static struct connections *connections_check(lua_State *L) {
    return object_check(L, 1, &connections_type);
}

static void refuse_gone(lua_State *L, const struct connections *all) {
    if (all->gone) luaL_error(L, "the Connections was collected");
}

/* ---- the end of one -------------------------------------------------------------------------- */

static void report(lua_State *L, int task) {
    lua_getfield(L, task, "name");
    const char *message = lua_pushfstring(L, "%s: the handler failed", lua_tostring(L, -1));
    future_push_error(L, task);
    report_push_traceback(L, task);
    report_exception(L, message, -2, lua_gettop(L), task);
}

/* Tasks end in the scheduler, where Lua may be used. */
static void on_ended(struct watch *watch, struct future *future, lua_State *from, int index) {
    (void)from, (void)index;
    struct connection *connection = container_of(watch, struct connection, watch);
    struct connections *all = connection->all;
    struct task *task = future_task(future);
    lua_State *L = task->runtime->L;
    int top = lua_gettop(L);
    luaL_checkstack(L, 12, "Connections");
    lua_rawgetp(L, LUA_REGISTRYINDEX, all);
    lua_getiuservalue(L, -1, STREAMS);
    lua_rawgeti(L, -1, connection->slot);
    struct stream *stream = lilac_handle_test(L, -1, &stream_type);
    if (stream) lilac_handle_close(&stream->handle);
    lua_pushnil(L);
    lua_rawseti(L, -3, connection->slot);
    slots_give(&all->slots, connection->slot);
    list_unlink(&connection->link);
    free(connection);
    if (all->most > 0) all->admitted--;
    waitq_wake_one(&all->door);
    if (--all->count == 0) {
        waitq_wake_all(&all->end);
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, all);
    }
    if (future->state == FUTURE_FAILED) {
        task_push(L, task);
        report(L, lua_gettop(L));
    }
    lua_settop(L, top);
}

static const struct watcher watcher = {on_ended};

/* ---- the beginning --------------------------------------------------------------------------- */

/* [connections, stream, name or nil]: the name, or what the stream calls its peer, "connection from
 * 127.0.0.1:80", goes to 3. */
static void find_name(lua_State *L, const struct stream *stream) {
    char name[NAME_SIZE] = "connection from ";
    int prefix = (int)sizeof "connection from " - 1;
    if (!lua_isnil(L, 3)) return;
    stream->ops->subject(stream, name + prefix, sizeof name - (size_t)prefix);
    lua_pushstring(L, name);
    lua_replace(L, 3);
}

/* The block and the slot of the next one. */
static struct connection *reserve(lua_State *L, struct connections *all) {
    if (all->next) return all->next;
    struct connection *next = slots_reserve(&all->slots) ? malloc(sizeof *next) : NULL;
    if (!next) luaL_error(L, "begin: not enough memory");
    *next = (struct connection){
        .watch = {.watcher = &watcher}, .all = all, .slot = slots_take(&all->slots)};
    return all->next = next;
}

/* Keeps the stream at 2 until its task has ended, and the connections at 1 as long as there are
 * some. */
static void keep(lua_State *L, struct connections *all, uint32_t slot) {
    lua_getiuservalue(L, 1, STREAMS);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, slot);
    lua_pop(L, 1);
    if (all->count > 0) return;
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, all);
}

/* Takes back what had been reserved. */
static void give_back(struct connections *all, struct connection *connection) {
    if (!all->next && !all->gone) {
        all->next = connection;
        return;
    }
    if (!all->gone) slots_give(&all->slots, connection->slot);
    free(connection);
}

/* [handler, stream] → their task */
static int create_protected(lua_State *L) {
    task_create(L, 1);
    return 1;
}

/* Pushes the task of a connection. A finaliser that runs meanwhile may begin another one: so this
 * one is in nobody's reach until it has its task. */
static void create(lua_State *L, struct connections *all, struct connection *connection) {
    all->next = NULL;
    lua_pushcfunction(L, create_protected);
    lua_getiuservalue(L, 1, HANDLER);
    lua_pushvalue(L, 2);
    bool is_created = lua_pcall(L, 2, 1, 0) == LUA_OK;
    if (!is_created || all->gone) give_back(all, connection);
    if (!is_created) lua_error(L);
    refuse_gone(L, all);
}

/* c:begin(stream [, name]) → the task of the connection, with that name. With a `most`, after
 * c:admit(). What may fail for want of memory comes before the task, which would be nobody's. */
static int connections_begin(lua_State *L) {
    struct connections *all = connections_check(L);
    struct stream *stream = lilac_handle_check(L, 2, &stream_type, "begin");
    luaL_optstring(L, 3, NULL);
    lua_settop(L, 3);
    find_name(L, stream);
    refuse_gone(L, all);
    struct connection *connection = reserve(L, all);
    keep(L, all, connection->slot);
    create(L, all, connection);
    future_watch(&task_test(L, 4)->future, &connection->watch);
    list_append(&all->members, &connection->link);
    all->count++;
    lua_pushvalue(L, 3);
    task_set_name(L, 4);
    return 1;
}

/* ---- room for one more ----------------------------------------------------------------------- */

static const lilac_op admit_op;

static int admit_done(lua_State *L, lilac_wait *wait) {
    struct connections *all = connections_check(L);
    (void)wait;
    if (all->admitted >= all->most) return waitq_park(L, &all->door, &admit_op);
    all->admitted++;
    return 0;
}

static const lilac_op admit_op = {
    .name = "connections:admit", .cancel = waitq_cancel, .done = admit_done};

/* c:admit(): waits until there are fewer than `most`. The one that begins next is among them; when
 * none does, c:dismiss(). */
static int connections_admit(lua_State *L) {
    struct connections *all = connections_check(L);
    lilac_checkpoint(L);
    return all->most > 0 ? admit_done(L, NULL) : 0;
}

static int connections_dismiss(lua_State *L) {
    struct connections *all = connections_check(L);
    if (all->admitted > all->count) all->admitted--;
    waitq_wake_one(&all->door);
    return 0;
}

/* ---- the end of all -------------------------------------------------------------------------- */

static const lilac_op wait_op;

static int wait_done(lua_State *L, lilac_wait *wait) {
    struct connections *all = connections_check(L);
    (void)wait;
    return all->count == 0 ? 0 : waitq_park(L, &all->end, &wait_op);
}

static const lilac_op wait_op = {
    .name = "connections:wait", .cancel = waitq_cancel, .done = wait_done};

/* c:wait(): until there are none. */
static int connections_wait(lua_State *L) {
    connections_check(L);
    lilac_checkpoint(L);
    return wait_done(L, NULL);
}

/* ---- what there is --------------------------------------------------------------------------- */

/* c:count(): how many have not ended. */
static int connections_count(lua_State *L) {
    lua_pushinteger(L, connections_check(L)->count);
    return 1;
}

/* c:tasks() → array of their tasks. */
static int connections_tasks(lua_State *L) {
    struct connections *all = connections_check(L);
    lua_createtable(L, (int)all->count, 0);
    lua_Integer i = 0;
    for (struct list *at = all->members.next; at != &all->members; at = at->next) {
        task_push(L, future_task(container_of(at, struct connection, link)->watch.future));
        lua_rawseti(L, -2, ++i);
    }
    return 1;
}

static int connections_tostring(lua_State *L) {
    lua_pushfstring(L, "%I", (LUAI_UACINT)connections_check(L)->count);
    return object_tostring(L);
}

/* While there are any, the registry has it: so this comes at the end of the state, or by hand. */
static int connections_gc(lua_State *L) {
    struct connections *all = connections_check(L);
    struct list *link;
    while ((link = list_shift(&all->members))) {
        struct connection *connection = container_of(link, struct connection, link);
        future_unwatch(&connection->watch);
        free(connection);
    }
    free(all->next);
    free(all->slots.free);
    all->gone = true;
    all->next = NULL;
    all->slots = (struct slots){0};
    all->count = all->admitted = 0;
    return 0;
}

/* new(handler [, most]) → Connections: `handler(stream)` serves one, at most `most` at once. */
static int connections_new(lua_State *L) {
    args_callable(L, 1);
    lua_Integer most = 0;
    if (!lua_isnoneornil(L, 2)) most = args_integer(L, 2, "most", 1, LUA_MAXINTEGER);
    struct connections *all = object_new(L, &connections_type, "lilac.Connections", 2);
    list_init(&all->members);
    waitq_init(&all->door);
    waitq_init(&all->end);
    all->most = most;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, HANDLER);
    lua_newtable(L);
    lua_setiuservalue(L, -2, STREAMS);
    return 1;
}

int luaopen_lilac_connections(lua_State *L) {
    static const luaL_Reg methods[] = {{"begin", connections_begin},
                                       {"admit", connections_admit},
                                       {"dismiss", connections_dismiss},
                                       {"wait", connections_wait},
                                       {"count", connections_count},
                                       {"tasks", connections_tasks},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__tostring", connections_tostring}, {"__gc", connections_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", connections_new}, {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    object_class(L, "lilac.Connections", methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
