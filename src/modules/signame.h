/*
 * The names of signals: "SIGTERM", which users may shorten to "TERM".
 */
#ifndef LILAC_SIGNAME_H
#define LILAC_SIGNAME_H

#include "../lilac.h"

/* The number of the signal whose name is at `arg`; an argument error for anything else. */
int signame_check(lua_State *L, int arg);

/* The name of a signal; NULL for those that have none (real-time signals). */
const char *signame_text(int signo);

#endif
