/* The limit of spawn + gather: fresh coroutines, created and run to their end from C, a thousand
 * alive at a time, then left to the garbage collector. */
#include "../limit.h"

enum { BATCH = 1000 };

static const luaL_Reg functions[] = {{NULL, NULL}};

static const char source[] = "return function(i) return i end\n";

/* The coroutines stay on the stack of L, their anchor, until the batch has ended. */
static lua_Integer batch_run(lua_State *L) {
    lua_State *tasks[BATCH];
    lua_Integer sum = 0;
    for (int i = 0; i < BATCH; i++) {
        tasks[i] = limit_spawn(L, 1);
        lua_pushinteger(tasks[i], i);
    }
    for (int i = 0; i < BATCH; i++) {
        limit_resume(L, tasks[i], 1);
        sum += lua_tointeger(tasks[i], -1);
    }
    lua_settop(L, 1);
    return sum;
}

int main(int argc, char **argv) {
    long count = limit_count(argc, argv);
    lua_State *L = limit_open(functions, source);
    luaL_checkstack(L, BATCH + 1, NULL);
    double start = cpu_seconds();
    for (long done = 0; done < count; done += BATCH)
        if (batch_run(L) != BATCH * (BATCH - 1) / 2) return 1;
    printf("ns %.1f\n", (cpu_seconds() - start) / (double)count * 1e9);
    lua_close(L);
    return 0;
}
