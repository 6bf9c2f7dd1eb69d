/* Put before the C library (LD_PRELOAD) by no_memory_spec.lua: refuses memory, $REFUSE_COUNT times
 * from the $REFUSE_FROMth time on that somebody asks for some. At the end of the process it writes
 * into the file $REFUSE_REPORT how often that was. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_long asked;
static long from = LONG_MAX, count;

static __attribute__((constructor)) void begin(void) {
    const char *text = getenv("REFUSE_FROM");
    asked = 0;
    if (!text) return;
    count = strtol(getenv("REFUSE_COUNT"), NULL, 10);
    from = strtol(text, NULL, 10);
}

static int is_refused(void) {
    long turn = atomic_fetch_add(&asked, 1) + 1;
    if (turn < from || turn - from >= count) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) {
    return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t members, size_t size) {
    return is_refused() ? NULL : __libc_calloc(members, size);
}

void *realloc(void *block, size_t size) {
    return is_refused() ? NULL : __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return is_refused() ? NULL : __libc_memalign(alignment, size);
}

static __attribute__((destructor)) void report(void) {
    const char *path = getenv("REFUSE_REPORT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", (long)asked);
    fclose(file);
}
