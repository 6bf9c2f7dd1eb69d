#include "transfer.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "../core/error.h"
#include "channel.h"
#include "code.h"
#include "context.h"
#include "path.h"

#define MAX_SIZE          ((size_t)1 << 30)
#define FIRST_SIZE        256 /* what needs no more takes no memory but the parcel */
#define FIRST_ATTACHMENTS 4
#define ARROW             " \xE2\x86\x92 "

/* What a packer has malloc'ed: in a userdata, as it may raise. */
struct store {
    char *bytes;
    struct attachment *attachments;
    uint32_t *parents; /* by object, from 1: in which other it was met first; 0: in none */
    const void **modules;
};

struct packer {
    lua_State *L;
    const struct wording *wording;
    int base; /* of the stack: store, `seen` (object → number, upvalue → its place), objects */
    int first;
    char *bytes;
    size_t size, room;
    size_t attached_size;
    struct attachment *attachments;
    uint32_t attachment_count, attachment_room;
    struct store *store; /* NULL: not needed yet, as `seen` and objects */
    uint32_t module_count;
    uint32_t count, parent_room; /* of objects */
    uint32_t at;                 /* the object whose contents are packed; 0: the values */
    char first_bytes[FIRST_SIZE];
    struct attachment first_attachments[FIRST_ATTACHMENTS];
};

enum { STORE = 1, SEEN, OBJECTS }; /* from the base on */

static const char store_key; /* the metatable */

static void store_free(struct store *store) {
    free(store->bytes);
    free(store->attachments);
    free(store->parents);
    free(store->modules);
    memset(store, 0, sizeof *store);
}

static int store_gc(lua_State *L) {
    store_free(lua_touserdata(L, 1));
    return 0;
}

/* The store; with it come the tables. */
static struct store *need_store(struct packer *p) {
    lua_State *L = p->L;
    if (p->store) return p->store;
    struct store *store = lua_newuserdatauv(L, sizeof *store, 0);
    memset(store, 0, sizeof *store);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &store_key) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, store_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &store_key);
    }
    lua_setmetatable(L, -2);
    lua_replace(L, p->base + STORE);
    lua_newtable(L);
    lua_replace(L, p->base + SEEN);
    lua_newtable(L);
    lua_replace(L, p->base + OBJECTS);
    return p->store = store;
}

/* ---- what cannot travel ---------------------------------------------------------------------- */

/* Pushes "argument 2", or nothing for the function whose upvalues it is about. */
static void push_root(struct packer *p, int value, bool is_path) {
    lua_State *L = p->L;
    const struct wording *wording = p->wording;
    int number = 0;
    while (!lua_rawequal(L, p->first + number, value))
        number++;
    number += wording->first;
    if (is_path && lua_isfunction(L, value) && number == wording->first)
        lua_pushliteral(L, "");
    else if (wording->first == 0)
        lua_pushfstring(L, "%s", wording->root);
    else
        lua_pushfstring(L, "%s %d", wording->root, number);
}

/* Raises: the value on top of the stack, part of the object that is packed, cannot travel. */
static void refuse(struct packer *p) {
    lua_State *L = p->L;
    luaL_checkstack(L, 20, "transfer");
    int value = lua_gettop(L), path = value + 1;
    lua_pushliteral(L, "");
    lua_pushvalue(L, value);
    uint32_t at = p->at;
    bool is_path = at != 0;
    for (; at != 0; at = p->store->parents[at]) {
        int child = path + 1;
        lua_rawgeti(L, p->base + OBJECTS, at);
        path_push_step(L, child + 1, child);
        if (lua_rawlen(L, path) > 0) {
            lua_pushliteral(L, ARROW);
            lua_pushvalue(L, path);
            lua_concat(L, 3);
        }
        lua_replace(L, path);
        lua_replace(L, child);
        lua_settop(L, child);
    }
    push_root(p, path + 1, is_path);
    const char *arrow = lua_rawlen(L, -1) > 0 && lua_rawlen(L, path) > 0 ? ARROW : "";
    lua_pushfstring(L, "%s: %s%s%s: ", p->wording->op, lua_tostring(L, -1), arrow,
                    lua_tostring(L, path));
    path_push_what(L, value);
    lua_pushliteral(L, " cannot be sent to another thread");
    lua_concat(L, 2);
    luaL_where(L, 1);
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), lua_tostring(L, -3), lua_tostring(L, -2));
    lua_error(L);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void check_size(struct packer *p, size_t more) {
    size_t size = p->size + p->attached_size;
    if (more > MAX_SIZE || size > MAX_SIZE - more)
        luaL_error(p->L, "%s: more than 1 GiB cannot be sent at once", p->wording->op);
}

static void grow(struct packer *p, size_t more) {
    check_size(p, more);
    struct store *store = need_store(p);
    size_t room = (p->size + more) * 2;
    char *bytes = realloc(store->bytes, room);
    if (!bytes) luaL_error(p->L, "%s: not enough memory", p->wording->op);
    if (!store->bytes) memcpy(bytes, p->first_bytes, p->size);
    p->bytes = store->bytes = bytes;
    p->room = room;
}

static void put(struct packer *p, const void *bytes, size_t size) {
    if (p->room - p->size < size) grow(p, size);
    memcpy(p->bytes + p->size, bytes, size);
    p->size += size;
}

static void put_tag(struct packer *p, enum tag tag) {
    char byte = (char)tag;
    put(p, &byte, 1);
}

static void put_number(struct packer *p, enum tag tag, uint32_t number) {
    put_tag(p, tag);
    put(p, &number, sizeof number);
}

static void put_short(struct packer *p, const char *text, size_t length) {
    unsigned char size = (unsigned char)(length < SHORT_MAX ? length : SHORT_MAX);
    put_tag(p, TAG_SHORT);
    put(p, &size, 1);
    put(p, text, size);
}

/* Holds the value at `index` until the parcel is made. */
static void hold(struct packer *p, int index) {
    lua_State *L = p->L;
    index = lua_absindex(L, index);
    need_store(p);
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, p->base + SEEN);
}

/* Attaches the value at `index`, or what belongs to it, which must not be collected before the
 * parcel is made. The arguments themselves are held by the stack. */
static void attach(struct packer *p, enum tag tag, struct attachment attachment, int index) {
    lua_State *L = p->L;
    check_size(p, attachment.size);
    if (p->attachment_count == p->attachment_room) {
        struct store *store = need_store(p);
        size_t room = (size_t)p->attachment_room * 2, size = room * sizeof attachment;
        struct attachment *more = realloc(store->attachments, size);
        if (!more) luaL_error(L, "%s: not enough memory", p->wording->op);
        if (!store->attachments) memcpy(more, p->first_attachments, sizeof p->first_attachments);
        p->attachments = store->attachments = more;
        p->attachment_room = (uint32_t)room;
    }
    /* A finaliser may run, and change the tables we walk through. */
    if (p->at != 0) hold(p, index);
    p->attached_size += attachment.size;
    put_number(p, tag, p->attachment_count);
    p->attachments[p->attachment_count++] = attachment;
}

/* Attaches the name of a module, at `name`. */
static void attach_module(struct packer *p, enum tag tag, int name) {
    size_t length;
    const char *text = lua_tolstring(p->L, name, &length);
    hold(p, name); /* only package.loaded does */
    attach(p, tag, (struct attachment){ATTACHED_MODULE, (char *)text, length + 1}, name);
}

/* ---- objects --------------------------------------------------------------------------------- */

/* Whether the object on top of the stack was met before; then it is packed. */
static bool put_seen(struct packer *p) {
    lua_State *L = p->L;
    need_store(p);
    lua_pushvalue(L, -1);
    bool is_seen = lua_rawget(L, p->base + SEEN) == LUA_TNUMBER;
    if (is_seen) put_number(p, TAG_SEEN, (uint32_t)lua_tointeger(L, -1));
    lua_pop(L, 1);
    return is_seen;
}

/* Gives the object on top of the stack the next number; its contents will follow. */
static void number(struct packer *p) {
    lua_State *L = p->L;
    struct store *store = need_store(p);
    if (p->count + 1 >= p->parent_room) {
        uint32_t room = p->parent_room > 0 ? p->parent_room * 2 : 32;
        uint32_t *more = realloc(store->parents, room * sizeof *more);
        if (!more) luaL_error(L, "%s: not enough memory", p->wording->op);
        store->parents = more;
        p->parent_room = room;
    }
    store->parents[++p->count] = p->at;
    lua_pushvalue(L, -1);
    lua_pushinteger(L, p->count);
    lua_rawset(L, p->base + SEEN);
    lua_pushvalue(L, -1);
    lua_rawseti(L, p->base + OBJECTS, p->count);
}

/* The addresses of all that is loaded, found anew for each parcel that has tables. */
static void list_modules(struct packer *p) {
    lua_State *L = p->L;
    uint32_t room = 64;
    int top = lua_gettop(L);
    struct store *store = p->store;
    store->modules = malloc(room * sizeof *store->modules);
    if (!store->modules) luaL_error(L, "%s: not enough memory", p->wording->op);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (p->module_count == room) {
            room *= 2;
            const void **more = realloc(store->modules, room * sizeof *more);
            if (!more) luaL_error(L, "%s: not enough memory", p->wording->op);
            store->modules = more;
        }
        store->modules[p->module_count++] = lua_topointer(L, -1);
    }
    lua_settop(L, top);
}

/* Whether the table or function on top of the stack is a module; then it is packed. */
static bool put_module(struct packer *p) {
    lua_State *L = p->L;
    int value = lua_gettop(L);
    const void *address = lua_topointer(L, value);
    struct store *store = p->store;
    if (!store->modules) list_modules(p);
    uint32_t i = 0;
    while (i < p->module_count && store->modules[i] != address)
        i++;
    if (i == p->module_count) return false;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    bool is_found = false;
    for (lua_pushnil(L); !is_found && lua_next(L, value + 1);) {
        is_found = lua_type(L, -2) == LUA_TSTRING && lua_rawequal(L, -1, value);
        lua_pop(L, 1);
    }
    if (is_found) attach_module(p, TAG_MODULE, lua_gettop(L));
    lua_settop(L, value);
    return is_found;
}

static bool owns_something(lua_State *L) {
    bool owns = luaL_getmetafield(L, -1, "__gc") != LUA_TNIL;
    if (!owns) owns = luaL_getmetafield(L, -1, "__close") != LUA_TNIL;
    if (owns) lua_pop(L, 1);
    return owns;
}

/* What stands in the place of the value on top of the stack, which cannot travel. */
static void put_refused(struct packer *p) {
    lua_State *L = p->L;
    if (p->wording->refusal == REFUSE) refuse(p);
    if (p->wording->refusal == TRAVEL_NIL) {
        put_tag(p, TAG_NIL);
        return;
    }
    path_push_what(L, lua_gettop(L));
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    put_short(p, text, length);
    lua_pop(L, 1);
}

static void put_table(struct packer *p) {
    if (put_seen(p) || put_module(p)) return;
    if (owns_something(p->L)) {
        put_refused(p);
        return;
    }
    put_number(p, TAG_TABLE, (uint32_t)lua_rawlen(p->L, -1) & INT32_MAX);
    number(p);
}

/* The library of a C function must stay when the state that has loaded it is closed. */
static void pin(lua_CFunction function) {
    union {
        lua_CFunction function;
        void *address;
    } at = {.function = function};
    Dl_info info;
    if (!dladdr(at.address, &info) || !info.dli_fname) return;
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

/* A function that is found in a module travels by that name. */
static void put_field(struct packer *p, const char *module, const char *field) {
    attach(p, TAG_FIELD, (struct attachment){ATTACHED_MODULE, (char *)module, strlen(module) + 1},
           lua_gettop(p->L));
    put_short(p, field, strlen(field));
}

static void put_c_function(struct packer *p) {
    lua_State *L = p->L;
    lua_CFunction function = lua_tocfunction(L, -1);
    if (!lua_getupvalue(L, -1, 1)) {
        pin(function);
        put_tag(p, TAG_C);
        put(p, &function, sizeof function);
        return;
    }
    lua_pop(L, 1);
    int value = lua_gettop(L);
    if (code_find(L, value, true)) {
        hold(p, -2); /* the name of the module: only package.loaded does */
        put_field(p, lua_tostring(L, -2), lua_tostring(L, -1));
    } else {
        put_refused(p);
    }
    lua_settop(L, value);
}

static void put_function(struct packer *p) {
    lua_State *L = p->L;
    if (lua_iscfunction(L, -1)) {
        put_c_function(p);
        return;
    }
    struct code *code = code_of(L, -1);
    struct attachment attachment = {ATTACHED_CODE, code, 0};
    if (code_is_plain(code)) {
        attach(p, TAG_PLAIN, attachment, -1);
        return;
    }
    if (code_module(code)) {
        put_field(p, code_module(code), code_field(code));
        return;
    }
    if (put_seen(p) || put_module(p)) return;
    attach(p, TAG_FUNCTION, attachment, -1);
    number(p);
}

static void put_error(struct packer *p, const struct error *error) {
    if (put_seen(p)) return;
    const char *name = place_name(error->origin.place);
    put_tag(p, TAG_ERROR);
    put(p, error, sizeof *error);
    put_short(p, name, strlen(name));
    number(p);
}

static void put_userdata(struct packer *p) {
    lua_State *L = p->L;
    struct channel *channel = channel_test(L, -1);
    struct error *error = channel ? NULL : error_test(L, -1);
    uint64_t variable = channel || error ? 0 : context_variable(L, -1);
    if (channel) {
        void *box = lua_touserdata(L, -1); /* until nothing can finalise it any more */
        attach(p, TAG_CHANNEL, (struct attachment){ATTACHED_CHANNEL, box, 0}, -1);
    } else if (error) {
        put_error(p, error);
    } else if (variable == 0) {
        put_refused(p);
    } else if (!put_seen(p)) {
        put_tag(p, TAG_VARIABLE);
        put(p, &variable, sizeof variable);
        number(p);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A large string is not copied before its place is known: the parcel takes it from Lua. */
static void put_string(struct packer *p) {
    size_t length;
    const char *text = lua_tolstring(p->L, -1, &length);
    if (length <= SHORT_MAX)
        put_short(p, text, length);
    else
        attach(p, TAG_LONG, (struct attachment){ATTACHED_BYTES, (char *)text, length}, -1);
}

/* Packs the value on top of the stack, and leaves it there. */
static void put_value(struct packer *p) {
    lua_State *L = p->L;
    switch (lua_type(L, -1)) {
    case LUA_TNIL: put_tag(p, TAG_NIL); break;
    case LUA_TBOOLEAN: put_tag(p, lua_toboolean(L, -1) ? TAG_TRUE : TAG_FALSE); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1)) {
            lua_Integer integer = lua_tointeger(L, -1);
            put_tag(p, TAG_INTEGER);
            put(p, &integer, sizeof integer);
        } else {
            lua_Number number = lua_tonumber(L, -1);
            put_tag(p, TAG_FLOAT);
            put(p, &number, sizeof number);
        }
        break;
    case LUA_TSTRING: put_string(p); break;
    case LUA_TLIGHTUSERDATA: {
        void *light = lua_touserdata(L, -1);
        put_tag(p, TAG_LIGHT);
        put(p, &light, sizeof light);
        break;
    }
    case LUA_TTABLE: put_table(p); break;
    case LUA_TFUNCTION: put_function(p); break;
    case LUA_TUSERDATA: put_userdata(p); break;
    default: put_refused(p); /* a coroutine */
    }
}

/* ---- contents -------------------------------------------------------------------------------- */

static void put_table_contents(struct packer *p, int table) {
    lua_State *L = p->L;
    if (!lua_getmetatable(L, table)) lua_pushnil(L);
    put_value(p);
    lua_pop(L, 1);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        put_value(p);
        lua_pop(L, 1);
        put_value(p);
    }
    put_tag(p, TAG_END);
}

/* An upvalue that several functions of the parcel share is packed once. */
static void put_upvalues(struct packer *p, int function) {
    lua_State *L = p->L;
    const char *name;
    for (int i = 1; (name = lua_getupvalue(L, function, i)); i++) {
        if (strcmp(name, "_ENV") == 0) {
            put_tag(p, TAG_GLOBALS);
            lua_pop(L, 1);
            continue;
        }
        void *identity = lua_upvalueid(L, function, i);
        if (lua_rawgetp(L, p->base + SEEN, identity) == LUA_TNUMBER) {
            uint64_t place = (uint64_t)lua_tointeger(L, -1);
            put_tag(p, TAG_SHARED);
            put(p, &place, sizeof place);
            lua_pop(L, 2);
            continue;
        }
        lua_pushinteger(L, (lua_Integer)((uint64_t)p->at << 8 | (unsigned)i));
        lua_rawsetp(L, p->base + SEEN, identity);
        lua_pop(L, 1);
        put_value(p);
        lua_pop(L, 1);
    }
}

static void put_contents(struct packer *p) {
    lua_State *L = p->L;
    lua_rawgeti(L, p->base + OBJECTS, p->at);
    int object = lua_gettop(L);
    if (lua_istable(L, object)) {
        put_table_contents(p, object);
    } else if (lua_isfunction(L, object)) {
        put_upvalues(p, object);
    } else if (error_test(L, object)) {
        error_push_fields(L, object);
        put_value(p);
        lua_pop(L, 1);
    } else { /* a variable: name, default */
        for (int i = 1; i <= 2; i++, lua_pop(L, 1)) {
            lua_getiuservalue(L, object, i);
            put_value(p);
        }
    }
    lua_pop(L, 1);
}

/* Finds the channels of their boxes. A box may have been finalised by hand since it was met. */
static void open_boxes(struct packer *p) {
    for (uint32_t i = 0; i < p->attachment_count; i++) {
        struct attachment *attachment = &p->attachments[i];
        if (attachment->kind != ATTACHED_CHANNEL) continue;
        attachment->object = channel_in(attachment->object);
        if (!attachment->object) luaL_error(p->L, "%s: a Channel was collected", p->wording->op);
    }
}

/* Makes the parcel; only now that nothing raises any more it takes its references. */
static struct parcel *finish(struct packer *p, int count) {
    open_boxes(p);
    struct parcel *parcel = parcel_new(p->bytes, p->size, p->attachments, p->attachment_count);
    if (parcel) {
        parcel->objects = p->count;
        parcel->count = (uint32_t)count;
    }
    if (p->store) store_free(p->store); /* not for the collector to find */
    return parcel;
}

struct parcel *transfer_pack(lua_State *L, int first, int count, const struct wording *wording) {
    struct packer p;
    memset(&p, 0, offsetof(struct packer, first_bytes));
    luaL_checkstack(L, LUA_MINSTACK, "transfer");
    p.L = L;
    p.wording = wording;
    p.room = FIRST_SIZE;
    p.first = lua_absindex(L, first);
    p.bytes = p.first_bytes;
    p.attachments = p.first_attachments;
    p.attachment_room = FIRST_ATTACHMENTS;
    p.base = lua_gettop(L);
    lua_settop(L, p.base + OBJECTS);
    for (int i = 0; i < count; i++) {
        lua_pushvalue(L, p.first + i);
        put_value(&p);
        lua_pop(L, 1);
    }
    for (p.at = 1; p.at <= p.count; p.at++)
        put_contents(&p);
    struct parcel *parcel = finish(&p, count);
    lua_settop(L, p.base);
    if (!parcel) luaL_error(L, "%s: not enough memory", wording->op);
    return parcel;
}
