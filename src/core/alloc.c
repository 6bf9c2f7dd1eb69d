#include "alloc.h"

#include <lua.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "list.h"

#define ARENA_SIZE 2097152 /* and its alignment */
#define SLAB_SIZE  65536   /* and its alignment, so that a block finds its slab */
#define SLABS      (ARENA_SIZE / SLAB_SIZE)
#define GRAIN      16
#define MAX_BLOCK  2048 /* strings of 1 KiB and their heads, say */
#define CLASSES    (MAX_BLOCK / GRAIN)

/* The pages of the first arenas come as they are touched: a small heap takes no more than it needs.
 * Then a whole slab's are asked for, which is cheaper than a fault for each. Huge pages would spare
 * still more faults, but a virtual machine often has to get them from its host first, and then they
 * take several times as long; the misses of the TLB that they spare were not to be measured. */
#define SMALL_ARENAS 4
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; where it is unknown, pages come as before */
#endif

/* What Lua asks for when it makes a coroutine and runs it: a head, a first stack, and something for
 * each call. Where a Lua has other sizes, they come from the slabs of those. */
#define HEAD_SIZE  208
#define STACK_SIZE 720
#define CALL_SIZE  64
#define CALLS      3 /* a task's trampoline, its function, what that awaits */
#define HEADS      (CLASSES + 1)

struct block {
    struct block *next;
};

/* Stands at the begin of its memory. `link` is in the list of its class while it has free blocks,
 * in the allocator's list of unused slabs while it has no class. */
struct slab {
    struct list link, *class;
    struct block *free;
    char *fresh, *end;             /* blocks that were never used: fresh … end */
    uint32_t used, size;           /* the size of fresh blocks */
    struct coroutines *coroutines; /* it is a slab of coroutines, and this one has their heads */
};

/* The parts of a coroutine are of three sizes, and a task that wakes up needs them all. Each in a
 * slab of its own they would be in as many pages; here they are neighbours, and a task that has
 * slept for long finds them in half the time. So this is three slabs in one, with their free blocks
 * apart; what is fresh is whole coroutines. */
struct coroutines {
    struct slab stacks, calls;
    char *fresh, *end;
};

/* The first slab's place also has the arena's head. */
struct arena {
    struct slab slab;
    struct list link;
    uint32_t unused; /* slabs */
    uint32_t fresh;  /* the first of those whose memory was never touched, which are in no list */
};

struct allocator {
    struct list partial[HEADS + 1]; /* slabs with free blocks, by class */
    struct list unused;             /* slabs that have no class any more */
    struct slab *newest_heads;      /* the slab where coroutines may be fresh, or NULL */
    struct list arenas;
    unsigned arena_count;
    void *offered; /* NULL: none */
    size_t offered_size;
};

struct allocator *allocator_open(void) {
    struct allocator *allocator = calloc(1, sizeof *allocator);
    if (!allocator) return NULL;
    for (int i = 0; i <= HEADS; i++)
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
    allocator->arena_count++;
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
    struct slab *fresh = slab_at(arena, arena->fresh++);
    if (allocator->arena_count > SMALL_ARENAS) madvise(fresh, SLAB_SIZE, MADV_POPULATE_WRITE);
    return fresh;
}

static void slab_init(struct slab *slab, struct list *class) {
    *slab = (struct slab){.class = class};
    list_init(&slab->link);
}

static struct slab *slab_take(struct allocator *allocator, size_t class) {
    struct slab *slab = slab_find(allocator);
    if (!slab) return NULL;
    arena_of(slab)->unused--;
    slab_init(slab, &allocator->partial[class]);
    return slab;
}

/* Where the memory behind the heads begins. */
static char *begin_of(struct slab *slab) {
    struct arena *arena = arena_of(slab);
    return (char *)slab + (slab == &arena->slab ? sizeof *arena : sizeof *slab);
}

/* The memory from `begin` on, as so many blocks of `size` as there is room for. */
static void lay_out(char *begin, size_t size, char **fresh, char **end) {
    char *slab = (char *)slab_of(begin);
    size_t room = SLAB_SIZE - ((size_t)(begin - slab) + GRAIN - 1) / GRAIN * GRAIN;
    *fresh = slab + SLAB_SIZE - room;
    *end = *fresh + room / size * size;
}

static struct slab *slab_new(struct allocator *allocator, size_t class) {
    struct slab *slab = slab_take(allocator, class);
    if (!slab) return NULL;
    slab->size = (uint32_t)(class * GRAIN);
    lay_out(begin_of(slab), slab->size, &slab->fresh, &slab->end);
    list_append(slab->class, &slab->link);
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

static size_t class_of(size_t size) {
    return (size + GRAIN - 1) / GRAIN;
}

static void *allocate(struct allocator *allocator, size_t class) {
    struct list *partial = &allocator->partial[class];
    struct slab *slab = container_of(partial->next, struct slab, link);
    if (list_empty(partial) && !(slab = slab_new(allocator, class))) return NULL;
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

/* Asks for the pages of a large block at once, which is cheaper than a fault for each. */
void allocator_expect(void *block, size_t size) {
    const uintptr_t page = 4096, large = 1048576;
    uintptr_t begin = ((uintptr_t)block + page - 1) & ~(page - 1);
    if (size >= large) madvise((void *)begin, size - page, MADV_POPULATE_WRITE);
}

/* ---- coroutines ------------------------------------------------------------------------------ */

static struct slab *coroutines_new(struct allocator *allocator) {
    struct slab *heads = slab_take(allocator, HEADS);
    if (!heads) return NULL;
    struct coroutines *coroutines = (struct coroutines *)begin_of(heads);
    slab_init(&coroutines->stacks, &allocator->partial[class_of(STACK_SIZE)]);
    slab_init(&coroutines->calls, &allocator->partial[class_of(CALL_SIZE)]);
    lay_out((char *)(coroutines + 1), HEAD_SIZE + STACK_SIZE + CALLS * CALL_SIZE,
            &coroutines->fresh, &coroutines->end);
    heads->coroutines = coroutines;
    return allocator->newest_heads = heads;
}

/* Puts a block before all others of its class. */
static void put_first(struct slab *slab, char *memory) {
    struct block *block = (struct block *)memory;
    block->next = slab->free;
    slab->free = block;
    list_unlink(&slab->link);
    list_append(slab->class->next, &slab->link);
}

/* Provides the parts of a new coroutine, for this request and those that Lua is about to make. */
static bool coroutine_new(struct allocator *allocator) {
    struct slab *heads = allocator->newest_heads;
    bool used_up = !heads || heads->coroutines->fresh == heads->coroutines->end;
    if (used_up && !(heads = coroutines_new(allocator))) return false;
    struct coroutines *coroutines = heads->coroutines;
    char *calls = coroutines->fresh, *head = calls + CALLS * CALL_SIZE, *stack = head + HEAD_SIZE;
    put_first(heads, head);
    put_first(&coroutines->stacks, stack);
    for (int i = CALLS; i-- > 0;)
        put_first(&coroutines->calls, calls + (ptrdiff_t)i * CALL_SIZE);
    coroutines->fresh = stack + STACK_SIZE;
    return true;
}

static void *allocate_head(struct allocator *allocator) {
    bool is_there = !list_empty(&allocator->partial[HEADS]) || coroutine_new(allocator);
    return is_there ? allocate(allocator, HEADS) : NULL;
}

/* Its calls, its head, and the first ten values of its stack, which run first. */
void allocator_prefetch(const lua_State *co) {
    const char *calls = (const char *)co - LUA_EXTRASPACE - CALLS * CALL_SIZE;
    prefetch(calls, CALLS * CALL_SIZE + HEAD_SIZE + 160);
}

static struct slab *part_of(struct slab *heads, size_t size) {
    if (size <= CALL_SIZE) return &heads->coroutines->calls;
    return size <= HEAD_SIZE ? heads : &heads->coroutines->stacks;
}

/* One of the three has no block in use any more: gives the slab when that is so of all. */
static void coroutines_give(struct allocator *allocator, struct slab *heads) {
    struct slab *stacks = &heads->coroutines->stacks, *calls = &heads->coroutines->calls;
    if (heads->used + stacks->used + calls->used > 0) return;
    if (allocator->newest_heads == heads) allocator->newest_heads = NULL;
    list_unlink(&stacks->link);
    list_unlink(&calls->link);
    slab_give(allocator, heads);
}

static void release(struct allocator *allocator, void *memory, size_t size) {
    struct slab *whole = slab_of(memory);
    struct slab *slab = whole->coroutines ? part_of(whole, size) : whole;
    struct block *block = memory;
    if (is_full(slab)) list_append(slab->class->next, &slab->link); /* to the front: it is warm */
    block->next = slab->free;
    slab->free = block;
    if (--slab->used > 0) return;
    if (whole->coroutines)
        coroutines_give(allocator, whole);
    else
        slab_give(allocator, slab);
}

/* Whatever is neither an allocation nor a release of a small block; out of their way. */
static __attribute__((noinline)) void *resize(struct allocator *allocator, void *block,
                                              size_t old_size, size_t new_size) {
    bool was_small = block && old_size <= MAX_BLOCK, is_small = new_size <= MAX_BLOCK;
    void *offered = block ? NULL : take_offered(allocator, new_size);
    if (offered) return offered;
    if (!was_small && !is_small) return realloc(block, new_size);
    if (was_small && is_small && class_of(old_size) == class_of(new_size)) return block;
    void *moved = is_small ? allocate(allocator, class_of(new_size)) : malloc(new_size);
    if (!moved) return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    if (was_small)
        release(allocator, block, old_size);
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
            release(ud, block, old_size);
        else
            free(block);
        return NULL;
    }
    if (!block && old_size == LUA_TTHREAD && new_size == HEAD_SIZE) return allocate_head(ud);
    if (!block && new_size <= MAX_BLOCK) return allocate(ud, class_of(new_size));
    return resize(ud, block, old_size, new_size);
}
