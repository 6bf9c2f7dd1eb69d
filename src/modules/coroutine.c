/*
 * coroutine.*: user coroutines inside tasks. An await in one parks the whole task: every resume on
 * the way yields too, and goes on when the task does. Each coroutine starts in a trampoline with a
 * pcall, as tasks do, so that its <close> variables run, and may await, when an error, a
 * cancellation or coroutine.close unwinds it.
 */
#include "coroutine.h"

#include <string.h>

#include "../core/interrupt.h"
#include "../core/object.h"
#include "../core/report.h"
#include "../core/runtime.h"
#include "builtin.h"

enum resume_kind { RESUME, WRAP, CLOSE, THROW };

static struct task **slot_of(lua_State *L) {
    (void)runtime_of(L); /* gives a coroutine that is older than lilac its root */
    return (struct task **)lua_getextraspace(L);
}

bool coroutine_is_closing(lua_State *L) {
    struct nesting *nesting = runtime_of(L)->nesting;
    return nesting && nesting->closing && nesting->co == L;
}

/* Whether a coroutine is active in some task: running, waiting for one that it has resumed, or
 * parked in an await. The coroutines of the tasks themselves always are. */
static bool is_active(lua_State *co) {
    return *slot_of(co) != &runtime_of(co)->root;
}

/* ---- the trampoline -------------------------------------------------------------------------- */

static const char tracebacks_key;

/* Message handler: keeps the traceback for debug.traceback of the dead coroutine. */
static int on_throw(lua_State *L) {
    lua_settop(L, 1);
    if (coroutine_is_closing(L) || task_is_own_cancellation(L, 1) || !lua_checkstack(L, 8))
        return 1;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &tracebacks_key);
    lua_pushthread(L);
    debug_push_traceback(L, L, 1);
    lua_rawset(L, -3);
    lua_settop(L, 1);
    return 1;
}

bool coroutine_push_last_traceback(lua_State *L, lua_State *co) {
    if (co == L || lua_status(co) <= LUA_YIELD || !lua_checkstack(co, 1)) return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &tracebacks_key);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    bool has = lua_rawget(L, -2) == LUA_TSTRING;
    lua_remove(L, -2);
    if (!has) lua_pop(L, 1);
    return has;
}

/* The user's hook does not see the trampoline: it is put in place by the trampoline and taken away
 * again, and kept in the nesting meanwhile. */
static void withhold_hook(struct nesting *nesting, lua_State *co) {
    interrupt_unplant(runtime_of(co), co);
    nesting->hook = lua_gethook(co);
    nesting->hook_mask = lua_gethookmask(co);
    nesting->hook_count = lua_gethookcount(co);
    lua_sethook(co, NULL, 0, 0);
}

static void give_hook(struct nesting *nesting, lua_State *co) {
    if (!nesting->hook) return;
    lua_sethook(co, nesting->hook, nesting->hook_mask, nesting->hook_count);
    nesting->hook = NULL;
}

/* The resume of this very coroutine; NULL when a C module has resumed it. */
static struct nesting *nesting_of(lua_State *co) {
    struct nesting *nesting = runtime_of(co)->nesting;
    return nesting && nesting->co == co ? nesting : NULL;
}

static int trampoline_done(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (lua_gethook(L) && nesting_of(L)) withhold_hook(nesting_of(L), L);
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 1;
    if (coroutine_is_closing(L) && lua_isnil(L, -1)) return 0;
    return lua_error(L);
}

/* [handler, function, arguments…] */
static int trampoline(lua_State *L) {
    if (nesting_of(L)) give_hook(nesting_of(L), L);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, trampoline_done);
    return trampoline_done(L, status, 0);
}

bool coroutine_is_trampoline(lua_CFunction function) {
    return function == trampoline || function == task_trampoline;
}

static int co_create(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, trampoline);
    lua_pushcfunction(co, on_throw);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

/* ---- resume ---------------------------------------------------------------------------------- */

/* Results of the three kinds of resume, when the coroutine has yielded or ended. */
static int resumed(lua_State *L, lua_State *co, int status, int count, enum resume_kind kind) {
    if (kind == CLOSE && status == LUA_YIELD) { /* lilac.pcall caught the unwinding */
        lua_resetthread(co);
        count = 0;
    }
    if (status == LUA_OK || status == LUA_YIELD) {
        if (!lua_checkstack(L, count + 1)) {
            lua_pop(co, count);
            return luaL_error(L, "too many results to resume");
        }
        if (kind != WRAP) lua_pushboolean(L, 1);
        lua_xmove(co, L, count);
        return count + (kind != WRAP);
    }
    lua_xmove(co, L, 1);
    if (task_is_own_cancellation(L, -1)) return lua_error(L);
    if (kind == RESUME) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushnil(co); /* what lua_resetthread takes for the error, which is kept here */
    lua_resetthread(co);
    lua_settop(co, 0);
    if (kind == CLOSE) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    if (lua_type(L, -1) == LUA_TSTRING && status != LUA_ERRMEM) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static lua_State *resumed_coroutine(lua_State *L, enum resume_kind kind) {
    return lua_tothread(L, kind == WRAP ? lua_upvalueindex(1) : 1);
}

static int resume_done(lua_State *L, int status, lua_KContext context);

/* Lets `co` run until it yields, ends, or awaits: then this yields too. */
static int resume_step(lua_State *L, lua_State *co, int count, enum resume_kind kind) {
    struct runtime *runtime = runtime_of(L);
    struct nesting nesting = {.from = L,
                              .co = co,
                              .closing = kind == CLOSE,
                              .throwing = kind == THROW,
                              .outer = runtime->nesting};
    if (kind == THROW) kind = RESUME; /* what follows is the same */
    lua_State *running = runtime->running;
    *slot_of(co) = *slot_of(L);
    bool is_new = lua_status(co) == LUA_OK && lua_tocfunction(co, 1) == trampoline;
    if (is_new && lua_gethook(co)) withhold_hook(&nesting, co);
    runtime->nesting = &nesting;
    runtime->running = co;
    int status = lua_resume(co, L, count, &count);
    if (runtime->interrupt.planted_in == co) interrupt_unplant(runtime, co);
    give_hook(&nesting, co);
    runtime->running = running;
    runtime->nesting = nesting.outer;
    struct task *task = runtime->current;
    if (status == LUA_YIELD && task && task->parked_on) return lua_yieldk(L, 0, kind, resume_done);
    *slot_of(co) = &runtime->root;
    return resumed(L, co, status, count, kind);
}

static int resume_done(lua_State *L, int status, lua_KContext kind) {
    (void)status;
    return resume_step(L, resumed_coroutine(L, (enum resume_kind)kind), 0, (enum resume_kind)kind);
}

static int resume_failed(lua_State *L, enum resume_kind kind, const char *message) {
    if (kind == WRAP) return luaL_error(L, "%s", message);
    lua_pushboolean(L, 0);
    lua_pushstring(L, message);
    return 2;
}

/* Resumes with all values on the stack from `first` on as arguments. */
static int resume(lua_State *L, lua_State *co, int first, enum resume_kind kind) {
    int count = lua_gettop(L) - first + 1;
    lua_Debug ar;
    bool is_new = lua_status(co) == LUA_OK && lua_gettop(co) > 0;
    if (is_active(co) || (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar)))
        return resume_failed(L, kind, "cannot resume non-suspended coroutine");
    if (lua_status(co) != LUA_YIELD && !is_new)
        return resume_failed(L, kind, "cannot resume dead coroutine");
    if (!lua_checkstack(co, count)) return resume_failed(L, kind, "too many arguments to resume");
    lua_xmove(L, co, count);
    /* A new one has its function on the stack, under the arguments, and before it the trampoline.
     */
    return resume_step(L, co, is_new ? lua_gettop(co) - 1 : count, kind);
}

static lua_State *check_coroutine(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    return co;
}

static int co_resume(lua_State *L) {
    return resume(L, check_coroutine(L), 2, RESUME);
}

static int wrap_call(lua_State *L) {
    return resume(L, lua_tothread(L, lua_upvalueindex(1)), 1, WRAP);
}

static int co_wrap(lua_State *L) {
    co_create(L);
    lua_pushcclosure(L, wrap_call, 1);
    return 1;
}

/* ---- yield and close ------------------------------------------------------------------------- */

static int yield_done(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    struct nesting *nesting = runtime_of(L)->nesting;
    if (nesting && nesting->throwing && nesting->co == L) {
        nesting->throwing = false;
        if (task_is_own_cancellation(L, -1)) report_hide_from_handlers(L);
        return lua_error(L);
    }
    if (!coroutine_is_closing(L)) return lua_gettop(L);
    lua_pushnil(L); /* as if there were no error: what <close> handlers see */
    return lua_error(L);
}

static int co_yield (lua_State *L) {
    if ((*slot_of(L))->L == L) return luaL_error(L, "attempt to yield from outside a coroutine");
    if (coroutine_is_closing(L)) return luaL_error(L, "attempt to yield across a C-call boundary");
    return lua_yieldk(L, lua_gettop(L), 0, yield_done);
}

/* Whether a suspended coroutine waits in coroutine.yield, and not in a C module's own yield. */
static bool waits_in_yield(lua_State *co) {
    lua_Debug ar;
    if (lua_status(co) != LUA_YIELD || !lua_checkstack(co, 1)) return false;
    if (!lua_getstack(co, 0, &ar) || !lua_getinfo(co, "f", &ar)) return false;
    bool found = lua_tocfunction(co, -1) == co_yield;
    lua_pop(co, 1);
    return found;
}

/* throw_into(co, err): resumes a coroutine that waits in coroutine.yield by an error there. */
static int co_throw(lua_State *L) {
    lua_State *co = check_coroutine(L);
    lua_settop(L, 2);
    luaL_argcheck(L, waits_in_yield(co), 1, "the coroutine does not wait in coroutine.yield");
    return resume(L, co, 2, THROW);
}

static const char *status_of(lua_State *L, lua_State *co) {
    lua_Debug ar;
    if (L == co) return "running";
    if (is_active(co)) return "normal";
    if (lua_status(co) == LUA_YIELD) return "suspended";
    if (lua_status(co) != LUA_OK) return "dead";
    if (lua_getstack(co, 0, &ar)) return "normal";
    return lua_gettop(co) == 0 ? "dead" : "suspended";
}

static int co_close(lua_State *L) {
    lua_State *co = check_coroutine(L);
    const char *status = status_of(L, co);
    if (*status != 'd' && *status != 's')
        return luaL_error(L, "cannot close a %s coroutine", status);
    lua_settop(L, 1);
    if (waits_in_yield(co)) return resume_step(L, co, 0, CLOSE);
    bool closed = lua_resetthread(co) == LUA_OK;
    lua_pushboolean(L, closed);
    if (!closed) lua_xmove(co, L, 1);
    lua_settop(co, 0);
    return closed ? 1 : 2;
}

static int co_status(lua_State *L) {
    lua_pushstring(L, status_of(L, check_coroutine(L)));
    return 1;
}

static bool is_outermost(lua_State *L) {
    bool main = lua_pushthread(L);
    lua_pop(L, 1);
    return main || (*slot_of(L))->L == L;
}

static int co_running(lua_State *L) {
    lua_pushthread(L);
    lua_pushboolean(L, is_outermost(L));
    return 2;
}

static int co_isyieldable(lua_State *L) {
    lua_State *co = lua_isnone(L, 1) ? L : check_coroutine(L);
    lua_pushboolean(L, lua_isyieldable(co) && !is_outermost(co));
    return 1;
}

int luaopen_lilac_coroutine(lua_State *L) {
    static const luaL_Reg functions[] = {{"create", co_create},
                                         {"resume", co_resume},
                                         {"wrap", co_wrap},
                                         {"yield", co_yield },
                                         {"close", co_close},
                                         {"status", co_status},
                                         {"running", co_running},
                                         {"isyieldable", co_isyieldable},
                                         {NULL, NULL}};
    object_weak_table(L, &tracebacks_key, "k");
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->transparent_ref);
    static const lua_CFunction transparent[] = {co_resume, co_throw,   wrap_call,
                                                co_close,  trampoline, task_trampoline};
    for (size_t i = 0; i < sizeof transparent / sizeof *transparent; i++) {
        lua_pushcfunction(L, transparent[i]);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_newtable(L);
    lua_pushcfunction(L, co_throw);
    lua_setfield(L, -2, "throw_into");
    return 1;
}
