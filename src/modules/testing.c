/*
 * lilac.testing: what tests need.
 */
#include "../core/args.h"
#include "../core/runtime.h"
#include "builtin.h"
#include "memory.h"

/* stream_pair([options]) → Stream, Stream */
static int testing_stream_pair(lua_State *L) {
    static const char *const known[] = {"limit", NULL};
    args_options(L, 1, known);
    size_t limit = (size_t)args_option_count(L, 1, "limit", STREAM_LIMIT, INT32_MAX);
    memory_pair(L, limit);
    return 2;
}

/* ---- wait_all_blocked ------------------------------------------------------------------------ */

static int settle_done(lua_State *L, lilac_wait *wait) {
    (void)L, (void)wait;
    return 0;
}

static const lilac_op settle_op = {
    .name = "wait_all_blocked", .cancel = waitq_cancel, .done = settle_done};

/* wait_all_blocked(): until the loop finds nothing to do at once. */
static int testing_wait_all_blocked(lua_State *L) {
    lilac_checkpoint(L);
    return waitq_park(L, &runtime_of(L)->settlers, &settle_op);
}

int luaopen_lilac_testing(lua_State *L) {
    static const luaL_Reg functions[] = {{"stream_pair", testing_stream_pair},
                                         {"wait_all_blocked", testing_wait_all_blocked},
                                         {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
