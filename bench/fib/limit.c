/* So many calls of fib(32) in two threads with bare Lua states: wall time. */
#include "../limit.h"

#include <pthread.h>

static long left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool take(void) {
    pthread_mutex_lock(&lock);
    bool is_left = left > 0;
    left -= is_left;
    pthread_mutex_unlock(&lock);
    return is_left;
}

static void *work(void *argument) {
    (void)argument;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    limit_check(L, luaL_dostring(L, "local function fib(n)\n"
                                    "  if n < 2 then return n end\n"
                                    "  return fib(n - 1) + fib(n - 2)\n"
                                    "end\n"
                                    "return fib"));
    while (take()) {
        lua_pushvalue(L, -1);
        lua_pushinteger(L, 32);
        lua_call(L, 1, 1);
        lua_pop(L, 1);
    }
    lua_close(L);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[2];
    struct timespec start, end;
    left = limit_count(argc, argv);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("ms %f\n",
           (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6);
    return 0;
}
