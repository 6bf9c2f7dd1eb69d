/*
 * The arrival of a parcel. What is met for the first time is made empty and gets the next number;
 * the contents follow in that order.
 */
#include <string.h>

#include "../core/error.h"
#include "channel.h"
#include "code.h"
#include "context.h"
#include "transfer.h"

struct reader {
    lua_State *L;
    const struct parcel *parcel;
    const char *at;
    int objects; /* index of a table: number → object */
    uint32_t count;
};

static void take(struct reader *r, void *bytes, size_t size) {
    memcpy(bytes, r->at, size);
    r->at += size;
}

static enum tag take_tag(struct reader *r) {
    return (enum tag)(unsigned char)*r->at++;
}

static uint32_t take_number(struct reader *r) {
    uint32_t number;
    take(r, &number, sizeof number);
    return number;
}

static const struct attachment *take_attachment(struct reader *r) {
    return &r->parcel->attachments[take_number(r)];
}

static void push_short(struct reader *r) {
    size_t size = (unsigned char)*r->at++;
    lua_pushlstring(r->L, r->at, size);
    r->at += size;
}

/* Pushes the module of that name, which is loaded first if need be. */
static void push_module(lua_State *L, const char *name) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_getglobal(L, "require");
        lua_pushstring(L, name);
        lua_call(L, 1, 1);
    }
    lua_remove(L, -2);
}

static void push_field(struct reader *r) {
    lua_State *L = r->L;
    const char *module = take_attachment(r)->object;
    push_module(L, module);
    r->at++; /* the tag of the name */
    push_short(r);
    const char *field = lua_tostring(L, -1);
    if (lua_getfield(L, -2, field) == LUA_TNIL)
        luaL_error(L, "the module '%s' of this thread has no '%s'", module, field);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

static void push_error(struct reader *r) {
    struct error error;
    take(r, &error, sizeof error);
    r->at++;
    push_short(r);
    struct place *place = &error.origin.place;
    if (place->line > 0) *place = place_at(lua_tostring(r->L, -1), place->line);
    lua_pop(r->L, 1);
    error_new_like(r->L, &error);
}

static void push_light(struct reader *r) {
    void *light;
    take(r, &light, sizeof light);
    lua_pushlightuserdata(r->L, light);
}

static void push_c_function(struct reader *r) {
    lua_CFunction function;
    take(r, &function, sizeof function);
    lua_pushcfunction(r->L, function);
}

/* Pushes an object that is met for the first time, and is to be filled later. */
static void push_new(struct reader *r, enum tag tag) {
    lua_State *L = r->L;
    uint64_t variable;
    switch (tag) {
    case TAG_TABLE: lua_createtable(L, (int)take_number(r), 0); break;
    case TAG_FUNCTION: code_load(L, take_attachment(r)->object); break;
    case TAG_ERROR: push_error(r); break;
    default: take(r, &variable, sizeof variable); context_push_variable(L, variable);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, r->objects, ++r->count);
}

/* Pushes the next value. False: it is the end of a table. */
static bool push_value(struct reader *r) {
    lua_State *L = r->L;
    lua_Integer integer;
    lua_Number number;
    const struct attachment *attachment;
    enum tag tag = take_tag(r);
    switch (tag) {
    case TAG_NIL: lua_pushnil(L); break;
    case TAG_FALSE: lua_pushboolean(L, 0); break;
    case TAG_TRUE: lua_pushboolean(L, 1); break;
    case TAG_INTEGER: take(r, &integer, sizeof integer), lua_pushinteger(L, integer); break;
    case TAG_FLOAT: take(r, &number, sizeof number), lua_pushnumber(L, number); break;
    case TAG_SHORT: push_short(r); break;
    case TAG_LONG:
        attachment = take_attachment(r);
        lua_pushlstring(L, attachment->object, attachment->size);
        break;
    case TAG_LIGHT: push_light(r); break;
    case TAG_C: push_c_function(r); break;
    case TAG_PLAIN: code_load_plain(L, take_attachment(r)->object); break;
    case TAG_MODULE: push_module(L, take_attachment(r)->object); break;
    case TAG_FIELD: push_field(r); break;
    case TAG_CHANNEL: channel_push(L, take_attachment(r)->object); break;
    case TAG_GLOBALS: lua_pushglobaltable(L); break;
    case TAG_SEEN: lua_rawgeti(L, r->objects, take_number(r)); break;
    case TAG_END: return false;
    default: push_new(r, tag);
    }
    return true;
}

/* ---- contents -------------------------------------------------------------------------------- */

static void fill_table(struct reader *r) {
    lua_State *L = r->L;
    push_value(r);
    while (push_value(r)) {
        push_value(r);
        if (lua_isnil(L, -2)) /* the key did not travel */
            lua_pop(L, 2);
        else
            lua_rawset(L, -4);
    }
    /* Last, as it may make keys weak. In the place of one that cannot travel there is a text. */
    if (lua_istable(L, -1))
        lua_setmetatable(L, -2);
    else
        lua_pop(L, 1);
}

static void fill_function(struct reader *r) {
    lua_State *L = r->L;
    int function = lua_gettop(L);
    for (int i = 1; lua_getupvalue(L, function, i); i++) {
        lua_pop(L, 1);
        if ((enum tag) * r->at != TAG_SHARED) {
            push_value(r);
            lua_setupvalue(L, function, i);
            continue;
        }
        uint64_t place;
        r->at++;
        take(r, &place, sizeof place);
        lua_rawgeti(L, r->objects, (lua_Integer)(place >> 8));
        lua_upvaluejoin(L, function, i, -1, (int)(place & 255));
        lua_pop(L, 1);
    }
}

/* Fills the object on top of the stack. */
static void fill(struct reader *r) {
    lua_State *L = r->L;
    if (lua_istable(L, -1)) {
        fill_table(r);
    } else if (lua_isfunction(L, -1)) {
        fill_function(r);
    } else {
        int values = error_test(L, -1) ? 1 : 2; /* its fields; a variable: name, default */
        for (int i = 1; i <= values; i++) {
            push_value(r);
            lua_setiuservalue(L, -2, i);
        }
    }
}

int transfer_unpack(lua_State *L, const struct parcel *parcel) {
    struct reader r = {.L = L, .parcel = parcel, .at = parcel->bytes};
    int count = (int)parcel->count;
    luaL_checkstack(L, count + LUA_MINSTACK, "too many values");
    if (parcel->objects > 0) lua_createtable(L, (int)(parcel->objects & INT32_MAX), 0);
    r.objects = lua_gettop(L);
    for (int i = 0; i < count; i++)
        push_value(&r);
    if (parcel->objects == 0) return count;
    for (uint32_t number = 1; number <= r.count; number++) {
        lua_rawgeti(L, r.objects, number);
        fill(&r);
        lua_pop(L, 1);
    }
    lua_remove(L, r.objects);
    return count;
}

const char *transfer_missing(lua_State *L, const struct parcel *parcel, uint32_t *at) {
    while (*at < parcel->attachment_count) {
        const struct attachment *attachment = &parcel->attachments[(*at)++];
        if (attachment->kind != ATTACHED_MODULE) continue;
        lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
        bool is_loaded = lua_getfield(L, -1, attachment->object) != LUA_TNIL;
        lua_pop(L, 2);
        if (!is_loaded) return attachment->object;
    }
    return NULL;
}
