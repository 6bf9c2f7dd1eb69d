/* The limit of a switch: a bare C loop that resumes two coroutines in turn; each runs a Lua loop
 * around a C function that yields. */
#include "../limit.h"

static int yield(lua_State *L) {
    return lua_yield(L, 0);
}

static const luaL_Reg functions[] = {{"sleep", yield}, {NULL, NULL}};

static const char source[] = "local sleep = sleep\n"
                             "return function(turns)\n"
                             "  for _ = 1, turns do sleep(0) end\n"
                             "end\n";

int main(int argc, char **argv) {
    long switches = limit_count(argc, argv);
    lua_State *L = limit_open(functions, source);
    lua_State *first = limit_spawn(L, 1);
    lua_State *second = limit_spawn(L, 1);
    lua_pushinteger(first, switches / 2);
    lua_pushinteger(second, switches / 2);
    double start = cpu_seconds();
    bool alive = limit_resume(L, first, 1) && limit_resume(L, second, 1);
    while (alive)
        alive = limit_resume(L, first, 0) | limit_resume(L, second, 0);
    printf("ns %.1f\n", (cpu_seconds() - start) / (double)switches * 1e9);
    lua_close(L);
    return 0;
}
