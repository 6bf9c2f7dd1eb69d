/*
 * Two Streams joined back to back in memory.
 */
#ifndef LILAC_MEMORY_H
#define LILAC_MEMORY_H

#include "stream.h"

/* Pushes two new Streams: what is written to one is read from the other. They live on the loop as
 * if a system were between them. `limit` is STREAM_LIMIT, or what the user asked for. */
void memory_pair(lua_State *L, size_t limit);

#endif
