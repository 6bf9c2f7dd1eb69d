/* The limit of a queue: a ring in a Lua table, its put and get in C, which yield while it is full
 * or empty; a C loop resumes the producer and the consumer in turn. */
#include "../limit.h"

struct ring {
    lua_Integer head, tail, count, size;
};

/* The slots are a table, the user value of the ring. */
static int ring_new(lua_State *L) {
    lua_Integer size = luaL_checkinteger(L, 1);
    struct ring *ring = lua_newuserdatauv(L, sizeof *ring, 1);
    *ring = (struct ring){.head = 1, .tail = 1, .size = size};
    lua_createtable(L, (int)size, 0);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, "ring");
    return 1;
}

static int ring_put_retry(lua_State *L, int status, lua_KContext context) {
    struct ring *ring = lua_touserdata(L, 1);
    (void)status;
    if (ring->count == ring->size) return lua_yieldk(L, 0, context, ring_put_retry);
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, ring->tail);
    ring->tail = ring->tail == ring->size ? 1 : ring->tail + 1;
    ring->count++;
    return 0;
}

static int ring_put(lua_State *L) {
    return ring_put_retry(L, LUA_OK, 0);
}

static int ring_get_retry(lua_State *L, int status, lua_KContext context) {
    struct ring *ring = lua_touserdata(L, 1);
    (void)status;
    if (ring->count == 0) return lua_yieldk(L, 0, context, ring_get_retry);
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, ring->head);
    ring->head = ring->head == ring->size ? 1 : ring->head + 1;
    ring->count--;
    return 1;
}

static int ring_get(lua_State *L) {
    return ring_get_retry(L, LUA_OK, 0);
}

static const luaL_Reg functions[] = {{"ring_new", ring_new}, {NULL, NULL}};

static const luaL_Reg methods[] = {{"put", ring_put}, {"get", ring_get}, {NULL, NULL}};

static const char source[] = "local function produce(queue, count)\n"
                             "  for i = 1, count do queue:put(i) end\n"
                             "end\n"
                             "local function consume(queue, count)\n"
                             "  local sum = 0\n"
                             "  for _ = 1, count do sum = sum + queue:get() end\n"
                             "  assert(sum == count * (count + 1) // 2)\n"
                             "end\n"
                             "return produce, consume, ring_new\n";

static lua_State *side_spawn(lua_State *L, int body, int ring, long count) {
    lua_State *co = limit_spawn(L, body);
    lua_pushvalue(L, ring);
    lua_xmove(L, co, 1);
    lua_pushinteger(co, count);
    return co;
}

int main(int argc, char **argv) {
    long count = limit_count(argc, argv);
    lua_State *L = limit_open(functions, source);
    luaL_newmetatable(L, "ring");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_settop(L, 3);
    lua_pushinteger(L, argc > 2 ? strtol(argv[2], NULL, 10) : 1);
    lua_call(L, 1, 1);
    lua_State *producer = side_spawn(L, 1, 3, count);
    lua_State *consumer = side_spawn(L, 2, 3, count);
    double start = cpu_seconds();
    bool producing = limit_resume(L, producer, 2);
    bool consuming = limit_resume(L, consumer, 2);
    while (producing || consuming) {
        producing = producing && limit_resume(L, producer, 0);
        consuming = consuming && limit_resume(L, consumer, 0);
    }
    printf("ns %.1f\n", (cpu_seconds() - start) / (double)count * 1e9);
    lua_close(L);
    return 0;
}
