/*
 * Seeing what happens: lilac.dump, which SIGQUIT (Ctrl-\) prints as well.
 */
#include "../core/dump.h"
#include "builtin.h"

/* dump(): prints the tree of tasks on stderr: names, ages, what they wait for and where. */
static int lilac_dump(lua_State *L) {
    dump_print(L);
    return 0;
}

int luaopen_lilac_inspect(lua_State *L) {
    static const luaL_Reg functions[] = {{"dump", lilac_dump}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
