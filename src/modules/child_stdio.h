/*
 * What a child process has as stdin, stdout and stderr, and what stays here of it.
 */
#ifndef LILAC_CHILD_STDIO_H
#define LILAC_CHILD_STDIO_H

#include "stream.h"

struct child_end {
    enum child_source {
        FROM_PARENT, /* the same as here */
        FROM_NULL,
        FROM_PIPE,   /* `stream` is the other end */
        FROM_STREAM, /* `stream` is given away */
        FROM_FILE,   /* `fd` is that of a file of io */
        FROM_STDOUT  /* stderr alone: wherever stdout goes */
    } source;
    struct stream *stream;
    int fd;       /* for the child */
    int here;     /* FROM_PIPE: the other end, until the stream has it; else -1 */
    bool is_ours; /* `fd` is to be closed here */
    bool flags_changed;
};

struct child_stdio {
    struct child_end ends[3];
};

/* Reads three values, from `index` on: nil or "inherit", "null", "pipe", "stdout" (the third one
 * alone), a Stream or a file of io. Pushes three: a Stream for "pipe", nil for others. `name` is
 * that of the program; lines of the streams have the limit. Raises for anything else. */
void child_stdio_check(lua_State *L, int index, struct child_stdio *stdio, const char *name,
                       size_t limit);

/* Opens what is needed for ends[].fd. 0 or a libuv code. Plain C, as is the next; that follows in
 * any case. */
int child_stdio_open(struct child_stdio *stdio);

/* Closes here what the child has. When it has not started, everything is as it was before. */
void child_stdio_finish(struct child_stdio *stdio, bool has_started);

#endif
