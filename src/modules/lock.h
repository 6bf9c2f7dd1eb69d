/*
 * Lock and Condition live together: a notified task waits in the lock's queue.
 */
#ifndef LILAC_LOCK_H
#define LILAC_LOCK_H

#include <lua.h>

/* Creates both classes and puts their constructors into the table on top of the stack. */
void lock_open(lua_State *L);

#endif
