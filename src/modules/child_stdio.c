/*
 * Pipes are real ones and not the socket pairs of libuv: a program may open /dev/stderr, and does.
 * A child's end blocks, as programs expect; a stream that is given away is made to.
 */
#include "child_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pipe.h"

static const char *const end_names[] = {"stdin", "stdout", "stderr"};

/* ---- what is asked for ----------------------------------------------------------------------- */

static int refuse_end(lua_State *L, int arg, int i, const char *what) {
    return luaL_argerror(L, arg, lua_pushfstring(L, "%s: %s", end_names[i], what));
}

/* A Stream has to be at rest, and to have nothing that the child would miss. */
static void check_stream(lua_State *L, int arg, int i, struct child_end *end) {
    struct stream *stream = lilac_handle_test(L, arg, &stream_type);
    if (!stream) refuse_end(L, arg, i, "the Stream is closed");
    if (!stream->ops->descriptor || stream->ops->descriptor(stream) < 0)
        refuse_end(L, arg, i, "this Stream is no descriptor of the system: connect it by a pipe");
    if (lilac_waiting(&stream->reader)) refuse_end(L, arg, i, "a task reads this Stream");
    if (stream->received.size > 0)
        refuse_end(L, arg, i,
                   "something was read ahead from this Stream, which a process would miss");
    stream_uncork(stream);
    if (stream->accepted > stream->sent)
        refuse_end(L, arg, i, "this Stream has something to send: flush it before");
    end->source = FROM_STREAM;
    end->stream = stream;
}

static void check_file(lua_State *L, int arg, int i, struct child_end *end) {
    luaL_Stream *file = lua_touserdata(L, arg);
    if (!file->closef) refuse_end(L, arg, i, "the file is closed");
    fflush(file->f);
    end->source = FROM_FILE;
    end->fd = fileno(file->f);
}

static void check_word(lua_State *L, int arg, int i, struct child_end *end) {
    const char *word = lua_tostring(L, arg);
    if (strcmp(word, "inherit") == 0)
        end->source = FROM_PARENT;
    else if (strcmp(word, "null") == 0)
        end->source = FROM_NULL;
    else if (strcmp(word, "pipe") == 0)
        end->source = FROM_PIPE;
    else if (strcmp(word, "stdout") == 0 && i == STDERR_FILENO)
        end->source = FROM_STDOUT;
    else
        refuse_end(L, arg, i,
                   lua_pushfstring(L,
                                   "'inherit', 'null', 'pipe'%s, a Stream or a file expected, got "
                                   "'%s'",
                                   i == STDERR_FILENO ? ", 'stdout'" : "", word));
}

static void check_end(lua_State *L, int arg, int i, struct child_end *end) {
    *end = (struct child_end){.source = FROM_PARENT, .here = -1};
    if (lua_isnoneornil(L, arg)) return;
    if (lua_type(L, arg) == LUA_TSTRING)
        check_word(L, arg, i, end);
    else if (luaL_testudata(L, arg, LUA_FILEHANDLE))
        check_file(L, arg, i, end);
    else if (luaL_testudata(L, arg, stream_type.name))
        check_stream(L, arg, i, end);
    else
        refuse_end(L, arg, i,
                   lua_pushfstring(L,
                                   "'inherit', 'null', 'pipe', a Stream or a file expected, got %s",
                                   luaL_typename(L, arg)));
}

void child_stdio_check(lua_State *L, int index, struct child_stdio *stdio, const char *name,
                       size_t limit) {
    char subject[100];
    for (int i = 0; i < 3; i++)
        check_end(L, index + i, i, &stdio->ends[i]);
    for (int i = 0; i < 3; i++) {
        if (stdio->ends[i].source != FROM_PIPE) {
            lua_pushnil(L);
            continue;
        }
        snprintf(subject, sizeof subject, "%s of %s", end_names[i], name);
        stdio->ends[i].stream = pipe_new(L, subject, limit);
    }
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* The child's end of a pipe is the reading one of its stdin, else the writing one. */
static int open_pipe(struct child_end *end, bool is_stdin) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return uv_translate_sys_error(errno);
    end->fd = fds[is_stdin ? 0 : 1];
    end->here = fds[is_stdin ? 1 : 0];
    end->is_ours = true;
    return 0;
}

/* Who reads or writes it next does not expect EAGAIN. */
static int take_stream(struct child_end *end) {
    end->fd = end->stream->ops->descriptor(end->stream);
    int flags = fcntl(end->fd, F_GETFL);
    if (!(flags & O_NONBLOCK) || end->fd <= STDERR_FILENO) return 0;
    fcntl(end->fd, F_SETFL, flags & ~O_NONBLOCK);
    end->flags_changed = true;
    return 0;
}

static int open_end(struct child_stdio *stdio, int i) {
    struct child_end *end = &stdio->ends[i];
    switch (end->source) {
    case FROM_PARENT: end->fd = i; break;
    case FROM_NULL:
        end->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (end->fd < 0) return uv_translate_sys_error(errno);
        end->is_ours = true;
        break;
    case FROM_PIPE: return open_pipe(end, i == STDIN_FILENO);
    case FROM_STREAM: return take_stream(end);
    case FROM_FILE: break;
    case FROM_STDOUT: end->fd = stdio->ends[STDOUT_FILENO].fd; break;
    }
    return 0;
}

/* In the child each one is put into its place in turn: none may stand in the place of another. */
static int move_away(struct child_end *end, int i) {
    if (end->fd == i || end->fd > STDERR_FILENO) return 0;
    int fd = fcntl(end->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0) return uv_translate_sys_error(errno);
    end->fd = fd;
    end->is_ours = true;
    return 0;
}

int child_stdio_open(struct child_stdio *stdio) {
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++)
        status = open_end(stdio, i);
    for (int i = 0; i < 3 && status == 0; i++)
        status = move_away(&stdio->ends[i], i);
    return status;
}

static void finish_end(struct child_end *end, bool has_started) {
    if (end->is_ours) close(end->fd);
    if (end->source == FROM_PIPE && end->here >= 0) {
        if (!has_started || pipe_open(end->stream, end->here) != 0) close(end->here);
    }
    if (end->source != FROM_STREAM) return;
    if (has_started && end->fd > STDERR_FILENO && !end->is_ours) {
        end->stream->is_given_away = true;
        lilac_handle_close(&end->stream->handle);
    } else if (end->flags_changed)
        fcntl(end->fd, F_SETFL, fcntl(end->fd, F_GETFL) | O_NONBLOCK);
}

void child_stdio_finish(struct child_stdio *stdio, bool has_started) {
    for (int i = 0; i < 3; i++)
        finish_end(&stdio->ends[i], has_started);
}
