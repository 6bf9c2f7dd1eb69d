/*
 * The transports of stdin, stdout and stderr, which other processes have too: what one does to the
 * open file of a descriptor, such as making it non-blocking, it does to all of them. So nothing of
 * the kind is done to it, and nothing has to be undone, however lilac ends.
 *
 * A stream has a descriptor of its own, and goes one way. Closing it leaves descriptors 0 to 2 as
 * they are; shutting it down gives them up.
 */
#ifndef LILAC_STANDARD_H
#define LILAC_STANDARD_H

#include "stream.h"

struct runtime;

/* The longest line that is read: there is nobody at the other end who would attack. */
enum { STANDARD_LIMIT = 1024 * 1024 };

/* The first member of what a transport owns. */
struct standard {
    int number; /* 0, 1 or 2 */
    int fd;     /* of the stream alone; -1: none */
    const struct runtime *runtime;
};

/* Pushes a stream: over a terminal, pipe or socket, by polling (standard_poll.c); over a file or
 * whatever else cannot be polled (standard_file.c). */
struct stream *standard_poll_new(lua_State *L, int number);
struct stream *standard_file_new(lua_State *L, int number);

/* ---- what the transports share: standard.c --------------------------------------------------- */

void standard_init(lua_State *L, struct standard *standard, int number);

/* Puts what `print` has written before what a stream is about to write. */
void standard_flush_stdio(const struct standard *standard);

/* Whether a write that failed is none of the program's business: nobody reads stdout any more, and
 * that ends it as it does any filter. */
bool standard_forgives(const struct standard *standard, int status);

/* Gives up the descriptor and the number, which fail from then on as closed ones do. 0 or a libuv
 * code. */
int standard_give_up(struct standard *standard);

/* Operations of a stream. */
int standard_descriptor(const struct stream *stream);
int standard_name(lua_State *L, struct stream *stream);
void standard_subject(const struct stream *stream, char *text, size_t size);

#endif
