/*
 * Channel: a queue between threads. Each item is a parcel. While a task waits in get the channel is
 * empty, while one waits in put it is full, as with Queue; so an item goes from hand to hand: who
 * puts gives it to the first that waits in get, whichever thread that is of, and who gets takes in
 * the item of the first that waits in put. The letter that tells of it wakes the task.
 *
 * A task that is cancelled leaves the line, unless the exchange was made already: then the wait
 * goes on for the letter, and the outcome comes first. So no item is lost, and none is there twice.
 */
#include "channel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../core/args.h"
#include "../core/lock.h"
#include "../core/object.h"
#include "../core/runtime.h"
#include "builtin.h"
#include "transfer.h"

struct item {
    struct list link;
    struct parcel *parcel;
};

struct channel {
    pthread_mutex_t lock;
    unsigned references;
    lua_Integer capacity, count; /* of items; 0: no limit */
    struct list items, getters, putters;
    bool shut;
    struct channel *next_doomed;
};

/* A task that waits: a userdata on its stack. */
struct waiter {
    const struct object_type *type;
    struct list link; /* among the channel's getters or putters, until the exchange */
    struct channel *channel;
    struct runtime *runtime;
    struct mailbox *home;
    struct letter exchanged;
    struct item *item; /* to put, or that was got */
    lilac_wait wait;
};

/* What Lua sees. */
struct box {
    const struct object_type *type;
    struct channel *channel;
};

static const struct object_type channel_type = {"Channel", sizeof(struct box)};
static const struct object_type waiter_type = {"Channel waiter", sizeof(struct waiter)};
static const char boxes_key; /* struct channel → its box; weak values */

/* ---- channels and their boxes ---------------------------------------------------------------- */

static struct item *item_new(struct parcel *parcel) {
    struct item *item = malloc(sizeof *item);
    if (!item) return NULL;
    list_init(&item->link);
    item->parcel = parcel;
    return item;
}

static void item_free(struct item *item) {
    if (!item) return;
    parcel_free(item->parcel);
    free(item);
}

struct channel *channel_ref(struct channel *channel) {
    pthread_mutex_lock(&channel->lock);
    channel->references++;
    pthread_mutex_unlock(&channel->lock);
    return channel;
}

static void channel_free(struct channel *channel) {
    struct list *link;
    while ((link = list_shift(&channel->items)))
        item_free(container_of(link, struct item, link));
    pthread_mutex_destroy(&channel->lock);
    free(channel);
}

/* What is in a Channel may hold the last reference to another one, in which there is another, and
 * so on: those wait until this one is done, as such a chain can be long. */
void channel_unref(struct channel *channel) {
    static _Thread_local struct channel *doomed;
    static _Thread_local bool is_freeing;
    pthread_mutex_lock(&channel->lock);
    bool is_last = --channel->references == 0;
    pthread_mutex_unlock(&channel->lock);
    if (!is_last) return;
    channel->next_doomed = doomed;
    doomed = channel;
    if (is_freeing) return;
    is_freeing = true;
    while ((channel = doomed)) {
        doomed = channel->next_doomed;
        channel_free(channel);
    }
    is_freeing = false;
}

struct channel *channel_test(lua_State *L, int index) {
    struct box *box = lua_touserdata(L, index);
    if (!box || lua_rawlen(L, index) != sizeof *box || box->type != &channel_type) return NULL;
    return box->channel;
}

struct channel *channel_in(const void *box) {
    return ((const struct box *)box)->channel;
}

void channel_push(lua_State *L, struct channel *channel) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    if (lua_rawgetp(L, -1, channel) == LUA_TNIL) {
        lua_pop(L, 1);
        struct box *box = object_new(L, &channel_type, "lilac.Channel", 0);
        box->channel = channel_ref(channel);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, channel);
    }
    lua_remove(L, -2);
}

static int box_gc(lua_State *L) {
    struct box *box = object_check(L, 1, &channel_type);
    if (box->channel) channel_unref(box->channel);
    box->channel = NULL;
    return 0;
}

/* Not to be relied on after what may run a finaliser, which may call box_gc by hand. */
static struct channel *check(lua_State *L) {
    struct box *box = object_check(L, 1, &channel_type);
    if (!box->channel) luaL_error(L, "the Channel was collected");
    return box->channel;
}

/* Channel([capacity]) */
static int channel_new(lua_State *L) {
    lua_Integer capacity = 0;
    if (!lua_isnoneornil(L, 1))
        capacity = args_integer(L, 1, "capacity (0 for no limit)", 0, LUA_MAXINTEGER);
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel) return luaL_error(L, "Channel: not enough memory");
    lock_init(&channel->lock);
    list_init(&channel->items);
    list_init(&channel->getters);
    list_init(&channel->putters);
    channel->capacity = capacity;
    channel->references = 1;
    struct box *box = object_new(L, &channel_type, "lilac.Channel", 0);
    box->channel = channel;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, channel);
    lua_pop(L, 1);
    return 1;
}

/* ---- exchanges: the channel is locked -------------------------------------------------------- */

static bool has_room(const struct channel *channel) {
    return channel->capacity == 0 || channel->count < channel->capacity;
}

static void on_exchanged(struct letter *letter) {
    struct waiter *waiter = container_of(letter, struct waiter, exchanged);
    waiter->runtime->expected--;
    lilac_wake(&waiter->wait);
}

/* Takes a waiter out of its line and tells it. A loop but our own must be woken when the channel is
 * unlocked: *home, if it is one. False: that loop has ended. */
static bool tell(struct waiter *waiter, const struct runtime *ours, struct mailbox **home) {
    list_unlink(&waiter->link);
    if (waiter->runtime == ours) {
        on_exchanged(&waiter->exchanged);
        return true;
    }
    enum post post = mailbox_post(waiter->home, &waiter->exchanged);
    if (post == POST_FIRST) *home = mailbox_ref(waiter->home);
    return post != POST_REFUSED;
}

static void wake(struct mailbox *home) {
    if (!home) return;
    mailbox_wake(home);
    mailbox_unref(home);
}

/* Gives the item to a getter, or keeps it; there is room. Returns whom to wake. */
static struct mailbox *put(struct channel *channel, struct item *item, const struct runtime *ours) {
    struct mailbox *home = NULL;
    while (!list_empty(&channel->getters)) {
        struct waiter *getter = container_of(channel->getters.next, struct waiter, link);
        getter->item = item;
        if (tell(getter, ours, &home)) return home;
        getter->item = NULL;
    }
    list_append(&channel->items, &item->link);
    channel->count++;
    return NULL;
}

/* Takes the first item; there is one. Takes in that of a putter; *home is whom to wake. */
static struct item *get(struct channel *channel, const struct runtime *ours,
                        struct mailbox **home) {
    struct item *item = container_of(list_shift(&channel->items), struct item, link);
    channel->count--;
    while (has_room(channel) && !list_empty(&channel->putters)) {
        struct waiter *putter = container_of(channel->putters.next, struct waiter, link);
        struct item *next = putter->item;
        putter->item = NULL;
        if (tell(putter, ours, home)) {
            list_append(&channel->items, &next->link);
            channel->count++;
            break;
        }
        putter->item = next;
    }
    return item;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Pushes a waiter for the channel at 1. */
static struct waiter *waiter_new(lua_State *L) {
    struct waiter *waiter = object_new(L, &waiter_type, "lilac.Channel waiter", 0);
    waiter->channel = channel_ref(check(L));
    waiter->runtime = runtime_of(L);
    waiter->home = mailbox_ref(waiter->runtime->mailbox);
    list_init(&waiter->link);
    letter_init(&waiter->exchanged, on_exchanged);
    return waiter;
}

/* Whether it was in line still, and the exchange cannot come any more. */
static bool leave_line(struct waiter *waiter) {
    pthread_mutex_lock(&waiter->channel->lock);
    bool was_in_line = !list_empty(&waiter->link);
    list_unlink(&waiter->link);
    pthread_mutex_unlock(&waiter->channel->lock);
    return was_in_line;
}

static int waiter_gc(lua_State *L) {
    struct waiter *waiter = lua_touserdata(L, 1);
    if (!waiter->channel) return 0;
    leave_line(waiter); /* of a task that was dropped */
    mailbox_withdraw(waiter->home, &waiter->exchanged);
    item_free(waiter->item);
    mailbox_unref(waiter->home);
    channel_unref(waiter->channel);
    waiter->channel = NULL;
    return 0;
}

static bool wait_cancel(lilac_wait *wait) {
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    bool was_in_line = leave_line(waiter);
    if (was_in_line) waiter->runtime->expected--;
    return was_in_line;
}

static void wait_describe(lilac_wait *wait, char *text, size_t size) {
    struct channel *channel = container_of(wait, struct waiter, wait)->channel;
    pthread_mutex_lock(&channel->lock);
    long long count = channel->count, capacity = channel->capacity;
    pthread_mutex_unlock(&channel->lock);
    if (capacity == 0)
        snprintf(text, size, "channel of %lld items", count);
    else
        snprintf(text, size, "channel of %lld/%lld items", count, capacity);
}

/* Parks in a line; the channel is locked, and is unlocked. */
static int park(lua_State *L, struct list *line, struct waiter *waiter, const lilac_op *op) {
    list_append(line, &waiter->link);
    /* Told from now on, by letter: to be delivered when this task is parked. */
    waiter->runtime->expected++;
    pthread_mutex_unlock(&waiter->channel->lock);
    return lilac_park(L, &waiter->wait, op);
}

/* ---- put ------------------------------------------------------------------------------------- */

static int throw_shut_down(lua_State *L, const char *op) {
    return lilac_throw(L, "QueueShutDown", "%s: the channel is shut down", op);
}

/* Makes the item of the value at 2, for the channel at 1, which is there still. */
static struct item *pack(lua_State *L, const char *op) {
    const struct wording wording = {.op = op, .root = "item"};
    struct parcel *parcel = transfer_pack(L, 2, 1, &wording);
    struct item *item = channel_test(L, 1) ? item_new(parcel) : NULL;
    if (!item) {
        parcel_free(parcel);
        check(L);
        luaL_error(L, "%s: not enough memory", op);
    }
    return item;
}

/* Takes what a waiter has; of a putter that was told of an exchange: nothing. */
static struct item *taken(lilac_wait *wait) {
    struct waiter *waiter = container_of(wait, struct waiter, wait);
    struct item *item = waiter->item;
    waiter->item = NULL;
    return item;
}

static int put_done(lua_State *L, lilac_wait *wait) {
    struct item *item = taken(wait);
    item_free(item);
    return item ? throw_shut_down(L, "put") : 0;
}

static const lilac_op put_op = {
    .name = "channel:put", .cancel = wait_cancel, .done = put_done, .describe = wait_describe};

static int channel_put_nowait(lua_State *L) {
    struct channel *channel = check(L);
    args_value(L, 2, "item");
    lua_settop(L, 2);
    struct item *item = pack(L, "put_nowait");
    struct mailbox *home = NULL;
    pthread_mutex_lock(&channel->lock);
    bool is_shut = channel->shut, is_put = !is_shut && has_room(channel);
    if (is_put) home = put(channel, item, runtime_of(L));
    pthread_mutex_unlock(&channel->lock);
    wake(home);
    if (is_put) return 0;
    item_free(item);
    if (is_shut) return throw_shut_down(L, "put_nowait");
    return lilac_throw(L, "QueueFull", "put_nowait: the channel is full");
}

static int channel_put(lua_State *L) {
    struct channel *channel = check(L);
    args_value(L, 2, "item");
    lua_settop(L, 2);
    lilac_checkpoint(L);
    /* The waiter first, so that the item has an owner before anything can raise. */
    pthread_mutex_lock(&channel->lock);
    bool is_full = !has_room(channel);
    pthread_mutex_unlock(&channel->lock);
    struct waiter *waiter = is_full ? waiter_new(L) : NULL;
    struct item *item = pack(L, "put");
    if (waiter) waiter->item = item;
    struct mailbox *home = NULL;
    pthread_mutex_lock(&channel->lock);
    bool is_shut = channel->shut, is_put = !is_shut && has_room(channel);
    if (!is_shut && !is_put && waiter) return park(L, &channel->putters, waiter, &put_op);
    if (is_put) {
        if (waiter) waiter->item = NULL;
        home = put(channel, item, runtime_of(L));
    }
    pthread_mutex_unlock(&channel->lock);
    wake(home);
    if (is_put) return 0;
    if (!waiter) item_free(item);
    if (is_shut) return throw_shut_down(L, "put");
    return channel_put(L); /* it was full just now, and there was room before */
}

/* ---- get ------------------------------------------------------------------------------------- */

static int unpack_protected(lua_State *L) {
    return transfer_unpack(L, lua_touserdata(L, 1));
}

/* Pushes the value of an item, which is freed whether that raises or not. */
static int unpack(lua_State *L, struct item *item) {
    lua_pushcfunction(L, unpack_protected);
    lua_pushlightuserdata(L, item->parcel);
    int status = lua_pcall(L, 1, 1, 0);
    item_free(item);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* Takes an item if there is one. */
static struct item *try_get(lua_State *L, struct channel *channel, bool *is_shut) {
    struct mailbox *home = NULL;
    pthread_mutex_lock(&channel->lock);
    struct item *item = channel->count > 0 ? get(channel, runtime_of(L), &home) : NULL;
    *is_shut = channel->shut;
    pthread_mutex_unlock(&channel->lock);
    wake(home);
    return item;
}

static int channel_get_nowait(lua_State *L) {
    bool is_shut;
    struct item *item = try_get(L, check(L), &is_shut);
    if (item) return unpack(L, item);
    if (is_shut) return throw_shut_down(L, "get_nowait");
    return lilac_throw(L, "QueueEmpty", "get_nowait: the channel is empty");
}

static int get_done(lua_State *L, lilac_wait *wait) {
    struct item *item = taken(wait);
    return item ? unpack(L, item) : throw_shut_down(L, "get");
}

static const lilac_op get_op = {
    .name = "channel:get", .cancel = wait_cancel, .done = get_done, .describe = wait_describe};

/* As get_done, but a shutdown ends the loop. */
static int next_done(lua_State *L, lilac_wait *wait) {
    struct item *item = taken(wait);
    return item ? unpack(L, item) : 0;
}

static const lilac_op next_op = {
    .name = "channel:iter", .cancel = wait_cancel, .done = next_done, .describe = wait_describe};

static int get_with(lua_State *L, const lilac_op *op) {
    struct channel *channel = check(L);
    bool is_shut;
    lua_settop(L, 1);
    lilac_checkpoint(L);
    struct item *item = try_get(L, channel, &is_shut);
    if (!item && !is_shut) {
        struct waiter *waiter = waiter_new(L);
        pthread_mutex_lock(&channel->lock);
        if (channel->count == 0 && !channel->shut) return park(L, &channel->getters, waiter, op);
        pthread_mutex_unlock(&channel->lock);
        return get_with(L, op);
    }
    if (item) return unpack(L, item);
    return op == &next_op ? 0 : throw_shut_down(L, "get");
}

static int channel_get(lua_State *L) {
    return get_with(L, &get_op);
}

static int channel_next(lua_State *L) {
    return get_with(L, &next_op);
}

static int channel_iter(lua_State *L) {
    check(L);
    lua_pushcfunction(L, channel_next);
    lua_pushvalue(L, 1);
    return 2;
}

/* ---- the end, and the rest ------------------------------------------------------------------- */

/* Tells all in a line; the channel is locked. */
static void tell_all(struct list *line, const struct runtime *ours) {
    while (!list_empty(line)) {
        struct mailbox *home = NULL;
        tell(container_of(line->next, struct waiter, link), ours, &home);
        wake(home);
    }
}

static int channel_shutdown(lua_State *L) {
    struct channel *channel = check(L);
    struct list dropped;
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TBOOLEAN);
    bool at_once = lua_toboolean(L, 2);
    list_init(&dropped);
    pthread_mutex_lock(&channel->lock);
    channel->shut = true;
    struct list *link;
    while (at_once && (link = list_shift(&channel->items)))
        list_append(&dropped, link);
    if (at_once) channel->count = 0;
    tell_all(&channel->getters, runtime_of(L));
    tell_all(&channel->putters, runtime_of(L));
    pthread_mutex_unlock(&channel->lock);
    while ((link = list_shift(&dropped)))
        item_free(container_of(link, struct item, link));
    return 0;
}

static int channel_close(lua_State *L) {
    lua_settop(L, 1); /* a scope's error comes second */
    return channel_shutdown(L);
}

struct state {
    lua_Integer capacity, count;
    bool is_full, is_shut;
};

static struct state state_of(lua_State *L) {
    struct channel *channel = check(L);
    pthread_mutex_lock(&channel->lock);
    struct state state = {channel->capacity, channel->count, !has_room(channel), channel->shut};
    pthread_mutex_unlock(&channel->lock);
    return state;
}

static int channel_qsize(lua_State *L) {
    lua_pushinteger(L, state_of(L).count);
    return 1;
}

static int channel_maxsize(lua_State *L) {
    lua_pushinteger(L, state_of(L).capacity);
    return 1;
}

static int channel_empty(lua_State *L) {
    lua_pushboolean(L, state_of(L).count == 0);
    return 1;
}

static int channel_full(lua_State *L) {
    lua_pushboolean(L, state_of(L).is_full);
    return 1;
}

static int channel_tostring(lua_State *L) {
    struct state state = state_of(L);
    const char *shut = state.is_shut ? ", shut down" : "";
    if (state.capacity == 0)
        lua_pushfstring(L, "%I items%s", (LUAI_UACINT)state.count, shut);
    else
        lua_pushfstring(L, "%I/%I items%s", (LUAI_UACINT)state.count, (LUAI_UACINT)state.capacity,
                        shut);
    return object_tostring(L);
}

int luaopen_lilac_channel(lua_State *L) {
    static const luaL_Reg methods[] = {{"put", channel_put},
                                       {"get", channel_get},
                                       {"put_nowait", channel_put_nowait},
                                       {"get_nowait", channel_get_nowait},
                                       {"iter", channel_iter},
                                       {"shutdown", channel_shutdown},
                                       {"close", channel_close},
                                       {"qsize", channel_qsize},
                                       {"maxsize", channel_maxsize},
                                       {"empty", channel_empty},
                                       {"full", channel_full},
                                       {NULL, NULL}};
    static const luaL_Reg no_methods[] = {{NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", channel_tostring},
                                    {"__close", channel_close},
                                    {"__gc", box_gc},
                                    {NULL, NULL}};
    static const luaL_Reg waiter_meta[] = {{"__gc", waiter_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"Channel", channel_new}, {NULL, NULL}};
    object_class(L, "lilac.Channel", methods, meta);
    object_class(L, "lilac.Channel waiter", no_methods, waiter_meta);
    object_weak_table(L, &boxes_key, "v");
    luaL_newlib(L, functions);
    return 1;
}
