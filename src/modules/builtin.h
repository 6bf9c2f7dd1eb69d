/*
 * The modules that are part of the binary: C ones by their luaopen_, Lua ones as embedded source.
 */
#ifndef LILAC_BUILTIN_H
#define LILAC_BUILTIN_H

#include "../lilac.h"

/* Made by the build from lua/lilac/; ends with a NULL name. */
extern const struct lilac_embedded {
    const char *name; /* "lilac.retry" */
    const unsigned char *source;
    size_t length;
} lilac_embedded[];

/* Installs everything in a state whose runtime is open: package.loaded.lilac, the searcher, and
 * what takes the place of stock functions (pcall, require, coroutine, os.exit). */
void lilac_open_modules(lua_State *L);

/* Pushes the loader of a builtin module; false, and nothing, when there is none of that name. */
bool builtin_load(lua_State *L, const char *name);

/* The entry of the loadable module, for other Lua hosts. */
LILAC_API int luaopen_lilac(lua_State *L);

int luaopen_lilac_base(lua_State *L);
int luaopen_lilac_callback(lua_State *L);
int luaopen_lilac_connections(lua_State *L);
int luaopen_lilac_content(lua_State *L);
int luaopen_lilac_child(lua_State *L);
int luaopen_lilac_channel(lua_State *L);
int luaopen_lilac_context(lua_State *L);
int luaopen_lilac_coroutine(lua_State *L);
int luaopen_lilac_debug(lua_State *L);
int luaopen_lilac_dns(lua_State *L);
int luaopen_lilac_file(lua_State *L);
int luaopen_lilac_gather(lua_State *L);
int luaopen_lilac_group(lua_State *L);
int luaopen_lilac_inspect(lua_State *L);
int luaopen_lilac_pipe(lua_State *L);
int luaopen_lilac_paths(lua_State *L);
int luaopen_lilac_queue(lua_State *L);
int luaopen_lilac_scandir(lua_State *L);
int luaopen_lilac_signal(lua_State *L);
int luaopen_lilac_stdio(lua_State *L);
int luaopen_lilac_sync(lua_State *L);
int luaopen_lilac_task(lua_State *L);
int luaopen_lilac_tcp(lua_State *L);
int luaopen_lilac_testing(lua_State *L);
int luaopen_lilac_thread(lua_State *L);
int luaopen_lilac_timeout(lua_State *L);
int luaopen_lilac_tls(lua_State *L);
int luaopen_lilac_watch(lua_State *L);
int luaopen_lilac_udp(lua_State *L);
int luaopen_lilac_unix(lua_State *L);

#endif
