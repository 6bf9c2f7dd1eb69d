#include "state.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

/* A collection begins when the heap has grown to four times what the last one left, not twice: one
 * that runs over 100,000 parked coroutines costs as much as their work. */
#define GC_PAUSE 400

struct state {
    struct allocator *allocator;
    size_t limit, used; /* counted only where there is a limit */
    bool warns;         /* warn("@on") */
    bool continues;     /* the next warning goes on with the last one */
};

static int on_panic(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "lilac: unprotected error in a call to Lua: %s\n", message ? message : "?");
    return 0; /* Lua aborts */
}

static void on_warning(void *ud, const char *message, int to_be_continued) {
    struct state *state = ud;
    if (!state->continues && !to_be_continued && *message == '@') {
        if (strcmp(message, "@on") == 0) state->warns = true;
        if (strcmp(message, "@off") == 0) state->warns = false;
        return;
    }
    if (state->warns)
        fprintf(stderr, "%s%s%s", state->continues ? "" : "Lua warning: ", message,
                to_be_continued ? "" : "\n");
    state->continues = to_be_continued;
}

static void *reallocate(void *ud, void *block, size_t old_size, size_t new_size) {
    return allocator_realloc(((struct state *)ud)->allocator, block, old_size, new_size);
}

static void *reallocate_limited(void *ud, void *block, size_t old_size, size_t new_size) {
    struct state *state = ud;
    size_t had = block ? old_size : 0;
    if (new_size > had && new_size - had > state->limit - state->used) return NULL;
    void *moved = allocator_realloc(state->allocator, block, old_size, new_size);
    if (moved || new_size == 0) state->used += new_size - had;
    return moved;
}

/* Blocks above the allocator's size: strings of 16 KiB, say, that live for one read. Left alone,
 * malloc would give the end of its heap back to the system after each. */
static void tune_malloc(void) {
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

lua_State *state_open(size_t limit) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, tune_malloc);
    struct state *state = calloc(1, sizeof *state);
    if (!state) return NULL;
    state->allocator = allocator_open();
    state->limit = limit;
    lua_Alloc allocate = limit > 0 ? reallocate_limited : reallocate;
    lua_State *L = state->allocator ? lua_newstate(allocate, state) : NULL;
    if (!L) {
        if (state->allocator) allocator_close(state->allocator);
        free(state);
        return NULL;
    }
    *(void **)lua_getextraspace(L) = NULL; /* there is no runtime yet */
    lua_atpanic(L, on_panic);
    lua_setwarnf(L, on_warning, state);
    if (limit == 0) lua_gc(L, LUA_GCINC, GC_PAUSE, 0, 0); /* else there may be no four times */
    return L;
}

/* NULL: a state that state_open has not made. */
static struct state *state_of(lua_State *L) {
    void *ud;
    lua_Alloc allocate = lua_getallocf(L, &ud);
    return allocate == reallocate || allocate == reallocate_limited ? ud : NULL;
}

void state_close(lua_State *L) {
    struct state *state = state_of(L);
    lua_close(L);
    allocator_close(state->allocator);
    free(state);
}

void state_make_room(lua_State *L) {
    struct state *state = state_of(L);
    if (state && state->used > state->limit / 2) lua_gc(L, LUA_GCCOLLECT);
}

struct allocator *state_allocator(lua_State *L) {
    struct state *state = state_of(L);
    return state ? state->allocator : NULL;
}
