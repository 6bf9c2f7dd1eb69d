/*
 * Streams over a uv_pipe_t: pipes, Unix sockets, and what connects a child process.
 */
#ifndef LILAC_PIPE_H
#define LILAC_PIPE_H

#include "stream.h"

/* Pushes a new Stream whose uv_pipe_t is initialised on the loop, and connected to nothing: for
 * pipe_open, or for uv_spawn with UV_CREATE_PIPE and &stream->uv.stream. Errors call it `subject`,
 * which is copied ("stdin of cat", "/run/app.sock"); its end is cut off when it is long. `limit` is
 * STREAM_LIMIT, or what the user asked for. Raises when memory is short; after that the stream is
 * closed like any other, also when it never gets open. */
struct stream *pipe_new(lua_State *L, const char *subject, size_t limit);

/* Makes the stream read and write a pipe or a connected socket, as far as that is open for it; then
 * the descriptor belongs to the stream. 0 or a libuv code. Plain C. */
int pipe_open(struct stream *stream, int fd);

#endif
