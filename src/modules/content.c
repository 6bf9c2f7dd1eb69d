/*
 * lilac.content: whole files, in one request each: reading, writing and copying them.
 *
 * write_file replaces a file by a new one that is complete: whoever reads it meanwhile, or finds it
 * after a crash, has the old content or the new one. All the steps are done in one trip to the
 * pool, which looks whether its task is still there, and removes what it has made when it is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/args.h"
#include "builtin.h"
#include "file.h"
#include "request.h"

enum {
    NEW_MODE = 0666,
    FIRST_ROOM = 16 * 1024,  /* for a file that does not tell its size */
    PIECE = 4 * 1024 * 1024, /* between two looks whether the task is still there */
    COPY_ROOM = 256 * 1024,
    POLL_MS = 100,
    MOST_LINKS = 40 /* as the kernel has it */
};

/* ---- read_file ------------------------------------------------------------------------------- */

/* Reads up to the end, or one byte past the limit. 0 or a libuv code. */
static int read_all(struct request *request, size_t room) {
    struct buffer *data = &request->data;
    size_t limit = request->size < 0 ? SIZE_MAX : (size_t)request->size + 1;
    while (data->size < limit) {
        if (data->size == data->room && !buffer_reserve(data, data->room == 0 ? room : 1))
            return UV_ENOMEM;
        if (request_is_left(request)) return UV_ECANCELED;
        size_t free_room = data->room - data->size, rest = limit - data->size;
        size_t wanted = free_room < rest ? free_room : rest;
        ssize_t count =
            read(request->fd, data->block + data->size, wanted < PIECE ? wanted : PIECE);
        if (count == 0) break;
        if (count > 0) data->size += (size_t)count;
        if (count < 0 && errno != EINTR) return request_result(count);
    }
    return 0;
}

/* answer: whether it is a file that may keep its readers waiting, and is only opened here */
static void run_read_file(struct request *request) {
    struct stat found;
    request->status = request_open(request->path, O_RDONLY, 0);
    if (request->status < 0) return;
    request->fd = request->status;
    request->status = request_result(fstat(request->fd, &found));
    if (request->status < 0) return;
    request->answer = !S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode);
    if (S_ISDIR(found.st_mode))
        request->status = UV_EISDIR;
    else if (!request->answer)
        /* With room for one more byte, the end is found without growing. */
        request->status =
            read_all(request, found.st_size > 0 ? (size_t)found.st_size + 1 : FIRST_ROOM);
}

static int raise_too_large(lua_State *L, const char *path, lua_Integer limit) {
    return lilac_throw(L, "LimitOverrunError", "read_file %s: more than the limit of %d bytes",
                       path, (int)limit);
}

static int push_content(lua_State *L, struct request *request) {
    if (request->answer) {
        struct file_source source = {.fd = request->fd, .path = request->path, .readable = true};
        file_push(L, &source);
        request->fd = -1;
        return 1;
    }
    if (request->size >= 0 && request->data.size > (size_t)request->size)
        return raise_too_large(L, request->path, request->size);
    lua_pushlstring(L, request->data.size > 0 ? request->data.block : "", request->data.size);
    return 1;
}

/* [path, limit, File, content] */
static int stream_done(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    if (lua_isnil(L, 4)) lua_pushliteral(L, "");
    if (!lua_isnil(L, 2) && lua_rawlen(L, 4) > (size_t)lua_tointeger(L, 2))
        return raise_too_large(L, lua_tostring(L, 1), lua_tointeger(L, 2));
    return 1;
}

/* A FIFO, terminal or the like is read as a File, which waits for it without a thread.
 * [path, limit, File] */
static int stream_read(lua_State *L) {
    lua_toclose(L, 3);
    lua_getfield(L, 3, "read");
    lua_pushvalue(L, 3);
    if (lua_isnil(L, 2))
        lua_pushliteral(L, "a");
    else
        lua_pushinteger(L, lua_tointeger(L, 2) + 1);
    lua_callk(L, 2, 1, 0, stream_done);
    return stream_done(L, LUA_OK, 0);
}

static int read_file_done(lua_State *L, lilac_wait *wait) {
    request_done(L, wait);
    return lua_type(L, 3) == LUA_TSTRING ? 1 : stream_read(L);
}

static const struct request_op read_file_op = {.wait = {.name = "fs:read_file",
                                                        .cancel = request_cancel,
                                                        .done = read_file_done,
                                                        .describe = request_describe},
                                               .run = run_read_file,
                                               .push = push_content};

/* read_file(path [, limit]) → string */
static int content_read_file(lua_State *L) {
    const char *path = request_check_path(L, 1);
    lua_settop(L, 2);
    lua_Integer limit = lua_isnil(L, 2) ? -1 : args_integer(L, 2, "limit", 0, INT32_MAX);
    struct request *request = request_new(L, &read_file_op, path, NULL);
    request->size = limit;
    return request_park(L, request);
}

/* ---- writing --------------------------------------------------------------------------------- */

enum write_options { ATOMIC = 1, APPEND = 2, SYNC = 4 };

/* Waits until a FIFO or device takes more, or the task has left. */
static void wait_writable(const struct request *request, int fd) {
    struct pollfd waits = {.fd = fd, .events = POLLOUT};
    while (!request_is_left(request) && poll(&waits, 1, POLL_MS) == 0)
        continue;
}

/* 0 or a libuv code. */
static int write_all(const struct request *request, int fd, const char *bytes, size_t size) {
    request_block_signals();
    for (size_t done = 0; done < size;) {
        if (request_is_left(request)) return UV_ECANCELED;
        size_t rest = size - done;
        ssize_t count = write(fd, bytes + done, rest < PIECE ? rest : PIECE);
        if (count >= 0)
            done += (size_t)count;
        else if (errno == EAGAIN)
            wait_writable(request, fd);
        else if (errno != EINTR)
            return request_result(count);
    }
    return 0;
}

/* Writes the data, sets the permissions, and closes. 0 or a libuv code. */
static int fill(const struct request *request, int fd, int mode) {
    const struct buffer *data = &request->data;
    int status = write_all(request, fd, buffer_bytes(data), data->size);
    if (status == 0 && mode >= 0) status = request_result(fchmod(fd, (mode_t)mode));
    if (status == 0 && request->options & SYNC) status = request_result(fsync(fd));
    if (status == UV_EINVAL) status = 0; /* a device has nothing to sync */
    int closed = request_result(close(fd));
    return status == 0 ? closed : status;
}

static int write_in_place(const struct request *request) {
    int flags = O_WRONLY | O_CREAT | (request->options & APPEND ? O_APPEND : O_TRUNC);
    int fd = request_open(request->path, flags, request->mode < 0 ? NEW_MODE : request->mode);
    return fd < 0 ? fd : fill(request, fd, request->mode);
}

/* The folder of a path, with its slash: so many characters of it. */
static int folder_size(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* Where a path leads through its last links, also when nothing is there: malloc'ed. NULL: errno
 * tells. */
static char *follow(const char *path) {
    char link[4096], *at = strdup(path);
    for (int links = 0; at; links++) {
        ssize_t size = readlink(at, link, sizeof link);
        if (size < 0) return at; /* no link; other errors are met again */
        if (links == MOST_LINKS || size == sizeof link) {
            errno = links == MOST_LINKS ? ELOOP : ENAMETOOLONG;
            break;
        }
        int folder = *link == '/' ? 0 : folder_size(at), length = (int)size;
        char *next = NULL;
        if (asprintf(&next, "%.*s%.*s", folder, at, length, link) < 0) next = NULL;
        free(at);
        at = next;
    }
    free(at);
    return NULL;
}

/* Makes a file with a new name beside `target`, and writes the name into `name`, which has room for
 * it. A descriptor or a libuv code. */
static int make_beside(const char *target, int mode, char *name, size_t room) {
    int fd, tries = 0;
    do {
        uint64_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random) return request_result(-1);
        snprintf(name, room, "%.*s.lilac-%016" PRIx64, folder_size(target), target, random);
        fd = request_open(name, O_WRONLY | O_CREAT | O_EXCL, mode);
    } while (fd == UV_EEXIST && ++tries < 10);
    return fd;
}

/* Makes sure that the new name is on the disk, too. Where that cannot be, so be it. */
static void sync_folder(const char *path) {
    char *folder = strndup(path, (size_t)folder_size(path));
    int fd = folder ? open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* Fills the new file `name`, open at `fd`, and puts it in the place of `target`, of which `old`
 * tells, if it is there. */
static int replace(const struct request *request, const char *target, const struct stat *old,
                   const char *name, int fd) {
    int mode = request->mode >= 0 ? request->mode : old ? (int)(old->st_mode & 07777) : -1;
    /* Where it may not be given away, it is the writer's. Before the mode, which this may cut. */
    if (old && fchown(fd, old->st_uid, old->st_gid) != 0) errno = 0;
    int status = fill(request, fd, mode);
    if (status == 0 && request_is_left(request)) status = UV_ECANCELED;
    if (status == 0) status = request_result(rename(name, target));
    if (status != 0)
        unlink(name);
    else if (request->options & SYNC)
        sync_folder(target);
    return status;
}

/* Writes the data to a new file in the place of `target`. 0 or a libuv code. */
static int write_atomically(const struct request *request, const char *target,
                            const struct stat *old) {
    int mode = request->mode >= 0 ? request->mode : old ? (int)old->st_mode : NEW_MODE;
    size_t room = strlen(target) + sizeof ".lilac-0123456789abcdef";
    /* rename(2) does not ask whether the file may be written, as opening it would. */
    if (old && faccessat(AT_FDCWD, target, W_OK, AT_EACCESS) != 0) return request_result(-1);
    char *name = malloc(room);
    if (!name) return UV_ENOMEM;
    int status = make_beside(target, mode & 0777, name, room);
    if (status >= 0) status = replace(request, target, old, name, status);
    free(name);
    return status;
}

static void run_write_file(struct request *request) {
    struct stat old;
    char *target = request->options & ATOMIC ? follow(request->path) : NULL;
    if (request->options & ATOMIC && !target) {
        request->status = request_result(-1);
        return;
    }
    bool is_there = target && stat(target, &old) == 0;
    if (!target || (is_there && !S_ISREG(old.st_mode))) /* devices and the like stay */
        request->status = write_in_place(request);
    else
        request->status = write_atomically(request, target, is_there ? &old : NULL);
    free(target);
}

static const struct request_op write_file_op = {.wait = REQUEST_WAIT("write_file"),
                                                .run = run_write_file};

/* write_file(path, data [, {atomic=, append=, sync=, mode=}]) */
static int content_write_file(lua_State *L) {
    static const char *const known[] = {"atomic", "append", "sync", "mode", NULL};
    size_t size;
    const char *path = request_check_path(L, 1), *data = luaL_checklstring(L, 2, &size);
    args_options(L, 3, known);
    bool append = args_option_boolean(L, 3, "append", false);
    bool atomic = args_option_boolean(L, 3, "atomic", !append);
    luaL_argcheck(L, !(append && atomic), 3, "option 'append': it cannot be atomic");
    bool sync = args_option_boolean(L, 3, "sync", true);
    int mode = request_option_mode(L, 3, "mode");
    struct request *request = request_new(L, &write_file_op, path, NULL);
    request->options = (atomic ? ATOMIC : 0) | (append ? APPEND : 0) | (sync ? SYNC : 0);
    request->mode = mode;
    if (buffer_append(&request->data, data, size)) return request_park(L, request);
    request_free(request);
    return luaL_error(L, "write_file: not enough memory");
}

/* ---- copyfile -------------------------------------------------------------------------------- */

enum copy_options { EXCLUSIVE = 1 };

/* Copies through memory. 0 or a libuv code. */
static int copy_by_hand(const struct request *request, int from, int to) {
    char *block = buffer_block(COPY_ROOM);
    int status = block ? 0 : UV_ENOMEM;
    while (status == 0) {
        ssize_t count = read(from, block, COPY_ROOM);
        if (count == 0) break;
        if (count > 0)
            status = write_all(request, to, block, (size_t)count);
        else if (errno != EINTR)
            status = request_result(count);
    }
    free(block);
    return status;
}

/* Lets the system copy, which may share the blocks of the two files. It refuses some pairs of file
 * systems, and takes files of /proc for empty. */
static int copy(const struct request *request, int from, int to) {
    request_block_signals();
    for (int64_t done = 0;;) {
        if (request_is_left(request)) return UV_ECANCELED;
        ssize_t count = copy_file_range(from, NULL, to, NULL, PIECE, 0);
        if (count > 0)
            done += count;
        else if (done == 0 && (count == 0 || (errno != ENOSPC && errno != EFBIG)))
            return copy_by_hand(request, from, to);
        else if (count == 0 || errno != EINTR)
            return request_result(count);
    }
}

/* Opens what is copied to. *made: it was not there. A descriptor or a libuv code. */
static int open_copy(const struct request *request, const struct stat *source, bool *made) {
    struct stat found;
    int mode = (int)(source->st_mode & 0777);
    int fd = request_open(request->other, O_WRONLY | O_CREAT | O_EXCL, mode);
    *made = fd >= 0;
    if (fd != UV_EEXIST || request->options & EXCLUSIVE) return fd;
    fd = request_open(request->other, O_WRONLY | O_CREAT, mode); /* through a link, too */
    if (fd < 0) return fd;
    int status = request_result(fstat(fd, &found));
    bool is_same = found.st_dev == source->st_dev && found.st_ino == source->st_ino;
    if (status == 0 && is_same) status = UV_EINVAL;
    if (status == 0 && S_ISREG(found.st_mode)) status = request_result(ftruncate(fd, 0));
    if (status == 0) return fd;
    close(fd);
    return status;
}

static void run_copyfile(struct request *request) {
    struct stat source;
    bool made = false;
    request->fd = request_open(request->path, O_RDONLY, 0);
    request->status = request->fd < 0 ? request->fd : request_result(fstat(request->fd, &source));
    if (request->status == 0 && S_ISDIR(source.st_mode)) request->status = UV_EISDIR;
    /* One that may keep its readers waiting is nothing for the pool. */
    if (request->status == 0 && (S_ISFIFO(source.st_mode) || S_ISSOCK(source.st_mode)))
        request->status = UV_EINVAL;
    if (request->status < 0) return;
    int fd = open_copy(request, &source, &made);
    request->status = fd < 0 ? fd : copy(request, request->fd, fd);
    if (fd >= 0 && close(fd) != 0 && request->status == 0) request->status = request_result(-1);
    if (request->status < 0 && made) unlink(request->other);
}

static const struct request_op copyfile_op = {.wait = REQUEST_WAIT("copyfile"),
                                              .run = run_copyfile};

/* copyfile(from, to [, {exclusive=}]) */
static int content_copyfile(lua_State *L) {
    static const char *const known[] = {"exclusive", NULL};
    const char *from = request_check_path(L, 1), *to = request_check_path(L, 2);
    args_options(L, 3, known);
    bool exclusive = args_option_boolean(L, 3, "exclusive", false);
    struct request *request = request_new(L, &copyfile_op, from, to);
    request->options = exclusive ? EXCLUSIVE : 0;
    return request_park(L, request);
}

int luaopen_lilac_content(lua_State *L) {
    static const luaL_Reg functions[] = {{"copyfile", content_copyfile},
                                         {"read_file", content_read_file},
                                         {"write_file", content_write_file},
                                         {NULL, NULL}};
    lilac_check_version(L);
    file_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
