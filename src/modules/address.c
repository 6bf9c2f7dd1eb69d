#include "address.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

bool address_parse(union address *address, const char *host, int port) {
    *address = (union address){0};
    return uv_ip4_addr(host, port, &address->v4) == 0 || uv_ip6_addr(host, port, &address->v6) == 0;
}

union address address_check(lua_State *L, int arg, int port) {
    union address address;
    const char *host = luaL_checkstring(L, arg);
    if (strlen(host) != lua_rawlen(L, arg) || !address_parse(&address, host, port)) {
        luaL_argerror(L, arg, lua_pushfstring(L, "numeric address expected, got '%s'", host));
    }
    return address;
}

socklen_t address_size(const union address *address) {
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

int address_port(const union address *address) {
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

union address address_map(const union address *address, int family) {
    if (family != AF_INET6 || address->any.sa_family != AF_INET) return *address;
    union address mapped = {.v6 = {.sin6_family = AF_INET6, .sin6_port = address->v4.sin_port}};
    memset(mapped.v6.sin6_addr.s6_addr + 10, 0xff, 2);
    memcpy(mapped.v6.sin6_addr.s6_addr + 12, &address->v4.sin_addr, 4);
    return mapped;
}

union address address_unmap(const union address *address) {
    if (address->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
        return *address;
    union address plain = {.v4 = {.sin_family = AF_INET, .sin_port = address->v6.sin6_port}};
    memcpy(&plain.v4.sin_addr, address->v6.sin6_addr.s6_addr + 12, 4);
    return plain;
}

/* Writes digits; returns where they end. */
static char *put_number(char *at, unsigned number) {
    if (number >= 10) at = put_number(at, number / 10);
    *at = (char)('0' + number % 10);
    return at + 1;
}

/* Writes "127.0.0.1"; returns where it ends. uv_ip4_name and snprintf cost ten times as much, and
 * every connection of a server is called by the address of its peer. */
static char *put_ip4(char *at, const struct sockaddr_in *v4) {
    const unsigned char *bytes = (const unsigned char *)&v4->sin_addr;
    for (int i = 0; i < 4; i++) {
        at = put_number(at, bytes[i]);
        *at++ = '.';
    }
    at[-1] = '\0';
    return at - 1;
}

/* Writes the host alone; a link-local address is none without its scope. */
static void host_text(const union address *address, char *text, size_t size) {
    if (address->any.sa_family != AF_INET6) {
        put_ip4(text, &address->v4);
        return;
    }
    text[0] = '\0';
    uv_ip6_name(&address->v6, text, size);
    char scope[UV_IF_NAMESIZE] = "";
    if (address->v6.sin6_scope_id == 0 || !if_indextoname(address->v6.sin6_scope_id, scope)) return;
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%%%s", scope);
}

void address_text(const union address *address, char *text, size_t size) {
    char host[ADDRESS_TEXT];
    if (address->any.sa_family == AF_INET6) {
        host_text(address, host, sizeof host);
        snprintf(text, size, "[%s]:%d", host, address_port(address));
        return;
    }
    char *end = put_ip4(text, &address->v4);
    *end = ':';
    *put_number(end + 1, (unsigned)address_port(address)) = '\0';
}

void address_push_host(lua_State *L, const union address *address) {
    char host[ADDRESS_TEXT];
    host_text(address, host, sizeof host);
    lua_pushstring(L, host);
}

int address_push(lua_State *L, const union address *address) {
    address_push_host(L, address);
    lua_pushinteger(L, address_port(address));
    return 2;
}
