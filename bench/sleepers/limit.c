/* The limit of sleepers: bare Lua threads and a 4-ary heap of deadlines in C. The loop waits in
 * whole milliseconds, as libuv does, so that it does not wake more often than lilac. */
#include <math.h>
#include <poll.h>
#include <stdint.h>

#include "../limit.h"

struct sleeper {
    uint64_t due_ns;
    lua_State *co;
};

static struct {
    struct sleeper *slots;
    size_t count, capacity;
} heap;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void heap_push(struct sleeper new) {
    if (heap.count == heap.capacity) {
        heap.capacity = heap.capacity ? heap.capacity * 2 : 1024;
        heap.slots = realloc(heap.slots, heap.capacity * sizeof *heap.slots);
        if (!heap.slots) abort();
    }
    size_t hole = heap.count++;
    while (hole > 0 && heap.slots[(hole - 1) / 4].due_ns > new.due_ns) {
        heap.slots[hole] = heap.slots[(hole - 1) / 4];
        hole = (hole - 1) / 4;
    }
    heap.slots[hole] = new;
}

/* The index of the earliest of the children of `parent`, or heap.count when it has none. */
static size_t heap_child(size_t parent) {
    size_t first = parent * 4 + 1;
    size_t end = first + 4 < heap.count ? first + 4 : heap.count;
    size_t least = first < end ? first : heap.count;
    for (size_t i = first + 1; i < end; i++)
        if (heap.slots[i].due_ns < heap.slots[least].due_ns) least = i;
    return least;
}

static struct sleeper heap_pop(void) {
    struct sleeper top = heap.slots[0];
    struct sleeper last = heap.slots[--heap.count];
    size_t hole = 0;
    for (size_t i; (i = heap_child(hole)) < heap.count; hole = i) {
        if (heap.slots[i].due_ns >= last.due_ns) break;
        heap.slots[hole] = heap.slots[i];
    }
    heap.slots[hole] = last;
    return top;
}

static int sleep_seconds(lua_State *L) {
    double seconds = luaL_checknumber(L, 1);
    heap_push((struct sleeper){now_ns() + (uint64_t)(seconds * 1e9), L});
    return lua_yield(L, 0);
}

static const luaL_Reg functions[] = {{"sleep", sleep_seconds}, {NULL, NULL}};

static const char source[] = "local sleep = sleep\n"
                             "return function(seconds) sleep(seconds) end, {}\n";

enum { BODY = 1, ANCHORS };

/* A coroutine keeps its slot in the table of anchors in its extra space. */
static void sleeper_spawn(lua_State *L, long slot) {
    lua_State *co = limit_spawn(L, BODY);
    lua_rawseti(L, ANCHORS, slot);
    *(long *)lua_getextraspace(co) = slot;
    lua_pushnumber(co, fmod((double)slot * 0.6180339887498949, 1) * 2);
    limit_resume(L, co, 1);
}

static void sleeper_wake(lua_State *L, lua_State *co) {
    if (limit_resume(L, co, 0)) return;
    lua_pushnil(L);
    lua_rawseti(L, ANCHORS, *(long *)lua_getextraspace(co));
}

static long peak_rss_kib(void) {
    long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && kib == 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    if (file) fclose(file);
    return kib;
}

int main(int argc, char **argv) {
    long count = limit_count(argc, argv);
    lua_State *L = limit_open(functions, source);
    double start = cpu_seconds();
    for (long i = 1; i <= count; i++)
        sleeper_spawn(L, i);
    while (heap.count > 0) {
        uint64_t now = now_ns();
        if (heap.slots[0].due_ns > now)
            poll(NULL, 0, (int)((heap.slots[0].due_ns - now + 999999) / 1000000));
        for (now = now_ns(); heap.count > 0 && heap.slots[0].due_ns <= now;)
            sleeper_wake(L, heap_pop().co);
    }
    printf("ns %.1f\n", (cpu_seconds() - start) / (double)count * 1e9);
    printf("bytes %.1f\n", (double)peak_rss_kib() * 1024 / (double)count);
    lua_close(L);
    free(heap.slots);
    return 0;
}
