/*
 * lilac.watch: what changes in files and folders, told by the system. A Watcher looks at a file or
 * folder, and at others that are added to it; what happens goes into its queue, which is bounded:
 * whoever does not keep up learns that something was missed, and looks for himself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/list.h"
#include "builtin.h"
#include "request.h"

enum { MOST_EVENTS = 1024 };

struct event {
    struct list list;
    const char *what; /* static */
    char name[];
};

/* One that is looked at. Freed when libuv is done with it. */
struct watched {
    struct list list;
    uv_fs_event_t uv;
    struct watcher *watcher; /* NULL: no more */
    char prefix[];           /* of the names in it: "" or "folder/" */
};

struct watcher {
    lilac_handle handle; /* first */
    uv_idle_t idle;      /* never started: one that is closed lasts until the loop turns */
    char *path;
    lilac_wait reader;
    struct list watched; /* the first one is that of the path */
    struct list events;
    int count;
    bool was_overrun; /* something was dropped after the last event in the queue */
    int status;       /* an error of the system */
};

/* ---- what happens ---------------------------------------------------------------------------- */

static struct watched *watched_of(struct list *node) {
    return container_of(node, struct watched, list);
}

/* Who waits keeps the loop alive; watching does not, so that a deadlock is seen. */
static void reader_leave(struct watcher *watcher) {
    if (!list_empty(&watcher->watched))
        uv_unref((uv_handle_t *)&watched_of(watcher->watched.next)->uv);
}

static void reader_wake(struct watcher *watcher) {
    if (!lilac_waiting(&watcher->reader)) return;
    reader_leave(watcher);
    lilac_wake(&watcher->reader);
}

/* Whether the same waits in the queue already: who takes it will look later than now. */
static bool is_queued(const struct watcher *watcher, const char *what, const struct watched *from,
                      const char *name) {
    size_t size = strlen(from->prefix);
    for (struct list *at = watcher->events.next; at != &watcher->events; at = at->next) {
        const struct event *event = container_of(at, struct event, list);
        if (event->what == what && strncmp(event->name, from->prefix, size) == 0 &&
            strcmp(event->name + size, name) == 0)
            return true;
    }
    return false;
}

static void queue_event(struct watcher *watcher, const char *what, const struct watched *from,
                        const char *name) {
    if (watcher->was_overrun || is_queued(watcher, what, from, name)) return;
    size_t size = strlen(from->prefix), name_size = strlen(name) + 1;
    struct event *event = NULL;
    if (watcher->count < MOST_EVENTS) event = malloc(sizeof *event + size + name_size);
    if (!event) {
        watcher->was_overrun = true;
        return;
    }
    event->what = what;
    memcpy(event->name, from->prefix, size);
    memcpy(event->name + size, name, name_size);
    list_append(&watcher->events, &event->list);
    watcher->count++;
}

/* Whether the name is that of what is watched, and not of something in it: libuv takes it from the
 * path then. */
static bool is_itself(const struct watched *watched, const char *name) {
    const char *path = watched->uv.path;
    return path && name >= path && name <= path + strlen(path);
}

static void on_event(uv_fs_event_t *uv, const char *name, int events, int status) {
    static const char *const change = "change", *const rename = "rename";
    struct watched *watched = container_of(uv, struct watched, uv);
    struct watcher *watcher = watched->watcher;
    if (!watcher) return;
    if (status < 0)
        watcher->status = status;
    else if (!name || (*watched->prefix && is_itself(watched, name)))
        return; /* the folder above tells that, too */
    else
        queue_event(watcher, events & UV_RENAME ? rename : change, watched, name);
    reader_wake(watcher);
}

/* ---- what is watched ------------------------------------------------------------------------- */

static void on_unwatched(uv_handle_t *uv) {
    free(container_of((uv_fs_event_t *)uv, struct watched, uv));
}

static void unwatch(struct watched *watched) {
    list_unlink(&watched->list);
    watched->watcher = NULL;
    uv_close((uv_handle_t *)&watched->uv, on_unwatched);
}

/* Adds a file or folder to those that are watched. 0 or a libuv code. */
static int watch(uv_loop_t *loop, struct watcher *watcher, const char *path, const char *prefix) {
    size_t size = strlen(prefix) + 1;
    struct watched *watched = calloc(1, sizeof *watched + size);
    if (!watched) return UV_ENOMEM;
    memcpy(watched->prefix, prefix, size);
    watched->watcher = watcher;
    uv_fs_event_init(loop, &watched->uv);
    uv_unref((uv_handle_t *)&watched->uv);
    list_append(&watcher->watched, &watched->list);
    int status = uv_fs_event_start(&watched->uv, on_event, path, 0);
    if (status < 0) unwatch(watched);
    return status;
}

static void watcher_on_close(lilac_handle *handle) {
    struct watcher *watcher = (struct watcher *)handle;
    reader_wake(watcher);
    while (!list_empty(&watcher->watched))
        unwatch(watched_of(watcher->watched.next));
}

static void watcher_on_free(lilac_handle *handle) {
    struct watcher *watcher = (struct watcher *)handle;
    for (struct list *at = watcher->events.next, *next; at != &watcher->events; at = next) {
        next = at->next;
        free(container_of(at, struct event, list));
    }
    free(watcher->path);
}

static const lilac_handle_type watcher_type = {.name = "lilac.Watcher",
                                               .size = sizeof(struct watcher),
                                               .on_close = watcher_on_close,
                                               .on_free = watcher_on_free};

/* watcher:add(path, prefix): looks at one more. The names in it get the prefix, by which it is
 * known; one that was known by it before is forgotten. */
static int watcher_add(lua_State *L) {
    lilac_handle_check(L, 1, &watcher_type, "add");
    const char *path = request_check_path(L, 2), *prefix = request_check_path(L, 3);
    luaL_argcheck(L, *prefix, 3, "prefix expected, got an empty string");
    /* Making strings of numbers may run a finaliser that closes it. */
    struct watcher *watcher = lilac_handle_check(L, 1, &watcher_type, "add");
    for (struct list *at = watcher->watched.next, *next; at != &watcher->watched; at = next) {
        next = at->next;
        if (strcmp(watched_of(at)->prefix, prefix) == 0) unwatch(watched_of(at));
    }
    int status = watch(lilac_loop(L), watcher, path, prefix);
    return status < 0 ? request_raise(L, status, "fs:watch", path, NULL) : 0;
}

/* watcher:drop(prefix): looks no more at those whose prefixes begin so. */
static int watcher_drop(lua_State *L) {
    struct watcher *watcher = lilac_handle_check(L, 1, &watcher_type, "drop");
    const char *prefix = request_check_path(L, 2);
    luaL_argcheck(L, *prefix, 2, "prefix expected, got an empty string");
    size_t size = strlen(prefix);
    for (struct list *at = watcher->watched.next, *next; at != &watcher->watched; at = next) {
        next = at->next;
        if (strncmp(watched_of(at)->prefix, prefix, size) == 0) unwatch(watched_of(at));
    }
    return 0;
}

/* ---- the iterator ---------------------------------------------------------------------------- */

static bool next_cancel(lilac_wait *wait) {
    reader_leave(container_of(wait, struct watcher, reader));
    return true;
}

static void next_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", container_of(wait, struct watcher, reader)->path);
}

static const lilac_op next_op;

static int push_event(lua_State *L, struct watcher *watcher) {
    struct event *event = container_of(watcher->events.next, struct event, list);
    lua_pushstring(L, event->what);
    lua_pushstring(L, event->name);
    list_unlink(&event->list);
    free(event);
    watcher->count--;
    return 2;
}

static int next_done(lua_State *L, lilac_wait *wait) {
    struct watcher *watcher = lilac_handle_test(L, 1, &watcher_type);
    (void)wait;
    if (!watcher) {
        lua_pushnil(L);
        return 1;
    }
    if (!list_empty(&watcher->events)) return push_event(L, watcher);
    if (watcher->was_overrun) {
        watcher->was_overrun = false;
        lua_pushliteral(L, "overflow");
        return 1;
    }
    int status = watcher->status;
    watcher->status = 0;
    if (status < 0) return request_raise(L, status, "fs:watch", watcher->path, NULL);
    if (!list_empty(&watcher->watched))
        uv_ref((uv_handle_t *)&watched_of(watcher->watched.next)->uv);
    return lilac_park(L, &watcher->reader, &next_op);
}

static const lilac_op next_op = {
    .name = "fs:watch", .cancel = next_cancel, .done = next_done, .describe = next_describe};

/* watcher() → event, name; nil when it is closed */
static int watcher_next(lua_State *L) {
    struct watcher *watcher = lilac_handle_test(L, 1, &watcher_type);
    lilac_checkpoint(L);
    if (watcher && lilac_waiting(&watcher->reader))
        lilac_refuse_second(L, &watcher->reader, lua_pushfstring(L, "watch %s", watcher->path));
    return next_done(L, NULL);
}

static int watcher_tostring(lua_State *L) {
    struct watcher *watcher = lilac_handle_test(L, 1, &watcher_type);
    lua_pushfstring(L, "Watcher (%s): %p", watcher ? watcher->path : "closed", lua_topointer(L, 1));
    return 1;
}

/* ---- watch ----------------------------------------------------------------------------------- */

/* watch(path) → Watcher */
static int watch_path(lua_State *L) {
    const char *path = request_check_path(L, 1);
    struct watcher *watcher = lilac_handle_new(L, &watcher_type);
    list_init(&watcher->watched);
    list_init(&watcher->events);
    uv_idle_init(lilac_loop(L), &watcher->idle);
    lilac_handle_opened(&watcher->handle, (uv_handle_t *)&watcher->idle);
    watcher->path = strdup(path);
    int status = watcher->path ? watch(lilac_loop(L), watcher, path, "") : UV_ENOMEM;
    return status < 0 ? request_raise(L, status, "fs:watch", path, NULL) : 1;
}

int luaopen_lilac_watch(lua_State *L) {
    static const luaL_Reg functions[] = {{"watch", watch_path}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"add", watcher_add}, {"drop", watcher_drop}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__call", watcher_next}, {"__tostring", watcher_tostring}, {NULL, NULL}};
    lilac_check_version(L);
    lilac_handle_metatable(L, &watcher_type, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
