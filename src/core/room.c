#include "room.h"

#include <stdlib.h>

#include "alloc.h"
#include "scratch.h"
#include "state.h"

/* The room is a block as Lua has it for a string. The allocator gives it to Lua when Lua asks for
 * such a block, and what Lua then copies is a place to itself, which the C library sees and leaves
 * at that. A Lua that lays out its strings in another way, or asks in another order, is given
 * another block, and copies. */

/* So many bytes does a long string have before its own. */
static size_t string_head(lua_State *L) {
    static const char long_enough[64];
    const char *bytes = lua_pushlstring(L, long_enough, sizeof long_enough);
    size_t head = (size_t)(bytes - (const char *)lua_topointer(L, -1));
    lua_pop(L, 1);
    return head;
}

char *room_for(lua_State *L, size_t size) {
    if (!state_allocator(L)) return NULL; /* a host's state */
    if (scratch->string_head == 0) scratch->string_head = string_head(L);
    if (scratch->room && scratch->room_size != size) {
        free(scratch->room);
        scratch->room = NULL;
    }
    if (!scratch->room) scratch->room = malloc(scratch->string_head + size + 1);
    scratch->room_size = size;
    return scratch->room ? scratch->room + scratch->string_head : NULL;
}

/* For the collector it counts twice, so that its memory is used again while it is near. */
static void push_in_place(lua_State *L, size_t size) {
    char *room = scratch->room;
    size_t head = scratch->string_head;
    scratch->room = NULL;
    allocator_offer(state_allocator(L), room, head + size + 1);
    lua_pushlstring(L, room + head, size);
    if (lua_gc(L, LUA_GCISRUNNING)) lua_gc(L, LUA_GCSTEP, (int)(size / 1024));
}

void room_push(lua_State *L, size_t size) {
    if (size >= scratch->room_size - scratch->room_size / 8)
        push_in_place(L, size);
    else
        lua_pushlstring(L, scratch->room + scratch->string_head, size);
}
