/*
 * ticker: a C module for lilac, in the shape of lilac's own. The object that new(seconds) returns
 * ticks; its wait() parks the running task until the next tick. checksum(text) computes in the
 * thread pool, while the other tasks go on.
 *
 * Who wakes whom: on_tick, called by libuv, wakes the task that waits; so does the closing.
 */
#include <lilac.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SECONDS 1e6

/* ---- the ticker ----------------------------------------------------------------------------- */

struct ticker {
    lilac_handle handle; /* first */
    uv_timer_t timer;
    lilac_wait wait; /* of the task in t:wait() */
    unsigned ticks;  /* since the last t:wait() */
};

/* Plain C, as every callback of libuv: it stores what has happened and wakes who waits for it. */
static void on_tick(uv_timer_t *timer) {
    struct ticker *ticker = timer->data; /* lilac_handle_opened has set it */
    ticker->ticks++;
    lilac_wake(&ticker->wait);
}

static void on_close(lilac_handle *handle) {
    lilac_wake(&((struct ticker *)handle)->wait);
}

static const lilac_handle_type ticker_type = {
    .name = "ticker.Ticker", .size = sizeof(struct ticker), .on_close = on_close};

/* There is nothing to undo: a tick that nobody waits for is counted. */
static bool wait_cancel(lilac_wait *wait) {
    (void)wait;
    return true;
}

/* On the stack of the task that waited. The ticker may have been closed meanwhile: check it again.
 */
static int wait_done(lua_State *L, lilac_wait *wait) {
    (void)wait;
    struct ticker *ticker = lilac_handle_check(L, 1, &ticker_type, "wait");
    lua_pushinteger(L, ticker->ticks);
    ticker->ticks = 0;
    return 1;
}

static const lilac_op wait_op = {.name = "ticker:wait", .cancel = wait_cancel, .done = wait_done};

/* t:wait() → the number of ticks since the last call, at least 1 */
static int ticker_wait(lua_State *L) {
    struct ticker *ticker = lilac_handle_check(L, 1, &ticker_type, "wait");
    lilac_checkpoint(L);
    lilac_refuse_second(L, &ticker->wait, "ticker");
    if (ticker->ticks > 0) return wait_done(L, &ticker->wait);
    return lilac_park(L, &ticker->wait, &wait_op);
}

/* new(seconds) → Ticker */
static int ticker_new(lua_State *L) {
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0.001 && seconds <= MAX_SECONDS, 1,
                  "0.001 to 1e6 seconds expected");
    uint64_t ms = (uint64_t)(seconds * 1000);
    uv_loop_t *loop = lilac_loop(L);
    struct ticker *ticker = lilac_handle_new(L, &ticker_type);
    uv_timer_init(loop, &ticker->timer);
    lilac_handle_opened(&ticker->handle, (uv_handle_t *)&ticker->timer);
    uv_update_time(loop);
    uv_timer_start(&ticker->timer, on_tick, ms, ms);
    return 1;
}

/* ---- blocking C ----------------------------------------------------------------------------- */

struct sum {
    uint32_t crc;
    size_t size;
    unsigned char bytes[]; /* a copy: nothing here may point into Lua */
};

/* In a thread of the pool: no Lua, no lilac. */
static void sum_work(void *data) {
    struct sum *sum = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < sum->size; i++) {
        crc ^= sum->bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    sum->crc = ~crc;
}

/* Back on the stack of the task. lilac frees the data afterwards. */
static int sum_done(lua_State *L, void *data) {
    lua_pushinteger(L, ((struct sum *)data)->crc);
    return 1;
}

/* checksum(text) → CRC-32 */
static int ticker_checksum(lua_State *L) {
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    lilac_checkpoint(L);
    struct sum *sum = malloc(sizeof *sum + size);
    if (!sum) return luaL_error(L, "checksum: not enough memory");
    sum->size = size;
    memcpy(sum->bytes, text, size);
    return lilac_work(L, sum_work, sum_done, sum, NULL);
}

LILAC_API int luaopen_ticker(lua_State *L);

int luaopen_ticker(lua_State *L) {
    static const luaL_Reg methods[] = {{"wait", ticker_wait}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"new", ticker_new}, {"checksum", ticker_checksum}, {NULL, NULL}};
    lilac_check_version(L);
    lilac_handle_metatable(L, &ticker_type, methods, NULL);
    luaL_newlib(L, functions);
    return 1;
}
