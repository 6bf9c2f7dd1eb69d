/*
 * An operation on the file system: blocking C that runs in libuv's pool and is awaited, in one trip
 * however many system calls it makes. Whoever comes last frees it, the pool or the task. A task
 * that is cancelled goes on at once; what its request then still opens or makes is undone.
 */
#ifndef LILAC_REQUEST_H
#define LILAC_REQUEST_H

#include <stdatomic.h>

#include "../core/buffer.h"
#include "../lilac.h"

struct request;

/* Static; one per operation. */
struct request_op {
    lilac_op wait; /* first; see REQUEST_WAIT */

    /* In a thread of the pool: does it all, and sets `status`. What takes long looks at
     * request_is_left() now and then, and stops with UV_ECANCELED. */
    void (*run)(struct request *request);

    /* Pushes the results of a success and returns their number; may raise. NULL: no results. What
     * it takes out of the request (an fd) is its own. */
    int (*push)(lua_State *L, struct request *request);

    /* In a thread of the pool: takes back a success whose task has left. NULL: nothing to do. */
    void (*undo)(struct request *request);
};

/* The first member of an operation called "fs:stat". */
#define REQUEST_WAIT(name_)                                                                        \
    {                                                                                              \
        .name = "fs:" name_, .cancel = request_cancel, .done = request_done,                       \
        .describe = request_describe                                                               \
    }

/* One struct for all of them: each uses what it needs. */
struct request {
    uv_work_t work;
    lilac_wait wait;
    const struct request_op *op;
    atomic_bool left; /* the task gave up */

    char *path;  /* may be changed in place by run(): mkdtemp */
    char *other; /* the second path of rename and the like, or NULL */

    int mode;               /* permissions; of access: which */
    unsigned options;       /* bits of the operation's own */
    bool answer;            /* of a question */
    int64_t size;           /* a limit, a length */
    struct timespec set[2]; /* utime: of access, of change */
    struct buffer data;     /* to write, or what was read */

    int status; /* of the whole: not negative, or a libuv code */
    int fd;     /* -1 unless run() has opened it */
    uv_stat_t stat;
};

/* ---- for the Lua functions ------------------------------------------------------------------- */

/* A path; one with a zero byte is refused, not cut. */
const char *request_check_path(lua_State *L, int arg);

/* Permissions: an integer up to 07777, or a string of octal digits ("644"), as Lua has no octal
 * numbers. -1 for nil. */
int request_check_mode(lua_State *L, int arg);

/* The option of that name, likewise; -1 where it is absent. */
int request_option_mode(lua_State *L, int arg, const char *name);

/* Pushes the template of a temporary name, for mkdtemp(3), from the options `dir` and `prefix` at
 * `arg`; for mkostemps(3) `suffix` too, whose size is told. */
const char *request_push_template(lua_State *L, int arg, int *suffix_size);

/* Passes lilac_checkpoint and makes a request with copies of the paths; `other` may be NULL. Then
 * nothing that raises may come before request_park. */
struct request *request_new(lua_State *L, const struct request_op *op, const char *path,
                            const char *other);

/* Sends it to the pool and parks the task. Tail call. */
int request_park(lua_State *L, struct request *request);

/* Frees a request that was not parked, when its task must raise something first. */
void request_free(struct request *request);

/* Members of every operation. */
bool request_cancel(lilac_wait *wait);
int request_done(lua_State *L, lilac_wait *wait);
void request_describe(lilac_wait *wait, char *text, size_t size);

/* Pushes "stat: /path" for the system error `status`, and raises it; its field `path` is set. `op`
 * is "fs:stat", "file:read", … */
int request_raise(lua_State *L, int status, const char *op, const char *path, const char *other);

/* "file", "directory", …: the type that permissions tell as well. */
const char *request_type(uint64_t mode);

/* Pushes what stat() returns, a table; returns 1. */
int request_push_stat(lua_State *L, const uv_stat_t *stat);

/* ---- for the functions in the pool ----------------------------------------------------------- */

/* Whether the task has given up, and what is done is done for nobody. */
static inline bool request_is_left(const struct request *request) {
    return atomic_load_explicit(&request->left, memory_order_relaxed);
}

/* What a system call has returned: as it is, or the libuv code of its error. */
int request_result(int64_t result);

/* To be called by a thread before it writes: a file that outgrows the limit of the process is an
 * error then (EFBIG), and no signal. */
void request_block_signals(void);

/* As open(2); blocks on nothing but the disk: the other end of a FIFO need not be there. */
int request_open(const char *path, int flags, int mode);

#endif
