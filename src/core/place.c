#include "place.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SOURCES     1023
#define MAX_LINE        0x3fffff
#define SEARCHED_LEVELS 8 /* how many functions may stand between the caller and the user's */

static _Thread_local struct {
    char *names[MAX_SOURCES];
    uint16_t count, last; /* the last one found is mostly the next one asked for */
} sources;

static uint16_t intern(const char *name) {
    if (sources.count > 0 && strcmp(sources.names[sources.last], name) == 0) return sources.last;
    for (uint16_t i = 0; i < sources.count; i++)
        if (strcmp(sources.names[i], name) == 0) return sources.last = i;
    char *copy = sources.count < MAX_SOURCES ? strdup(name) : NULL;
    if (!copy) return MAX_SOURCES;
    sources.names[sources.count] = copy;
    return sources.last = sources.count++;
}

/* Lua that is lilac's own, as wait.lua: what happens there was asked for by its caller. */
static bool is_embedded(const lua_Debug *ar) {
    static const char prefix[] = "[lilac.";
    return strncmp(ar->short_src, prefix, sizeof prefix - 1) == 0;
}

struct place place_at(const char *name, uint32_t line) {
    return (struct place){line <= MAX_LINE ? line : MAX_LINE, intern(name)};
}

struct place place_of(lua_State *L, int level) {
    lua_Debug ar;
    for (int end = level + SEARCHED_LEVELS; level < end && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && !is_embedded(&ar))
            return place_at(ar.short_src, (uint32_t)ar.currentline);
    }
    return (struct place){0, 0};
}

const char *place_name(struct place place) {
    return place.source < sources.count ? sources.names[place.source] : "?";
}

void place_text(struct place place, const char *before, char *text, size_t size) {
    if (place.line > 0)
        snprintf(text, size, "%s%s:%u", before, place_name(place), (unsigned)place.line);
    else
        *text = '\0';
}

void place_free_names(void) {
    while (sources.count > 0)
        free(sources.names[--sources.count]);
    sources.last = 0;
}
