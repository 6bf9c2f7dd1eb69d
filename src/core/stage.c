#include "stage.h"

#include "runtime.h"

#define FIRST_ROOM 64   /* for so many values, … */
#define ROOM       1024 /* … when it is the first; a task with more has a stage of its own */

/* A userdata, with L as its uservalue. The first value of L is nil, to be copied over others. */
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
    return lua_gettop(stage->L) - 1 + count <= stage->room && lua_checkstack(stage->L, count + 1);
}

static struct stage *open_stage(lua_State *L, struct runtime *runtime, int count) {
    int room = list_empty(&runtime->stages) ? FIRST_ROOM : ROOM;
    if (room < count) room = count;
    struct stage *stage = lua_newuserdatauv(L, sizeof *stage, 1);
    *stage = (struct stage){.L = lua_newthread(L), .room = room};
    if (!lua_checkstack(stage->L, room + 2)) luaL_error(L, "create_task: not enough memory");
    lua_settop(stage->L, 1);
    lua_setiuservalue(L, -2, 1);
    stage->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    list_append(&runtime->stages, &stage->link);
    return stage;
}

/* Its stack is freed at once, and not by some collection. */
static void close_stage(struct runtime *runtime, struct stage *stage) {
    lua_resetthread(stage->L);
    list_unlink(&stage->link);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, stage->ref);
}

void stage_put(lua_State *L, struct task *task, int count) {
    struct runtime *runtime = task->runtime;
    struct stage *stage = newest(runtime);
    if (!stage || !has_room(stage, count + 2)) {
        if (stage && stage->waiting == 0) close_stage(runtime, stage);
        stage = open_stage(L, runtime, count + 2);
    }
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
    for (uint32_t i = 0; i < task->staged; i++) /* so that no value outlives its use */
        lua_copy(stage->L, 1, (int)(task->slot - i));
    task->L = NULL;
    task->slot = task->staged = 0;
    if (--stage->waiting > 0) return;
    if (stage == newest(task->runtime))
        lua_settop(stage->L, 1);
    else
        close_stage(task->runtime, stage);
}
