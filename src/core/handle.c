/*
 * Handles: the box that Lua sees and the block that libuv sees. The box points to the block, and
 * nothing points to the box, which a script can keep from being finalised (its metatable is a table
 * as any other): such a block is left to the end of the runtime. All others go when both libuv and
 * the box have let go of them.
 */
#include "handle.h"

#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "object.h"
#include "runtime.h"

/* How long the shutdown waits for closed blocks that still have something to send. */
enum { LINGER_MS = 1000 };

struct box {
    lilac_handle *handle; /* NULL: let go of */
    const lilac_handle_type *type;
    const void *magic;
};

/* Its address tells a box from any other userdata of the same size. */
static const char box_magic;

/* "lilac.Stream" → "Stream" */
static const char *short_name(const lilac_handle_type *type) {
    const char *dot = strrchr(type->name, '.');
    return dot ? dot + 1 : type->name;
}

/* The box at `index`, or NULL for anything else. */
static struct box *box_at(lua_State *L, int index) {
    struct box *box = lua_touserdata(L, index);
    /* The length of a light userdata is 0: it is never followed. */
    if (!box || lua_rawlen(L, index) != sizeof *box || box->magic != &box_magic) return NULL;
    return box;
}

/* ---- the end of a block ---------------------------------------------------------------------- */

static void handle_free(lilac_handle *handle) {
    handle->prev->next = handle->next;
    handle->next->prev = handle->prev;
    free(handle);
}

/* libuv is done with it, or has never heard of it. */
static void handle_end(lilac_handle *handle) {
    handle->ended = true;
    if (handle->type->on_free) handle->type->on_free(handle);
    if (!handle->has_box) handle_free(handle);
}

/* No box points to it any more. */
static void handle_let_go(lilac_handle *handle) {
    handle->has_box = false;
    if (handle->ended)
        handle_free(handle);
    else if (!handle->uv)
        handle_end(handle);
}

static void on_closed(uv_handle_t *uv) {
    handle_end(uv->data);
}

void lilac_handle_finish(lilac_handle *handle) {
    if (handle->uv && !uv_is_closing(handle->uv)) uv_close(handle->uv, on_closed);
}

void lilac_handle_close(lilac_handle *handle) {
    if (handle->closed) return;
    handle->closed = true;
    handle->type->on_close(handle);
    if (handle->uv && handle->type->lingers && handle->type->lingers(handle)) return;
    lilac_handle_finish(handle);
}

/* ---- boxes ----------------------------------------------------------------------------------- */

void *lilac_handle_new(lua_State *L, const lilac_handle_type *type) {
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box){.type = type, .magic = &box_magic};
    luaL_setmetatable(L, type->name);
    lilac_handle *handle = calloc(1, type->size);
    if (!handle) luaL_error(L, "%s: not enough memory", short_name(type));
    lilac_handle *head = &runtime_of(L)->handles;
    handle->prev = head->prev;
    handle->next = head;
    head->prev->next = handle;
    head->prev = handle;
    handle->type = type;
    handle->has_box = true;
    box->handle = handle;
    return handle;
}

void lilac_handle_opened(lilac_handle *handle, uv_handle_t *uv) {
    handle->uv = uv;
    uv->data = handle;
}

void *lilac_handle_test(lua_State *L, int index, const lilac_handle_type *type) {
    struct box *box = box_at(L, index);
    if (!box || box->type != type) luaL_typeerror(L, index, short_name(type));
    return box->handle && !box->handle->closed ? box->handle : NULL;
}

COLD static void *refuse(lua_State *L, int index, const lilac_handle_type *type, const char *op) {
    lilac_handle_test(L, index, type);
    lilac_throw(L, "ClosedError", "%s: the %s is closed", op, short_name(type));
    return NULL;
}

void *lilac_handle_check(lua_State *L, int index, const lilac_handle_type *type, const char *op) {
    struct box *box = box_at(L, index);
    if (!box || box->type != type || !box->handle || box->handle->closed)
        return refuse(L, index, type, op);
    return box->handle;
}

/* For Lua a closed block is as good as none. */
void lilac_handle_release(lua_State *L, int index) {
    struct box *box = box_at(L, index);
    if (!box) luaL_typeerror(L, index, "open or closed handle");
    lilac_handle *handle = box->handle;
    if (!handle) return;
    box->handle = NULL;
    lilac_handle_close(handle);
    handle_let_go(handle);
}

static int box_close(lua_State *L) {
    lilac_handle_release(L, 1);
    return 0;
}

void lilac_handle_metatable(lua_State *L, const lilac_handle_type *type, const luaL_Reg *methods,
                            const luaL_Reg *meta) {
    if (luaL_getmetatable(L, type->name) == LUA_TNIL) {
        lua_newtable(L);
        object_seal(L);
        lua_pushstring(L, short_name(type));
        lua_setfield(L, -2, "__name");
        lua_pushcfunction(L, box_close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, box_close);
        lua_setfield(L, -2, "__close");
        lua_newtable(L);
        lua_pushcfunction(L, box_close);
        lua_setfield(L, -2, "close");
        if (methods) luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
        if (meta) luaL_setfuncs(L, meta, 0);
        lua_setfield(L, LUA_REGISTRYINDEX, type->name); /* when it is whole */
    }
    lua_pop(L, 1);
}

/* ---- the shutdown ---------------------------------------------------------------------------- */

static bool is_lingering(const lilac_handle *head) {
    for (const lilac_handle *handle = head->next; handle != head; handle = handle->next)
        if (handle->uv && !uv_is_closing(handle->uv)) return true;
    return false;
}

static void on_flag(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

static void on_flag_closed(uv_handle_t *timer) {
    *(bool *)timer->data = true;
}

/* Turns the loop until no closed block has anything left to do, or the time is over. */
static void linger(uv_loop_t *loop, const lilac_handle *head) {
    uv_timer_t timer;
    bool over = false, gone = false;
    uv_timer_init(loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_flag, LINGER_MS, 0);
    while (!over && is_lingering(head))
        uv_run(loop, UV_RUN_ONCE);
    timer.data = &gone;
    uv_close((uv_handle_t *)&timer, on_flag_closed);
    while (!gone) /* the timer is on this stack */
        uv_run(loop, UV_RUN_NOWAIT);
}

void handle_close_all(struct runtime *runtime) {
    lilac_handle *head = &runtime->handles, *handle;
    for (handle = head->next; handle != head; handle = handle->next)
        lilac_handle_close(handle);
    if (is_lingering(head)) linger(&runtime->loop, head);
    for (handle = head->next; handle != head; handle = handle->next)
        lilac_handle_finish(handle);
}

void handle_free_all(struct runtime *runtime) {
    lilac_handle *head = &runtime->handles, *handle = head->next, *next;
    for (; handle != head; handle = next) {
        next = handle->next;
        handle_let_go(handle);
    }
}
