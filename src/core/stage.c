#include "stage.h"

#include <stdlib.h>

#include "runtime.h"

#define FIRST_ROOM 64   /* for so many values, … */
#define ROOM       1024 /* … when it is the first; a task with more has a stage of its own */

struct stage {
    struct list link;
    lua_State *L;
    int ref; /* in the registry */
    int room;
    uint32_t waiting; /* tasks on it */
};

static struct stage *newest(struct runtime *runtime) {
    struct list *last = runtime->stages.prev;
    return last == &runtime->stages ? NULL : container_of(last, struct stage, link);
}

/* Whether it takes so many values more, and one to turn around with. A collection may have made its
 * stack smaller. */
static bool has_room(const struct stage *stage, int count) {
    return lua_gettop(stage->L) + count <= stage->room && lua_checkstack(stage->L, count + 1);
}

static struct stage *open_stage(lua_State *L, struct runtime *runtime, int count) {
    int room = list_empty(&runtime->stages) ? FIRST_ROOM : ROOM;
    if (room < count) room = count;
    lua_State *place = lua_newthread(L);
    if (!lua_checkstack(place, room + 1)) luaL_error(L, "create_task: not enough memory");
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    struct stage *stage = malloc(sizeof *stage);
    if (!stage) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        luaL_error(L, "create_task: not enough memory");
    }
    *stage = (struct stage){.L = place, .ref = ref, .room = room};
    list_append(&runtime->stages, &stage->link);
    return stage;
}

static void close_stage(struct runtime *runtime, struct stage *stage) {
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, stage->ref);
    list_unlink(&stage->link);
    free(stage);
}

void stage_put(lua_State *L, struct task *task, int count) {
    struct stage *stage = newest(task->runtime);
    if (!stage || !has_room(stage, count + 2)) stage = open_stage(L, task->runtime, count + 2);
    lua_xmove(L, stage->L, count + 2);
    stage->waiting++;
    task->L = stage->L;
    task->slot = (uint32_t)lua_gettop(stage->L);
    task->staged = (uint32_t)count + 2;
    stage_push(L, task);
}

static void push_value(lua_State *to, lua_State *from, uint32_t index) {
    lua_pushvalue(from, (int)index);
    lua_xmove(from, to, 1);
}

void stage_push(lua_State *L, const struct task *task) {
    push_value(L, task->L, task->slot);
}

void stage_push_all(lua_State *to, const struct task *task) {
    stage_push(to, task);
    for (uint32_t index = task->slot - task->staged + 1; index < task->slot; index++)
        push_value(to, task->L, index);
}

/* The stage of a task: mostly the oldest one. */
static struct stage *stage_of(const struct task *task) {
    struct list *at = task->runtime->stages.next;
    while (container_of(at, struct stage, link)->L != task->L)
        at = at->next;
    return container_of(at, struct stage, link);
}

void stage_leave(struct task *task) {
    struct stage *stage = stage_of(task);
    for (uint32_t i = 0; i < task->staged; i++) { /* so that no value outlives its use */
        lua_pushnil(stage->L);
        lua_replace(stage->L, (int)(task->slot - i));
    }
    task->L = NULL;
    task->slot = task->staged = 0;
    if (--stage->waiting > 0) return;
    if (stage == newest(task->runtime))
        lua_settop(stage->L, 0);
    else
        close_stage(task->runtime, stage);
}

void stage_free(struct runtime *runtime) {
    struct list *link;
    while ((link = list_shift(&runtime->stages)))
        free(container_of(link, struct stage, link));
}
