/*
 * Lookups, for modules that take names of hosts.
 */
#ifndef LILAC_DNS_H
#define LILAC_DNS_H

#include <lua.h>

/* The function dns.getaddrinfo, which may await: to be called with a continuation. */
int dns_getaddrinfo(lua_State *L);

#endif
