/*
 * Queue, PriorityQueue and LifoQueue.
 *
 * While a task waits in get the queue is empty, while one waits in put it is full. So whoever puts
 * finds a getter that takes the item at once, and whoever gets finds a putter whose item fits at
 * once. What is exchanged goes over the stacks of the parked coroutines, where the blocking calls
 * keep their arguments: an item is pushed onto the getter's, or taken from the putter's, before the
 * wake. What a stack holds then tells `done` how the wait ended.
 *
 * Items are in a table, the first uservalue. How they are arranged there is the order's business;
 * one that compares items may raise, and must not have changed anything then.
 */
#include <stdio.h>

#include "../core/args.h"
#include "../core/list.h"
#include "../core/object.h"
#include "../core/sched.h"
#include "../core/waitq.h"

int luaopen_lilac_queue(lua_State *L);

/* Capacities: the first one, and the largest that an emptied queue keeps. */
#define CAPACITY_MIN  4
#define CAPACITY_KEPT 4096

struct queue;

/* Both work on the queue at index 1 of the stack. */
struct order {
    void (*add)(lua_State *L, struct queue *queue);  /* the item at the top, which it pops */
    void (*take)(lua_State *L, struct queue *queue); /* leaves the item at the top, of count > 0 */
    bool compares;
};

struct queue {
    const struct object_type *type;
    const struct order *order;
    lua_Integer maxsize; /* 0: no limit */
    lua_Integer count;
    lua_Integer capacity;   /* of the table; a power of 2 */
    lua_Integer head;       /* Queue: slot of the first item, from 0 */
    lua_Integer changes;    /* PriorityQueue: so many so far, which numbers the items, too */
    lua_Integer unfinished; /* put, less task_done */
    bool shut;
    struct waitq getters, putters, joiners;
};

static const struct object_type queue_type = {"Queue", sizeof(struct queue)};

#define ITEMS 1 /* uservalues */
#define LESS  2

/* Replaces the table by a new one, of an empty queue; while it is made, a finaliser may put an
 * item, and the table stays. */
static void items_renew(lua_State *L, struct queue *queue) {
    lua_createtable(L, CAPACITY_MIN, 0);
    if (queue->count > 0) {
        lua_pop(L, 1);
        return;
    }
    lua_setiuservalue(L, 1, ITEMS);
    queue->capacity = CAPACITY_MIN;
    queue->head = 0;
    queue->changes++;
}

/* ---- first in, first out: a ring ------------------------------------------------------------- */

/* While the new table is made, a finaliser may have put an item, for which it has grown already. */
static void ring_grow(lua_State *L, struct queue *queue) {
    lua_Integer capacity = queue->capacity;
    lua_getiuservalue(L, 1, ITEMS);
    lua_createtable(L, (int)capacity * 2, 0);
    if (queue->capacity != capacity) {
        lua_pop(L, 2);
        return;
    }
    for (lua_Integer i = 0; i < capacity; i++) {
        lua_rawgeti(L, -2, ((queue->head + i) & (capacity - 1)) + 1);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setiuservalue(L, 1, ITEMS);
    lua_pop(L, 1);
    queue->capacity = capacity * 2;
    queue->head = 0;
}

static void ring_add(lua_State *L, struct queue *queue) {
    while (queue->count == queue->capacity)
        ring_grow(L, queue);
    lua_getiuservalue(L, 1, ITEMS);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, ((queue->head + queue->count) & (queue->capacity - 1)) + 1);
    lua_pop(L, 2);
}

static void ring_take(lua_State *L, struct queue *queue) {
    lua_Integer slot = queue->head + 1;
    lua_getiuservalue(L, 1, ITEMS);
    lua_rawgeti(L, -1, slot);
    lua_pushnil(L);
    lua_rawseti(L, -3, slot);
    queue->head = slot & (queue->capacity - 1);
}

static const struct order fifo = {.add = ring_add, .take = ring_take};

/* ---- last in, first out: a stack ------------------------------------------------------------- */

static void stack_add(lua_State *L, struct queue *queue) {
    lua_getiuservalue(L, 1, ITEMS);
    lua_insert(L, -2);
    lua_rawseti(L, -2, queue->count + 1);
    lua_pop(L, 1);
    if (queue->count == queue->capacity) queue->capacity *= 2;
}

static void stack_take(lua_State *L, struct queue *queue) {
    lua_getiuservalue(L, 1, ITEMS);
    lua_rawgeti(L, -1, queue->count);
    lua_pushnil(L);
    lua_rawseti(L, -3, queue->count);
}

static const struct order lifo = {.add = stack_add, .take = stack_take};

/* ---- by priority: a binary heap -------------------------------------------------------------- */

/* The node i of the heap, from 1, is the item in slot 2i - 1 and its number in slot 2i. The numbers
 * count up: of equal items, the one with the lower number came first. `items` is the index of the
 * table, and items + 1 that of the function that compares, or nil. */

static bool heap_less(lua_State *L, struct queue *queue, int items, lua_Integer i, lua_Integer j) {
    lua_Integer changes = queue->changes;
    bool less;
    lua_pushvalue(L, items + 1);
    lua_rawgeti(L, items, 2 * i - 1);
    lua_rawgeti(L, items, 2 * j - 1);
    if (lua_isnil(L, items + 1)) {
        less = lua_compare(L, -2, -1, LUA_OPLT);
        lua_pop(L, 3);
    } else {
        lua_call(L, 2, 1);
        less = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    if (queue->changes != changes)
        lilac_throw(L, "InvalidStateError", "the comparison of items has changed their queue");
    return less;
}

static lua_Integer heap_number(lua_State *L, int items, lua_Integer i) {
    lua_rawgeti(L, items, 2 * i);
    lua_Integer number = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number;
}

/* Whether node i goes before node j. One comparison tells, asked the right way round. */
static bool heap_precedes(lua_State *L, struct queue *queue, int items, lua_Integer i,
                          lua_Integer j) {
    if (heap_number(L, items, i) < heap_number(L, items, j)) {
        return !heap_less(L, queue, items, j, i);
    }
    return heap_less(L, queue, items, i, j);
}

static void heap_move(lua_State *L, int items, lua_Integer from, lua_Integer to) {
    lua_rawgeti(L, items, 2 * from - 1);
    lua_rawseti(L, items, 2 * to - 1);
    lua_rawgeti(L, items, 2 * from);
    lua_rawseti(L, items, 2 * to);
}

static void heap_add(lua_State *L, struct queue *queue) {
    int items = lua_gettop(L) + 1;
    lua_Integer last = queue->count + 1, hole = last;
    lua_getiuservalue(L, 1, ITEMS);
    lua_getiuservalue(L, 1, LESS);
    /* Behind the last node it is no part of the heap yet. */
    lua_pushvalue(L, items - 1);
    lua_rawseti(L, items, 2 * last - 1);
    lua_pushinteger(L, ++queue->changes);
    lua_rawseti(L, items, 2 * last);
    while (hole > 1 && heap_precedes(L, queue, items, last, hole / 2))
        hole /= 2;
    /* Nothing raises from here on. */
    lua_rawgeti(L, items, 2 * last);
    for (lua_Integer i = last; i > hole; i /= 2)
        heap_move(L, items, i / 2, i);
    lua_rawseti(L, items, 2 * hole);
    lua_pushvalue(L, items - 1);
    lua_rawseti(L, items, 2 * hole - 1);
    lua_settop(L, items - 2);
    if (last > queue->capacity) queue->capacity *= 2;
}

static void heap_take(lua_State *L, struct queue *queue) {
    int items = lua_gettop(L) + 1;
    lua_Integer last = queue->count, hole = 1;
    lua_getiuservalue(L, 1, ITEMS);
    lua_getiuservalue(L, 1, LESS);
    /* The last node takes the root's place: down the path of the lesser children to a leaf, then up
     * to where it belongs, which is near. Comparing it on the way down would take twice as long. */
    for (lua_Integer child = 2; child < last; child = 2 * hole) {
        if (child + 1 < last && heap_precedes(L, queue, items, child + 1, child)) child++;
        hole = child;
    }
    while (hole > 1 && heap_precedes(L, queue, items, last, hole))
        hole /= 2;
    /* Nothing raises from here on. */
    lua_rawgeti(L, items, 1);
    int depth = 0;
    while (hole >> depth > 1)
        depth++;
    for (; depth > 0; depth--)
        heap_move(L, items, hole >> (depth - 1), hole >> depth);
    heap_move(L, items, last, hole);
    lua_pushnil(L);
    lua_rawseti(L, items, 2 * last - 1);
    lua_pushnil(L);
    lua_rawseti(L, items, 2 * last);
    queue->changes++;
}

static const struct order priority = {.add = heap_add, .take = heap_take, .compares = true};

/* ---- put and get, when they need not wait ---------------------------------------------------- */

static struct queue *check(lua_State *L) {
    return object_check(L, 1, &queue_type);
}

static const char *plural(lua_Integer count) {
    return count == 1 ? "" : "s";
}

static bool has_room(const struct queue *queue) {
    return queue->maxsize == 0 || queue->count < queue->maxsize;
}

static int throw_shut_down(lua_State *L, const char *op) {
    return lilac_throw(L, "QueueShutDown", "%s: the queue is shut down", op);
}

/* Puts the item at the top of the stack, and pops it. There is room. */
static void put(lua_State *L, struct queue *queue) {
    lilac_wait *getter = waitq_first(&queue->getters);
    if (getter) {
        lua_xmove(L, getter->task->exchanges, 1);
        waitq_wake_one(&queue->getters);
    } else {
        queue->order->add(L, queue);
        queue->count++;
    }
    queue->unfinished++;
}

/* [queue, item] → nothing: `put`, to be called in protected mode. */
static int put_protected(lua_State *L) {
    put(L, lua_touserdata(L, 1));
    return 0;
}

/* As `put`; false, and the error in place of the item, where a comparison fails. */
static bool try_put(lua_State *L, struct queue *queue) {
    if (!queue->order->compares) {
        put(L, queue);
        return true;
    }
    lua_pushcfunction(L, put_protected);
    lua_pushvalue(L, 1);
    lua_rotate(L, -3, -1);
    return lua_pcall(L, 2, 0, 0) == LUA_OK;
}

/* After a place became free: puts the item of the first putter, on behalf of it. Where that fails
 * the error is the putter's, and the place the next one's. */
static void admit_putter(lua_State *L, struct queue *queue) {
    lilac_wait *wait;
    while (has_room(queue) && (wait = waitq_first(&queue->putters))) {
        lua_State *putter = wait->task->exchanges; /* its stack: [queue, item] */
        waitq_unlink(wait);                        /* a comparison may call the queue */
        lua_pushvalue(putter, 2);
        lua_xmove(putter, L, 1);
        if (try_put(L, queue)) {
            lua_settop(putter, 1);
        } else if (task_is_own_cancellation(L, -1)) {
            task_rearm(L, task_running(L), -1); /* it interrupted the comparison: nobody's error */
            lua_pop(L, 1);
        } else {
            lua_xmove(L, putter, 1);
        }
        lilac_wake(wait);
    }
}

/* Pushes the next item. There is one. */
static void get(lua_State *L, struct queue *queue) {
    queue->order->take(L, queue);
    queue->count--;
    if (!waitq_empty(&queue->putters)) admit_putter(L, queue);
    if (queue->count == 0 && queue->capacity > CAPACITY_KEPT) items_renew(L, queue);
}

static int queue_put_nowait(lua_State *L) {
    struct queue *queue = check(L);
    args_value(L, 2, "item");
    lua_settop(L, 2);
    if (queue->shut) return throw_shut_down(L, "put_nowait");
    if (!has_room(queue)) {
        const char *count = lua_pushfstring(L, "%I", (LUAI_UACINT)queue->count);
        return lilac_throw(L, "QueueFull", "put_nowait: the queue is full (%s item%s)", count,
                           plural(queue->count));
    }
    put(L, queue);
    return 0;
}

static int queue_get_nowait(lua_State *L) {
    struct queue *queue = check(L);
    if (queue->count == 0) {
        if (queue->shut) return throw_shut_down(L, "get_nowait");
        return lilac_throw(L, "QueueEmpty", "get_nowait: the queue is empty");
    }
    get(L, queue);
    return 1;
}

/* ---- put, get and join, when they wait ------------------------------------------------------- */

/* Parks until somebody has exchanged an item with this coroutine, or the queue is shut down. */
static int park(lua_State *L, struct waitq *waiters, const lilac_op *op) {
    task_running(L)->exchanges = L;
    return waitq_park(L, waiters, op);
}

static void describe(const struct queue *queue, char *text, size_t size) {
    if (queue->maxsize == 0) {
        snprintf(text, size, "queue of %lld item%s", (long long)queue->count, plural(queue->count));
    } else {
        snprintf(text, size, "queue of %lld/%lld items", (long long)queue->count,
                 (long long)queue->maxsize);
    }
}

static void put_describe(lilac_wait *wait, char *text, size_t size) {
    describe(container_of(waitq_of(wait), struct queue, putters), text, size);
}

/* The stack: [queue] when a getter has put the item, [queue, item, error] when it could not compare
 * it, [queue, item] when the queue was shut down, or the getter interrupted. */
static int put_done(lua_State *L, lilac_wait *wait) {
    struct queue *queue = check(L);
    if (lua_gettop(L) == 1) return 0;
    if (lua_gettop(L) == 3) return lua_error(L);
    if (queue->shut) return throw_shut_down(L, "put");
    lilac_checkpoint(L);
    if (!has_room(queue)) return park(L, &queue->putters, wait->task->op);
    put(L, queue);
    return 0;
}

static const lilac_op put_op = {
    .name = "queue:put",
    .cancel = waitq_cancel,
    .done = put_done,
    .describe = put_describe,
};

static int queue_put(lua_State *L) {
    struct queue *queue = check(L);
    args_value(L, 2, "item");
    lua_settop(L, 2);
    lilac_checkpoint(L);
    if (queue->shut) return throw_shut_down(L, "put");
    if (!has_room(queue)) return park(L, &queue->putters, &put_op);
    put(L, queue);
    return 0;
}

static void get_describe(lilac_wait *wait, char *text, size_t size) {
    describe(container_of(waitq_of(wait), struct queue, getters), text, size);
}

/* The stack: [queue, item], or [queue] after a shutdown. */
static int get_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    return lua_gettop(L) == 2 ? 1 : throw_shut_down(L, "get");
}

static const lilac_op get_op = {
    .name = "queue:get",
    .cancel = waitq_cancel,
    .done = get_done,
    .describe = get_describe,
};

static int queue_get(lua_State *L) {
    struct queue *queue = check(L);
    lua_settop(L, 1);
    lilac_checkpoint(L);
    if (queue->count == 0) {
        if (queue->shut) return throw_shut_down(L, "get");
        return park(L, &queue->getters, &get_op);
    }
    get(L, queue);
    return 1;
}

/* As get_done, but a shutdown ends the loop. */
static int next_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    return lua_gettop(L) == 2 ? 1 : 0;
}

static const lilac_op next_op = {
    .name = "queue:iter",
    .cancel = waitq_cancel,
    .done = next_done,
    .describe = get_describe,
};

static int queue_next(lua_State *L) {
    struct queue *queue = check(L);
    lua_settop(L, 1);
    lilac_checkpoint(L);
    if (queue->count == 0) {
        return queue->shut ? 0 : park(L, &queue->getters, &next_op);
    }
    get(L, queue);
    return 1;
}

static int queue_iter(lua_State *L) {
    check(L);
    lua_pushcfunction(L, queue_next);
    lua_pushvalue(L, 1);
    return 2;
}

static void join_describe(lilac_wait *wait, char *text, size_t size) {
    const struct queue *queue = container_of(waitq_of(wait), struct queue, joiners);
    snprintf(text, size, "queue with %lld unfinished item%s", (long long)queue->unfinished,
             plural(queue->unfinished));
}

static int join_done(lua_State *L, lilac_wait *wait) {
    (void)L;
    (void)wait;
    return 0;
}

static const lilac_op join_op = {
    .name = "queue:join",
    .cancel = waitq_cancel,
    .done = join_done,
    .describe = join_describe,
};

static int queue_join(lua_State *L) {
    struct queue *queue = check(L);
    lilac_checkpoint(L);
    if (queue->unfinished == 0) return 0;
    return waitq_park(L, &queue->joiners, &join_op);
}

static void finish(struct queue *queue, lua_Integer count) {
    queue->unfinished = queue->unfinished > count ? queue->unfinished - count : 0;
    if (queue->unfinished == 0) waitq_wake_all(&queue->joiners);
}

static int queue_task_done(lua_State *L) {
    struct queue *queue = check(L);
    if (queue->unfinished == 0)
        return lilac_throw(L, "InvalidStateError",
                           "task_done: called more often than items were put");
    finish(queue, 1);
    return 0;
}

static int queue_shutdown(lua_State *L) {
    struct queue *queue = check(L);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TBOOLEAN);
    queue->shut = true;
    if (lua_toboolean(L, 2)) {
        finish(queue, queue->count);
        queue->count = 0;
        items_renew(L, queue);
    }
    waitq_wake_all(&queue->getters);
    waitq_wake_all(&queue->putters);
    return 0;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int queue_qsize(lua_State *L) {
    lua_pushinteger(L, check(L)->count);
    return 1;
}

static int queue_maxsize(lua_State *L) {
    lua_pushinteger(L, check(L)->maxsize);
    return 1;
}

static int queue_empty(lua_State *L) {
    lua_pushboolean(L, check(L)->count == 0);
    return 1;
}

static int queue_full(lua_State *L) {
    lua_pushboolean(L, !has_room(check(L)));
    return 1;
}

static int queue_tostring(lua_State *L) {
    struct queue *queue = check(L);
    size_t getters = waitq_count(&queue->getters), putters = waitq_count(&queue->putters);
    if (queue->maxsize == 0)
        lua_pushfstring(L, "%I item%s", (LUAI_UACINT)queue->count, plural(queue->count));
    else
        lua_pushfstring(L, "%I/%I items", (LUAI_UACINT)queue->count, (LUAI_UACINT)queue->maxsize);
    if (queue->shut) lua_pushfstring(L, "%s, shut down", lua_tostring(L, -1));
    if (getters + putters > 0) {
        lua_pushfstring(L, "%s, %I in %s", lua_tostring(L, -1),
                        (LUAI_UACINT)getters + (LUAI_UACINT)putters, getters > 0 ? "get" : "put");
    }
    return object_tostring(L);
}

/* Replaces the maxsize at 1 by a new queue. */
static void create(lua_State *L, const char *class_name, const struct order *order) {
    lua_Integer maxsize = 0;
    if (!lua_isnoneornil(L, 1))
        maxsize = args_integer(L, 1, "maxsize (0 for no limit)", 0, LUA_MAXINTEGER);
    struct queue *queue = object_new(L, &queue_type, class_name, LESS);
    queue->order = order;
    queue->maxsize = maxsize;
    waitq_init(&queue->getters);
    waitq_init(&queue->putters);
    waitq_init(&queue->joiners);
    lua_replace(L, 1);
    items_renew(L, queue);
}

static int queue_new(lua_State *L) {
    lua_settop(L, 1);
    create(L, "lilac.Queue", &fifo);
    return 1;
}

static int lifo_queue_new(lua_State *L) {
    lua_settop(L, 1);
    create(L, "lilac.LifoQueue", &lifo);
    return 1;
}

static int priority_queue_new(lua_State *L) {
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) args_callable(L, 2);
    create(L, "lilac.PriorityQueue", &priority);
    lua_setiuservalue(L, 1, LESS);
    return 1;
}

static const luaL_Reg methods[] = {
    {"put", queue_put},
    {"get", queue_get},
    {"put_nowait", queue_put_nowait},
    {"get_nowait", queue_get_nowait},
    {"iter", queue_iter},
    {"task_done", queue_task_done},
    {"join", queue_join},
    {"shutdown", queue_shutdown},
    {"qsize", queue_qsize},
    {"maxsize", queue_maxsize},
    {"empty", queue_empty},
    {"full", queue_full},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {{"__tostring", queue_tostring}, {NULL, NULL}};

static const luaL_Reg constructors[] = {
    {"Queue", queue_new},
    {"LifoQueue", lifo_queue_new},
    {"PriorityQueue", priority_queue_new},
    {NULL, NULL},
};

int luaopen_lilac_queue(lua_State *L) {
    object_class(L, "lilac.Queue", methods, meta);
    object_class(L, "lilac.LifoQueue", methods, meta);
    object_class(L, "lilac.PriorityQueue", methods, meta);
    luaL_newlib(L, constructors);
    return 1;
}
