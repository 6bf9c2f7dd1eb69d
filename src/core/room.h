/*
 * Room for a string that is to be: the system writes into it, and it becomes the string where it
 * is. A copy costs the more the larger it is, as the memory of a new string has mostly left the
 * cache: a tenth of the time in which 16 KiB are echoed.
 */
#ifndef LILAC_ROOM_H
#define LILAC_ROOM_H

#include <lua.h>

/* Room for `size` bytes; there is one in a thread, after scratch_open, and it lasts until it has
 * become a string or is asked for in another size. NULL: read elsewhere, and copy. */
char *room_for(lua_State *L, size_t size);

/* Pushes the first `size` bytes of the room as a string. */
void room_push(lua_State *L, size_t size);

#endif
