/*
 * Starting a program, with nothing of this process but what it is given: no other descriptors, no
 * ignored or blocked signals.
 */
#ifndef LILAC_LAUNCH_H
#define LILAC_LAUNCH_H

#include <limits.h>
#include <sys/types.h>

#include "../lilac.h"

struct launch {
    char **argv;
    char **env;      /* NULL: this process's own */
    const char *cwd; /* NULL: this process's own */
    int fds[3];      /* what become its descriptors 0 to 2 */
    bool has_group;  /* it leads a session, and so a process group, of its own */

    char path[PATH_MAX]; /* of the program */
    const char *culprit; /* of a failure; NULL: the program itself */
};

/* Starts the program, which runs from the return on. Returns its process id or a libuv code, and
 * then says in `culprit` what that is about. Blocks until the program has begun. Plain C. */
pid_t launch_program(struct launch *launch);

#endif
