/*
 * Channels, for those who take them to other threads. A struct channel is shared by all states that
 * have a Channel of it.
 */
#ifndef LILAC_CHANNEL_H
#define LILAC_CHANNEL_H

#include <lua.h>

struct channel;

struct channel *channel_ref(struct channel *channel);
void channel_unref(struct channel *channel);

/* The channel at `index`, a userdata, or NULL. */
struct channel *channel_test(lua_State *L, int index);

/* The channel of a Channel, for who has checked that it is one; NULL: it was finalised. */
struct channel *channel_in(const void *box);

/* Pushes the Channel of it: there is one in each state. */
void channel_push(lua_State *L, struct channel *channel);

#endif
