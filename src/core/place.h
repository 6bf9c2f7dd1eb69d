/*
 * Places in Lua source, "crawl.lua:10", in four bytes: what cancellations and tasks remember of
 * where they come from. Chunk names are interned per thread; after a thousand of them the rest
 * share "?".
 */
#ifndef LILAC_PLACE_H
#define LILAC_PLACE_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

struct place {
    uint32_t line : 22; /* 0: unknown */
    uint32_t source : 10;
};

/* The innermost Lua function of L from `level` on that is not lilac's own. */
struct place place_of(lua_State *L, int level);

/* Writes "<before>crawl.lua:10", or nothing for an unknown place. */
void place_text(struct place place, const char *before, char *text, size_t size);

/* The same place for another thread, which knows its chunk by name, "?" if need be. */
const char *place_name(struct place place);
struct place place_at(const char *name, uint32_t line);

/* Forgets the names of this thread, which is about to end. */
void place_free_names(void);

#define PLACE_TEXT (LUA_IDSIZE + 32)

#endif
