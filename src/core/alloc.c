#include "alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "list.h"

#define ARENA_SIZE   2097152 /* a huge page, and its alignment */
#define SLAB_SIZE    65536   /* and its alignment, so that a block finds its slab */
#define SLABS        (ARENA_SIZE / SLAB_SIZE)
#define GRAIN        16
#define MAX_BLOCK    2048 /* strings of 1 KiB and their heads, say */
#define CLASSES      (MAX_BLOCK / GRAIN)
#define SMALL_ARENAS 4 /* of ordinary pages; later ones are huge pages, with few page faults */

struct block {
    struct block *next;
};

/* Stands at the begin of its memory. `link` is in the list of its class while it has free blocks,
 * in the allocator's list of unused slabs while it has no class. */
struct slab {
    struct list link;
    struct block *free;
    char *fresh, *end; /* blocks that were never used: fresh … end */
    uint32_t used, size;
};

/* The first slab's place also has the arena's head. */
struct arena {
    struct slab slab;
    struct list link;
    uint32_t unused; /* slabs */
    uint32_t fresh;  /* the first of those whose memory was never touched, which are in no list */
};

struct allocator {
    struct list partial[CLASSES + 1]; /* slabs with free blocks, by class */
    struct list unused;               /* slabs that have no class any more */
    struct list arenas;
    unsigned arena_count;
    void *offered; /* NULL: none */
    size_t offered_size;
};

struct allocator *allocator_open(void) {
    struct allocator *allocator = calloc(1, sizeof *allocator);
    if (!allocator) return NULL;
    for (int i = 0; i <= CLASSES; i++)
        list_init(&allocator->partial[i]);
    list_init(&allocator->unused);
    list_init(&allocator->arenas);
    return allocator;
}

void allocator_close(struct allocator *allocator) {
    struct list *link;
    while ((link = list_shift(&allocator->arenas)))
        munmap(container_of(link, struct arena, link), ARENA_SIZE);
    free(allocator->offered);
    free(allocator);
}

void allocator_offer(struct allocator *allocator, void *block, size_t size) {
    free(allocator->offered);
    allocator->offered = block;
    allocator->offered_size = size;
}

static void *take_offered(struct allocator *allocator, size_t size) {
    if (!allocator->offered || allocator->offered_size != size) return NULL;
    void *block = allocator->offered;
    allocator->offered = NULL;
    return block;
}

static struct arena *arena_of(const void *memory) {
    return (struct arena *)((uintptr_t)memory & ~(uintptr_t)(ARENA_SIZE - 1));
}

static struct slab *slab_of(const void *memory) {
    return (struct slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_SIZE - 1));
}

/* Fresh pages at an aligned address: mostly those below the last arena; else the aligned part of
 * twice as many. */
static void *map_arena(void) {
    const int access = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *pages = mmap(NULL, ARENA_SIZE, access, flags, -1, 0);
    if (pages == MAP_FAILED) return NULL;
    if ((uintptr_t)pages % ARENA_SIZE == 0) return pages;
    munmap(pages, ARENA_SIZE);
    pages = mmap(NULL, 2ul * ARENA_SIZE, access, flags, -1, 0);
    if (pages == MAP_FAILED) return NULL;
    size_t before = (ARENA_SIZE - (uintptr_t)pages % ARENA_SIZE) % ARENA_SIZE;
    if (before > 0) munmap(pages, before);
    munmap(pages + before + ARENA_SIZE, ARENA_SIZE - before);
    return pages + before;
}

static struct slab *slab_at(struct arena *arena, uint32_t i) {
    return (struct slab *)((char *)arena + (size_t)i * SLAB_SIZE);
}

static bool arena_new(struct allocator *allocator) {
    struct arena *arena = map_arena();
    if (!arena) return false;
    if (allocator->arena_count++ >= SMALL_ARENAS) madvise(arena, ARENA_SIZE, MADV_HUGEPAGE);
    list_append(&allocator->arenas, &arena->link);
    arena->unused = SLABS;
    arena->fresh = 0;
    return true;
}

/* Returns an arena without a block in use, unless there are few: a heap that breathes would have it
 * mapped again soon, and each time all threads of the process pay for that. */
static void arena_free(struct allocator *allocator, struct arena *arena) {
    if (allocator->arena_count <= SMALL_ARENAS) return;
    for (uint32_t i = 0; i < arena->fresh; i++)
        list_unlink(&slab_at(arena, i)->link);
    list_unlink(&arena->link);
    allocator->arena_count--;
    munmap(arena, ARENA_SIZE);
}

/* A slab without a class: a used one, or the next of the newest arena. Older arenas have no fresh
 * ones. */
static struct slab *slab_find(struct allocator *allocator) {
    struct list *used = list_shift(&allocator->unused), *newest = allocator->arenas.prev;
    if (used) return container_of(used, struct slab, link);
    if (newest == &allocator->arenas || container_of(newest, struct arena, link)->fresh == SLABS) {
        if (!arena_new(allocator)) return NULL;
        newest = allocator->arenas.prev;
    }
    struct arena *arena = container_of(newest, struct arena, link);
    return slab_at(arena, arena->fresh++);
}

static struct slab *slab_take(struct allocator *allocator, size_t class) {
    struct slab *slab = slab_find(allocator);
    if (!slab) return NULL;
    struct arena *arena = arena_of(slab);
    size_t head = slab == &arena->slab ? sizeof(struct arena) : sizeof(struct slab);
    size_t size = class * GRAIN, room = SLAB_SIZE - (head + GRAIN - 1) / GRAIN * GRAIN;
    arena->unused--;
    slab->free = NULL;
    slab->fresh = (char *)slab + SLAB_SIZE - room;
    slab->end = slab->fresh + room / size * size;
    slab->used = 0;
    slab->size = (uint32_t)size;
    list_append(&allocator->partial[class], &slab->link);
    return slab;
}

static void slab_give(struct allocator *allocator, struct slab *slab) {
    struct arena *arena = arena_of(slab);
    list_unlink(&slab->link);
    list_append(&allocator->unused, &slab->link);
    if (++arena->unused == SLABS) arena_free(allocator, arena);
}

static bool is_full(const struct slab *slab) {
    return !slab->free && slab->fresh == slab->end;
}

static void *allocate(struct allocator *allocator, size_t size) {
    size_t class = (size + GRAIN - 1) / GRAIN;
    struct list *partial = &allocator->partial[class];
    struct slab *slab = container_of(partial->next, struct slab, link);
    if (list_empty(partial) && !(slab = slab_take(allocator, class))) return NULL;
    struct block *block = slab->free;
    slab->used++;
    if (block) {
        slab->free = block->next;
    } else {
        block = (struct block *)slab->fresh;
        slab->fresh += slab->size;
    }
    if (is_full(slab)) list_unlink(&slab->link);
    return block;
}

static void release(struct allocator *allocator, void *memory) {
    struct slab *slab = slab_of(memory);
    struct block *block = memory;
    if (is_full(slab)) {
        struct list *partial = &allocator->partial[slab->size / GRAIN];
        list_append(partial->next, &slab->link); /* to the front: it is warm */
    }
    block->next = slab->free;
    slab->free = block;
    if (--slab->used == 0) slab_give(allocator, slab);
}

/* Whatever is neither an allocation nor a release of a small block; out of their way. */
static __attribute__((noinline)) void *resize(struct allocator *allocator, void *block,
                                              size_t old_size, size_t new_size) {
    bool was_small = block && old_size <= MAX_BLOCK, is_small = new_size <= MAX_BLOCK;
    void *offered = block ? NULL : take_offered(allocator, new_size);
    if (offered) return offered;
    if (!was_small && !is_small) return realloc(block, new_size);
    if (was_small && is_small && (old_size + GRAIN - 1) / GRAIN == (new_size + GRAIN - 1) / GRAIN)
        return block;
    void *moved = is_small ? allocate(allocator, new_size) : malloc(new_size);
    if (!moved) return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    if (was_small)
        release(allocator, block);
    else
        free(block);
    return moved;
}

void *allocator_realloc(void *ud, void *block, size_t old_size, size_t new_size) {
#ifdef LILAC_PLAIN_MALLOC /* for tools that watch malloc */
    void *offered = block ? NULL : take_offered(ud, new_size);
    if (offered || new_size > 0) return offered ? offered : realloc(block, new_size);
    free(block);
    return NULL;
#endif
    if (new_size == 0) {
        if (block && old_size <= MAX_BLOCK)
            release(ud, block);
        else
            free(block);
        return NULL;
    }
    if (!block && new_size <= MAX_BLOCK) return allocate(ud, new_size);
    return resize(ud, block, old_size, new_size);
}
