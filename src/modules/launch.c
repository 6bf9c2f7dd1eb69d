/*
 * posix_spawn and not uv_spawn, which forks: copying the page tables of a big process takes
 * milliseconds, and descriptors that are not close-on-exec (those of io.open) would be inherited.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/bin:/bin:/usr/bin"

/* The PATH that the program will see. */
static const char *search_path(const struct launch *launch) {
    const char *path = NULL;
    if (!launch->env) path = getenv("PATH");
    for (char **entry = launch->env; entry && *entry; entry++)
        if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
    return path ? path : DEFAULT_PATH;
}

static bool is_program(const char *path) {
    struct stat type;
    return stat(path, &type) == 0 && S_ISREG(type.st_mode) && access(path, X_OK) == 0;
}

/* Finds the program in the PATH, unless its name is a path already. 0 or an errno. */
static int find_program(struct launch *launch) {
    const char *name = launch->argv[0];
    int failure = ENOENT;
    if (strchr(name, '/') || *name == '\0') {
        int length = snprintf(launch->path, sizeof launch->path, "%s", name);
        return length < (int)sizeof launch->path ? 0 : ENAMETOOLONG;
    }
    for (const char *from = search_path(launch), *to; from; from = *to ? to + 1 : NULL) {
        to = from + strcspn(from, ":");
        int length = snprintf(launch->path, sizeof launch->path, "%.*s%s%s", (int)(to - from), from,
                              to > from ? "/" : "", name);
        if (length >= (int)sizeof launch->path) continue;
        if (is_program(launch->path)) return 0;
        if (access(launch->path, F_OK) == 0) failure = EACCES;
    }
    launch->culprit = failure == ENOENT ? "not found in PATH" : "found in PATH, but no program";
    return failure;
}

/* What is wrong with the working directory: 0 or an errno. */
static int check_cwd(const char *cwd) {
    struct stat type;
    if (stat(cwd, &type) != 0) return errno;
    if (!S_ISDIR(type.st_mode)) return ENOTDIR;
    return access(cwd, X_OK) == 0 ? 0 : errno;
}

/* Whether the program is there, as seen from where it would run. */
static bool exists(const struct launch *launch) {
    int from = launch->cwd ? open(launch->cwd, O_PATH | O_CLOEXEC) : AT_FDCWD;
    bool found = faccessat(from, launch->path, F_OK, 0) == 0;
    if (from >= 0) close(from);
    return found;
}

/* posix_spawn gives one number for whatever went wrong. */
static int explain(struct launch *launch, int failure) {
    int about_cwd = launch->cwd ? check_cwd(launch->cwd) : 0;
    if (about_cwd != 0) {
        launch->culprit = "cwd";
        return about_cwd;
    }
    if (failure == ENOENT && exists(launch)) launch->culprit = "the interpreter that it names";
    if (failure != ENOEXEC) return failure;
    launch->culprit = "neither a binary of this system nor a script with #!";
    return EINVAL; /* libuv 1.44 has no name for ENOEXEC */
}

static int set_attributes(const struct launch *launch, posix_spawnattr_t *attributes) {
    sigset_t all, none;
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (launch->has_group) flags |= POSIX_SPAWN_SETSID;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setsigmask(attributes, &none);
    return posix_spawnattr_setflags(attributes, flags);
}

static int set_actions(const struct launch *launch, posix_spawn_file_actions_t *actions) {
    int failure = 0;
    for (int i = 0; i < 3 && failure == 0; i++)
        failure = posix_spawn_file_actions_adddup2(actions, launch->fds[i], i);
    if (failure == 0) failure = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (failure == 0 && launch->cwd)
        failure = posix_spawn_file_actions_addchdir_np(actions, launch->cwd);
    return failure;
}

pid_t launch_program(struct launch *launch) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;
    launch->culprit = NULL;
    int failure = find_program(launch);
    if (failure != 0) return uv_translate_sys_error(failure);
    if (posix_spawn_file_actions_init(&actions) != 0) return UV_ENOMEM;
    if (posix_spawnattr_init(&attributes) == 0) {
        failure = set_attributes(launch, &attributes);
        if (failure == 0) failure = set_actions(launch, &actions);
        if (failure == 0)
            failure = posix_spawn(&pid, launch->path, &actions, &attributes, launch->argv,
                                  launch->env ? launch->env : environ);
        posix_spawnattr_destroy(&attributes);
    } else {
        failure = ENOMEM;
    }
    posix_spawn_file_actions_destroy(&actions);
    return failure == 0 ? pid : uv_translate_sys_error(explain(launch, failure));
}
