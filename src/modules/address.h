/*
 * Internet addresses: between the texts that Lua has and the structs that libuv wants.
 */
#ifndef LILAC_ADDRESS_H
#define LILAC_ADDRESS_H

#include "../lilac.h"

/* An IPv4 or IPv6 address with a port; smaller than a sockaddr_storage. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Room for the longest text: "[…%scope]:65535". */
enum { ADDRESS_TEXT = INET6_ADDRSTRLEN + UV_IF_NAMESIZE + 9 };

/* Reads a numeric address ("127.0.0.1", "::1", "fe80::1%eth0"). False for anything else. */
bool address_parse(union address *address, const char *host, int port);

/* The numeric address at `arg`, with the port; an argument error for anything else. */
union address address_check(lua_State *L, int arg, int port);

/* The number of bytes that the system calls want to hear. */
socklen_t address_size(const union address *address);

/* The address as a socket of that family takes it: an IPv6 one reaches IPv4 by mapped addresses. */
union address address_map(const union address *address, int family);

/* The reverse: a mapped address as people know it. */
union address address_unmap(const union address *address);

/* Writes "127.0.0.1:80" or "[::1]:80", in at least ADDRESS_TEXT bytes. */
void address_text(const union address *address, char *text, size_t size);

int address_port(const union address *address);

/* Pushes the host alone, "127.0.0.1" or "::1". */
void address_push_host(lua_State *L, const union address *address);

/* Pushes host and port; returns 2. */
int address_push(lua_State *L, const union address *address);

#endif
