/*
 * File objects: an open file, its buffers, and the one job in the pool that may be going on for it.
 *
 * The operations on a file take turns, in the order of their coming; whoever has the turn may wait
 * for the end of a job. Jobs are also done for nobody: reading ahead, writing behind, and what a
 * cancelled task has left. Their results go to the file's buffers, so that nothing is lost.
 */
#ifndef LILAC_FILE_H
#define LILAC_FILE_H

#include "../core/buffer.h"
#include "../core/waitq.h"
#include "../lilac.h"

struct file;
struct file_job;

/* What the pool can do with a file. Static. */
struct file_job_type {
    void (*run)(struct file_job *job); /* in a thread of the pool: sees the job, and not the file */
    void (*over)(struct file *file);   /* on the loop; plain C */
    int poll_events;                   /* what to wait for first, where the file can be polled */
};

/* Outlives its file, when the program ends in the middle of it. */
struct file_job {
    uv_work_t work;
    struct file *file;                /* NULL: it is gone */
    const struct file_job_type *type; /* what is going on; NULL: nothing */
    bool in_pool;                     /* rather than being polled for */
    int fd;
    bool seekable, appends;
    int64_t at;         /* where to read or write; the size to cut the file to */
    size_t wanted;      /* how much to read */
    struct buffer data; /* what was read, or is being written */
    int status;         /* 0 or a libuv code */
    int64_t result;     /* a position, or how much was written */
    uv_stat_t stat;
};

struct file {
    lilac_handle handle; /* first */
    union {
        uv_handle_t any;
        uv_poll_t poll; /* of FIFOs, terminals and the like; */
        uv_idle_t idle; /* others need no handle, but have one to be closed by */
    } uv;
    char *path;
    bool readable, writable, polled;
    struct file_job *job;
    int64_t position; /* of what is read or written next; everything buffered is behind it, or
                         before it */

    struct waitq turns; /* operations that wait for their turn */
    bool taken;         /* somebody has it, … */
    lilac_wait waiter;  /* … and may wait here for the end of a job */
    lilac_wait closer;
    int last_fd; /* to be closed at the very end; -1: none */
    int stage;   /* of the operation that has the turn: 0 at its beginning */

    struct buffer received; /* begins at the position */
    struct buffer ahead;    /* goes on where `received` ends */
    size_t chunk;           /* to read at once; grows while the file is read in order */
    bool was_full;          /* so there may be more: worth reading ahead */
    bool is_stale;          /* what is being read is not wanted any more */
    struct {
        int next;       /* the format to be answered */
        size_t taken;   /* so many bytes answer those before it */
        size_t scanned; /* so many bytes after them hold no newline */
        bool asked;     /* it has had something read for itself, … */
        bool ended;     /* … and there was nothing more */
    } read;

    struct buffer queued; /* ends at the position; what is being written ends where it begins */
    enum file_buffering { BUFFER_FULL, BUFFER_LINE, BUFFER_NONE } buffering;
    size_t room;      /* so much may be queued */
    int write_status; /* of what was written behind; raised once */
};

extern const lilac_handle_type file_type;

/* An operation. Static. */
struct file_op {
    lilac_op wait; /* first: waits for a job */
    lilac_op turn; /* waits for its turn */

    /* Has the turn: goes on until there is something to wait for (file_wait), or leaves
     * (file_leave) and then returns or raises. [file, arguments…, the operation] */
    int (*go)(lua_State *L, struct file *file);

    /* For file_go_through: what the pool does for it, and then the results. */
    const struct file_job_type *job;
    int (*push)(lua_State *L, struct file *file);
};

#define FILE_OP(name_, go_)                                                                        \
    .wait = {.name = "file:" name_,                                                                \
             .cancel = file_wait_cancel,                                                           \
             .done = file_wait_done,                                                               \
             .describe = file_wait_describe},                                                      \
    .turn = {.name = "file:" name_, .cancel = waitq_cancel, .done = file_turn_done}, .go = go_

bool file_wait_cancel(lilac_wait *wait);
int file_wait_done(lua_State *L, lilac_wait *wait);
void file_wait_describe(lilac_wait *wait, char *text, size_t size);
int file_turn_done(lua_State *L, lilac_wait *wait);

/* Makes the metatable of Files, unless it is there: for every luaopen_ of those that push some. */
void file_prepare(lua_State *L);

/* What is to be made a File: an open descriptor, and how it was opened. */
struct file_source {
    int fd;
    const char *path;
    bool readable, writable, appends;
    bool seekable;    /* a regular file, or a disk */
    int64_t position; /* where it begins */
};

/* Pushes a new File, which owns the descriptor from here on: when it raises, it does not. */
void file_push(lua_State *L, const struct file_source *source);

/* The open file at 1; ClosedError otherwise. `op` is "read". */
struct file *file_check(lua_State *L, const char *op);

/* Takes the turn for an operation, or parks until it comes. Its arguments are on the stack, the
 * file at 1, which may have been closed since they were looked at. Passes lilac_checkpoint. Tail
 * call. */
int file_begin(lua_State *L, const struct file_op *op);

/* Waits for the end of the job that is going on. Tail call. */
int file_wait(lua_State *L, struct file *file);

/* Hands the turn to the next. */
void file_leave(struct file *file);

/* Leaves, and raises the system error. */
int file_fail(lua_State *L, struct file *file, int status);

/* The error of what was written behind, which is then forgotten; 0: none. */
int file_take_write_status(struct file *file);

/* Starts a job; none is going on. */
void file_start(struct file *file, const struct file_job_type *type);

/* Whether all is written; otherwise a job is going on that helps to it. */
bool file_flushed(struct file *file);

/* The `go` of operations that let all be written and then have one job. */
int file_go_through(lua_State *L, struct file *file);

/* Forgets what was read and not taken. */
void file_discard_received(struct file *file);

/* ---- methods: file_read.c and file_write.c --------------------------------------------------- */

enum { FILE_ROOM = 64 * 1024 };

int file_lines(lua_State *L);
int file_read(lua_State *L);
int file_setvbuf(lua_State *L);
int file_write(lua_State *L);

#endif
