/*
 * A C module that does what none may: panic.raise() has an error raised in a callback of libuv,
 * where no Lua code is under it that could catch it.
 */
#include <lilac.h>
#include <stdlib.h>

static void on_timer(uv_timer_t *timer) {
    luaL_error(timer->data, "raised in a callback");
}

/* The loop is left in the middle, and nobody knows then who still has the timer: nothing frees it.
 */
static int panic_raise(lua_State *L) {
    uv_timer_t *timer = malloc(sizeof *timer);
    if (!timer) return luaL_error(L, "not enough memory");
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    timer->data = lua_tothread(L, -1);
    uv_timer_init(lilac_loop(L), timer);
    uv_timer_start(timer, on_timer, 0, 0);
    return 0;
}

__attribute__((visibility("default"))) int luaopen_panic(lua_State *L);

int luaopen_panic(lua_State *L) {
    static const luaL_Reg functions[] = {{"raise", panic_raise}, {NULL, NULL}};
    lilac_check_version(L);
    luaL_newlib(L, functions);
    return 1;
}
