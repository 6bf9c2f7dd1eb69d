#include "pool.h"

#include <stdlib.h>

#include "interrupt.h"
#include "runtime.h"

/* A slot has two places in the table of tasks: for its coroutine, which stays there for the next
 * task when one has ended, and for the task. */
static int coroutine_place(uint32_t slot) {
    return (int)slot * 2 - 1;
}
static int task_place(uint32_t slot) {
    return (int)slot * 2;
}

/* A slot's coroutine is also in runtime->coroutines, so that reusing it takes no look into the
 * table. They get their room before the slots: no slot is without. */
static void grow(lua_State *L, struct runtime *runtime) {
    uint32_t had = runtime->slots.count, count = slots_needed(&runtime->slots);
    if (count > had) {
        lua_State **more = realloc(runtime->coroutines, count * sizeof *more);
        if (!more) luaL_error(L, "create_task: not enough memory");
        runtime->coroutines = more;
        for (uint32_t slot = had; slot < count; slot++)
            more[slot] = NULL;
    }
    if (!slots_reserve(&runtime->slots)) luaL_error(L, "create_task: not enough memory");
}

lua_State *pool_next(const struct runtime *runtime, int size) {
    if (runtime->idle == 0) return NULL;
    lua_State *co = runtime->coroutines[runtime->idle_slots[runtime->idle - 1] - 1];
    return size <= LUA_MINSTACK || lua_checkstack(co, size) ? co : NULL;
}

int pool_add(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    int size = (int)luaL_checkinteger(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->tasks_ref);
    lua_State *made = lua_newthread(L); /* may run a finaliser, which may create tasks */
    if (runtime->idle == 0) {
        grow(L, runtime);
        uint32_t slot = slots_next(&runtime->slots);
        lua_pushboolean(L, 0);
        lua_rawseti(L, -3, task_place(slot)); /* makes room */
        lua_rawseti(L, -2, coroutine_place(slot));
        runtime->coroutines[slot - 1] = made;
        runtime->idle_slots[runtime->idle++] = slots_take(&runtime->slots);
    }
    if (!pool_next(runtime, size)) luaL_error(L, "create_task: not enough memory");
    return 0;
}

void pool_take(lua_State *L, struct task *task) {
    struct runtime *runtime = task->runtime;
    uint32_t slot = runtime->idle_slots[--runtime->idle];
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->tasks_ref);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, task_place(slot));
    lua_pop(L, 1);
    task->L = runtime->coroutines[slot - 1];
    task->slot = slot;
    *(struct task **)lua_getextraspace(task->L) = task;
}

void pool_push(lua_State *L, const struct task *task) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->tasks_ref);
    lua_rawgeti(L, -1, task_place(task->slot));
    lua_replace(L, -2);
}

void pool_give(lua_State *L, struct task *task) {
    struct runtime *runtime = task->runtime;
    lua_State *co = task->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->tasks_ref);
    if (!task->started) lua_settop(co, 0); /* else nothing is left there */
    *(struct task **)lua_getextraspace(co) = &runtime->root;
    interrupt_unplant(runtime, co);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, task_place(task->slot));
    if (runtime->idle < MAX_IDLE && lua_status(co) == LUA_OK && !lua_gethook(co)) {
        runtime->idle_slots[runtime->idle++] = task->slot;
    } else {
        runtime->coroutines[task->slot - 1] = NULL;
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, coroutine_place(task->slot));
        slots_give(&runtime->slots, task->slot);
    }
    task->slot = 0;
    task->L = NULL;
}
