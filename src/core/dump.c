#include "dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define MAX_INDENT 40 /* who was created deeper than that is printed as deep */

/* ---- the tree -------------------------------------------------------------------------------- */

/* A task in the tree. Links are places in the array of all, which are in the order of their ids; at
 * 0 is the root, whose children are the tasks with no living creator. */
struct node {
    struct task *task;
    uint32_t parent;
    uint32_t child;   /* the eldest */
    uint32_t sibling; /* the next younger one; 0: none */
};

static int by_id(const void *a, const void *b) {
    uint32_t first = ((const struct node *)a)->task->id,
             second = ((const struct node *)b)->task->id;
    return (first > second) - (first < second);
}

/* The place of the task with this id; 0: it has ended. */
static uint32_t find(const struct node *nodes, uint32_t count, uint32_t id) {
    uint32_t low = 1, high = count + 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (nodes[middle].task->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low <= count && nodes[low].task->id == id ? low : 0;
}

/* A task knows the last bits of its creator's id, which is lower than its own: of the live tasks
 * with such an id the nearest is taken for the creator. It is another one only where the creator
 * has ended, and one that is older by a multiple of eight million tasks has not. */
static uint32_t find_creator(const struct node *nodes, uint32_t count, const struct task *task) {
    if (task->creator == 0) return 0;
    uint64_t distance = (task->id - task->creator) % CREATOR_IDS;
    if (distance == 0) distance = CREATOR_IDS;
    for (; distance < task->id; distance += CREATOR_IDS) {
        uint32_t place = find(nodes, count, task->id - (uint32_t)distance);
        if (place != 0) return place;
    }
    return 0;
}

/* Pushes a block that holds the tree. What a finaliser creates meanwhile is not in it. */
static const struct node *push_tree(lua_State *L, struct runtime *runtime) {
    uint32_t room = runtime->live, count = 0;
    struct node *nodes = lua_newuserdatauv(L, (room + 1) * sizeof *nodes, 0);
    memset(nodes, 0, (room + 1) * sizeof *nodes);
    struct task *task = task_next(runtime, NULL);
    for (; task && count < room; task = task_next(runtime, task))
        nodes[++count].task = task;
    qsort(nodes + 1, count, sizeof *nodes, by_id);
    for (uint32_t at = count; at > 0; at--) { /* each comes before its younger siblings */
        struct node *node = &nodes[at];
        node->parent = find_creator(nodes, count, node->task);
        node->sibling = nodes[node->parent].child;
        nodes[node->parent].child = at;
    }
    return nodes;
}

/* The place that follows in the tree, and how deep it is; 0 after the last one. */
static uint32_t tree_next(const struct node *nodes, uint32_t at, int *depth) {
    if (nodes[at].child != 0) {
        ++*depth;
        return nodes[at].child;
    }
    for (; at != 0 && nodes[at].sibling == 0; at = nodes[at].parent)
        --*depth;
    return nodes[at].sibling;
}

/* ---- in words -------------------------------------------------------------------------------- */

/* "0.3 s", "40 s", "5 min", "3 h", "12 d". */
static void age_text(uint64_t age_ns, char *text, size_t size) {
    double s = (double)age_ns / 1e9;
    if (s < 10)
        snprintf(text, size, "%.1f s", s);
    else if (s < 120)
        snprintf(text, size, "%.0f s", s);
    else if (s < 120 * 60)
        snprintf(text, size, "%.0f min", s / 60);
    else if (s < 48 * 3600)
        snprintf(text, size, "%.0f h", s / 3600);
    else
        snprintf(text, size, "%.0f d", s / 86400);
}

/* Pushes " at crawl.lua:10" for the innermost Lua function of the user's in a task that is parked
 * or runs; "" where there is none. */
static const char *push_place(lua_State *L, struct task *task) {
    char text[PLACE_TEXT] = "";
    lua_State *co = task->parked_on ? task->parked_in : NULL;
    if (task == task->runtime->current) co = task->runtime->running;
    if (co) place_text(place_of(co, 0), " at ", text, sizeof text);
    return lua_pushstring(L, text);
}

/* Pushes " created 5 min ago at crawl.lua:8", or what of it is known and asked for. */
static const char *push_creation(lua_State *L, struct task *task, bool with_age) {
    char age[32] = "", place[PLACE_TEXT] = "";
    struct runtime *runtime = task->runtime;
    if (with_age)
        age_text(clock_now(&runtime->clock) - ages_birth_ns(&runtime->ages, task->id), age,
                 sizeof age);
    place_text(task->created, " at ", place, sizeof place);
    if (!*age && !*place) return lua_pushliteral(L, "");
    return lua_pushfstring(L, " created%s%s%s%s", *age ? " " : "", age, *age ? " ago" : "", place);
}

static void add_task(lua_State *L, luaL_Buffer *buffer, struct task *task, bool with_age) {
    char name[TASK_TEXT], what[120] = "";
    task_text(task, name, sizeof name);
    const char *state = task->runtime->current == task ? "running" : "ready";
    if (task->parked_on) {
        state = task->op->name;
        if (task->op->describe) task->op->describe(task->parked_on, what, sizeof what);
    }
    const char *place = push_place(L, task), *created = push_creation(L, task, with_age);
    lua_pushfstring(L, "%s%s: %s%s%s%s%s%s", name, task == task->runtime->main ? " (main)" : "",
                    state, *what ? " (" : "", what, *what ? ")" : "", place, created);
    lua_replace(L, -3);
    lua_pop(L, 1);
    luaL_addvalue(buffer);
}

void dump_push_tasks(lua_State *L, bool with_ages) {
    luaL_checkstack(L, 2 * LUA_MINSTACK, "dump");
    const struct node *nodes = push_tree(L, runtime_of(L));
    int depth = 0;
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (uint32_t at = 0; (at = tree_next(nodes, at, &depth)) != 0;) {
        luaL_addchar(&buffer, '\n');
        for (int i = 0; i < depth && i < MAX_INDENT; i++)
            luaL_addstring(&buffer, "  ");
        add_task(L, &buffer, nodes[at].task, with_ages);
    }
    luaL_pushresult(&buffer);
    lua_remove(L, -2);
}

void dump_print(lua_State *L) {
    dump_push_tasks(L, true);
    unsigned count = runtime_of(L)->live;
    fprintf(stderr, "lilac: %u task%s:%s\n", count, count == 1 ? "" : "s", lua_tostring(L, -1));
    fflush(stderr);
    lua_pop(L, 1);
}
