/*
 * lilac.h: the contract between the scheduler and everything that waits in C. lilac's own modules
 * are its first users; it is also the installed header for extensions.
 *
 * The one rule: Lua runs in one place. A libuv callback stores its result in C memory and calls
 * lilac_wake(); it never pushes, calls or raises. What must be said in Lua is said in the `done`
 * continuation, on the stack of the task that waited.
 *
 * A blocking function does, in this order: check arguments; lilac_checkpoint(); Lua allocations;
 * malloc; the libuv call; `return lilac_park(...)`. Nothing that can raise stands between the
 * malloc and the park, so nothing leaks.
 */
#ifndef LILAC_H
#define LILAC_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define LILAC_VERSION "0.1.0"

/* Raised by one whenever a struct or a contract below changes; see lilac_check_version. */
#define LILAC_ABI 2

#define LILAC_API __attribute__((visibility("default")))

struct task;

/* A place where one task may be parked. Zeroed memory is a place where nobody waits. Embed it in
 * the block that the libuv callback can reach. */
typedef struct lilac_wait {
    struct lilac_wait *next, *prev; /* for wait queues */
    struct task *task;              /* who waits here; NULL: nobody */
} lilac_wait;

/* What a parked task is doing. Static; one per blocking operation. */
typedef struct lilac_op {
    const char *name; /* "stream:read": for dumps, deadlock reports and errors */

    /* Undoes the wait, when the task is cancelled or dropped. Plain C: unlinks the waiter, or
     * detaches the request, which then frees itself in its own callback. Returns true: the task
     * goes on at once, and its cancellation is raised. False: the wait goes on until somebody
     * wakes it (rare: only when something must end first), then `done` runs. May be NULL: nothing
     * to undo. */
    bool (*cancel)(lilac_wait *wait);

    /* Continues after the wake, on the task's own stack, with the arguments of the blocking
     * function where it left them. May raise, and park again. Another task may have closed what
     * was waited for: re-check it from the Lua stack. */
    int (*done)(lua_State *L, lilac_wait *wait);

    /* Writes what is waited for ("queue of 3/3 items", "127.0.0.1:80"); may be NULL. */
    void (*describe)(lilac_wait *wait, char *text, size_t size);

    /* The one task that must go on for this wait to end (a lock's owner, the task awaited), or
     * NULL: the edges in which deadlocks are looked for. May be NULL. */
    struct task *(*holder)(lilac_wait *wait);
} lilac_op;

/* The loop of this state. */
LILAC_API uv_loop_t *lilac_loop(lua_State *L);

/* First act of every blocking function, before anything is armed. Raises when the running task has
 * a cancellation to take, when there is no running task (a callback), and when a C function on the
 * stack forbids to yield (and names it). */
LILAC_API void lilac_checkpoint(lua_State *L);

/* Parks the running task at `wait` until lilac_wake(wait), then runs op->done. Must be the last
 * act: `return lilac_park(L, wait, &op)`. `wait` NULL: the task's own place, for lilac_own_wait().
 * One that parks again, and was cancelled since it was woken, is not woken any more: its wait is
 * undone and the cancellation raised at once. */
LILAC_API int lilac_park(lua_State *L, lilac_wait *wait, const lilac_op *op);

/* The running task's own place, for waits that need no block of their own. It is free whenever the
 * task is not parked. */
LILAC_API lilac_wait *lilac_own_wait(lua_State *L);

/* Makes the task parked at `wait` ready; does nothing when nobody waits there (cancelled,
 * detached). From any libuv callback or C function of the loop's thread. */
LILAC_API void lilac_wake(lilac_wait *wait);

/* Whether a task is parked here. */
static inline bool lilac_waiting(const lilac_wait *wait) {
    return wait->task != NULL;
}

/* Raises InvalidStateError "<what>: task 'a' is at it already (<op>), and task 'b' came second"
 * when somebody is parked at `wait`. For streams and whatever else takes one waiter at a time. */
LILAC_API void lilac_refuse_second(lua_State *L, const lilac_wait *wait, const char *what);

/* Raises the OSError (or its child, DNSError, …) that belongs to the libuv code (negative), with
 * the message "<what>: <reason> (<CODE>)"; `what` is printf-like: "connect %s:%d". Its first word
 * becomes the field `syscall`. Never returns. */
LILAC_API int lilac_raise(lua_State *L, int code, const char *what, ...)
    __attribute__((format(printf, 3, 4)));

/* Raises an error of the named class (API.md §2) with a printf-like message. Never returns. */
LILAC_API int lilac_throw(lua_State *L, const char *class_name, const char *message, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- handles: a box (userdata) that Lua sees, a block (malloc) that libuv sees ------------------
 *
 * The block begins with a lilac_handle, is on the runtime's list, and lives until libuv's close
 * callback at least, and while an open box points to it. Explicit close, <close>, __gc and the
 * shutdown all go through lilac_handle_close(). */

typedef struct lilac_handle lilac_handle;

typedef struct lilac_handle_type {
    const char *name; /* the metatable's name, "lilac.Stream", and what errors call it: "Stream" */
    size_t size;      /* of the whole block, which is zeroed at first */

    /* Called once, when the handle starts to close: wakes whoever waits on it. Plain C. */
    void (*on_close)(lilac_handle *handle);

    /* Called last, when libuv is done with it: frees what it owns. May be NULL. */
    void (*on_free)(lilac_handle *handle);

    /* Asked after on_close: whether something must end before uv_close (what a Stream still has to
     * send); then it is up to the type to call lilac_handle_finish(). May be NULL: nothing ever. */
    bool (*lingers)(lilac_handle *handle);
} lilac_handle_type;

struct lilac_handle {
    lilac_handle *next, *prev; /* the runtime's list of blocks */
    const lilac_handle_type *type;
    uv_handle_t *uv; /* inside the block; NULL until lilac_handle_opened */
    bool has_box;    /* which points here */
    bool closed;
    bool ended; /* libuv is done with it */
};

/* Pushes a new box with its metatable (made by luaL_newmetatable(type->name), with __gc and __close
 * from lilac_handle_metatable) and returns its zeroed block. */
LILAC_API void *lilac_handle_new(lua_State *L, const lilac_handle_type *type);

/* Tells that `uv` (inside the block) was initialised on the loop: from now on the block ends in
 * the close callback of `uv`, before by __gc alone. */
LILAC_API void lilac_handle_opened(lilac_handle *handle, uv_handle_t *uv);

/* The open block at `index`; an argument error for anything else; ClosedError naming `op` when it
 * is closed. */
LILAC_API void *lilac_handle_check(lua_State *L, int index, const lilac_handle_type *type,
                                   const char *op);

/* As lilac_handle_check, but NULL when it is closed. */
LILAC_API void *lilac_handle_test(lua_State *L, int index, const lilac_handle_type *type);

/* Closes the block, once: on_close, then uv_close, unless it lingers. Plain C; twice is fine. */
LILAC_API void lilac_handle_close(lilac_handle *handle);

/* Closes the block of the box at `index`, which lets go of it: what the method "close" does, for a
 * method of that name that does more. The block lives on until libuv's close callback. */
LILAC_API void lilac_handle_release(lua_State *L, int index);

/* Ends the lingering of a closed block: uv_close. Plain C; twice is fine. */
LILAC_API void lilac_handle_finish(lilac_handle *handle);

/* Creates the metatable of `type` with `methods` and `meta` and the __gc, __close, __index and
 * __name that every handle has. `close` is the method "close" and __close. */
LILAC_API void lilac_handle_metatable(lua_State *L, const lilac_handle_type *type,
                                      const luaL_Reg *methods, const luaL_Reg *meta);

/* ---- blocking C in threads ------------------------------------------------------------------- */

/* Runs work(data) in a thread and parks the task until it is over; then done(L, data) runs on
 * the task's stack and returns its number of results. `data` was malloc'ed by the caller; it is
 * freed with `release(data)` (NULL: free) after done has returned or raised, or, when the task was
 * cancelled, as soon as the work is over: it must not point into Lua. Tail call, like lilac_park.
 */
LILAC_API int lilac_work(lua_State *L, void (*work)(void *data),
                         int (*done)(lua_State *L, void *data), void *data,
                         void (*release)(void *data));

/* Raises unless the running lilac has the ABI this was compiled for. First act of a luaopen_. */
#define lilac_check_version(L) lilac_check_abi(L, LILAC_ABI)
LILAC_API void lilac_check_abi(lua_State *L, int abi);

#endif
