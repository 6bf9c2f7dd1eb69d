#include "dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#define MAX_INDENT 40 /* who was created deeper than that is printed as deep */

/* ---- the tree -------------------------------------------------------------------------------- */

/* A task in the tree, at the place of its slot. Links are slots; 0: the root, whose children are
 * the tasks with no living creator. */
struct node {
    struct task *task;
    uint32_t parent;
    uint32_t child;   /* the eldest */
    uint32_t sibling; /* the next younger one; 0: none */
};

static int by_age(const void *a, const void *b) {
    const struct task *const *first = a, *const *second = b;
    return ((*first)->id > (*second)->id) - ((*first)->id < (*second)->id);
}

/* When a creator has ended, its slot may be that of another, who is younger. */
static uint32_t parent_of(const struct node *nodes, const struct task *task) {
    const struct task *creator = nodes[task->creator].task;
    return creator && creator->id < task->id ? task->creator : 0;
}

/* Pushes a block that holds the tree. What a finaliser creates meanwhile is not in it. */
static const struct node *push_tree(lua_State *L, struct runtime *runtime) {
    uint32_t slots = runtime->slots.count;
    struct node *nodes = lua_newuserdatauv(L, (slots + 1) * sizeof *nodes, 0);
    struct task **order = lua_newuserdatauv(L, slots * sizeof(struct task *), 0);
    memset(nodes, 0, (slots + 1) * sizeof *nodes);
    size_t count = 0;
    struct task *task = task_next(runtime, NULL);
    for (; task && task->slot <= slots; task = task_next(runtime, task))
        nodes[task->slot].task = order[count++] = task;
    qsort(order, count, sizeof *order, by_age);
    while (count > 0) { /* the younger ones first, as each comes before its siblings */
        task = order[--count];
        struct node *node = &nodes[task->slot];
        node->parent = parent_of(nodes, task);
        node->sibling = nodes[node->parent].child;
        nodes[node->parent].child = task->slot;
    }
    lua_pop(L, 1);
    return nodes;
}

/* The slot that follows in the tree, and how deep it is; 0 after the last one. */
static uint32_t tree_next(const struct node *nodes, uint32_t slot, int *depth) {
    if (nodes[slot].child != 0) {
        ++*depth;
        return nodes[slot].child;
    }
    for (; slot != 0 && nodes[slot].sibling == 0; slot = nodes[slot].parent)
        --*depth;
    return nodes[slot].sibling;
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
