/*
 * What the files of a stream share: stream.c, stream_read.c, stream_write.c. Transports see
 * stream.h alone.
 */
#ifndef LILAC_STREAM_HALVES_H
#define LILAC_STREAM_HALVES_H

#include "stream_filter.h"

enum { STREAM_SUBJECT = 128 }; /* bytes of text, for ops->subject */

/* The open stream at 1; ClosedError naming `op` when it is closed. */
struct stream *stream_check(lua_State *L, const char *op);

/* Raises "read 127.0.0.1:80: connection reset by peer (ECONNRESET)". */
int stream_raise(lua_State *L, const struct stream *stream, const char *op, int status);

/* ---- stream_read.c --------------------------------------------------------------------------- */

void stream_guess_init(struct stream *stream);
int stream_read(lua_State *L);
int stream_read_some(lua_State *L);
int stream_read_exactly(lua_State *L);
int stream_read_until(lua_State *L);
int stream_lines(lua_State *L);

/* ---- stream_write.c -------------------------------------------------------------------------- */

void stream_cork_init(struct stream *stream);

int stream_write(lua_State *L);
int stream_flush(lua_State *L);
int stream_shutdown(lua_State *L);

/* ---- stream_linger.c ------------------------------------------------------------------------- */

/* The stream is closed: whether anything is to be done before it ends. Plain C. */
bool stream_lingers(lilac_handle *handle);

/* The stream is about to be freed. */
void stream_linger_free(struct stream *stream);

#endif
