/* The limit of cancel and join: coroutines parked in a C yield under a C trampoline that
 * lua_pcallk's their Lua body; each is resumed, raises an error in the yield's continuation, and
 * runs to its end. */
#include "../limit.h"

static int park_done(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    lua_pushliteral(L, "cancelled");
    return lua_error(L);
}

static int park(lua_State *L) {
    return lua_yieldk(L, 0, 0, park_done);
}

static int trampoline_done(lua_State *L, int status, lua_KContext context) {
    (void)L, (void)context;
    return status == LUA_ERRRUN ? 1 : 0;
}

static int trampoline(lua_State *L) {
    return trampoline_done(L, lua_pcallk(L, lua_gettop(L) - 1, 1, 0, 0, trampoline_done), 0);
}

static const luaL_Reg functions[] = {{"sleep", park}, {"trampoline", trampoline}, {NULL, NULL}};

static const char source[] = "local sleep = sleep\n"
                             "return trampoline, function(seconds) sleep(seconds) end, {}\n";

enum { TRAMPOLINE = 1, BODY, ANCHORS };

int main(int argc, char **argv) {
    long count = limit_count(argc, argv);
    lua_State *L = limit_open(functions, source);
    lua_State **tasks = malloc((size_t)count * sizeof *tasks);
    for (long i = 0; i < count; i++) {
        tasks[i] = limit_spawn(L, TRAMPOLINE);
        lua_rawseti(L, ANCHORS, i + 1);
        lua_pushvalue(L, BODY);
        lua_xmove(L, tasks[i], 1);
        lua_pushinteger(tasks[i], 3600);
        limit_resume(L, tasks[i], 2);
    }
    lua_gc(L, LUA_GCCOLLECT);
    double start = cpu_seconds();
    for (long i = 0; i < count; i++) {
        if (limit_resume(L, tasks[i], 0) || lua_gettop(tasks[i]) != 1) return 1;
        lua_pushnil(L);
        lua_rawseti(L, ANCHORS, i + 1);
    }
    printf("ns %.1f\n", (cpu_seconds() - start) / (double)count * 1e9);
    free(tasks);
    lua_close(L);
    return 0;
}
