/*
 * lilac.paths: operations on files and folders by their path. Each is one request (request.h).
 * They are the greater part of lilac.fs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/args.h"
#include "builtin.h"
#include "request.h"

/* Sends a request with no more than a path. */
static int path_park(lua_State *L, const struct request_op *op) {
    return request_park(L, request_new(L, op, request_check_path(L, 1), NULL));
}

/* Sends a request with two paths. */
static int pair_park(lua_State *L, const struct request_op *op) {
    const char *path = request_check_path(L, 1), *other = request_check_path(L, 2);
    return request_park(L, request_new(L, op, path, other));
}

/* ---- stat, exists, access -------------------------------------------------------------------- */

static void run_stat(struct request *request) {
    uv_fs_t fs;
    request->status = uv_fs_stat(NULL, &fs, request->path, NULL);
    request->stat = fs.statbuf;
    uv_fs_req_cleanup(&fs);
}

static void run_lstat(struct request *request) {
    uv_fs_t fs;
    request->status = uv_fs_lstat(NULL, &fs, request->path, NULL);
    request->stat = fs.statbuf;
    uv_fs_req_cleanup(&fs);
}

static int push_stat(lua_State *L, struct request *request) {
    return request_push_stat(L, &request->stat);
}

static const struct request_op stat_op = {
    .wait = REQUEST_WAIT("stat"), .run = run_stat, .push = push_stat};

/* stat(path) → table */
static int paths_stat(lua_State *L) {
    return path_park(L, &stat_op);
}

static const struct request_op lstat_op = {
    .wait = REQUEST_WAIT("lstat"), .run = run_lstat, .push = push_stat};

/* lstat(path) → table */
static int paths_lstat(lua_State *L) {
    return path_park(L, &lstat_op);
}

/* As Python's Path.exists: what cannot be there is not there, other errors are errors. */
static void run_exists(struct request *request) {
    run_stat(request);
    request->answer = request->status == 0;
    if (request->status == UV_ENOENT || request->status == UV_ENOTDIR ||
        request->status == UV_ELOOP)
        request->status = 0;
}

static int push_answer(lua_State *L, struct request *request) {
    lua_pushboolean(L, request->answer);
    return 1;
}

static const struct request_op exists_op = {
    .wait = REQUEST_WAIT("exists"), .run = run_exists, .push = push_answer};

/* exists(path) → boolean */
static int paths_exists(lua_State *L) {
    return path_park(L, &exists_op);
}

static void run_access(struct request *request) {
    request->answer = access(request->path, request->mode) == 0;
}

static const struct request_op access_op = {
    .wait = REQUEST_WAIT("access"), .run = run_access, .push = push_answer};

/* access(path [, letters of "rwx"]) → boolean */
static int paths_access(lua_State *L) {
    const char *path = request_check_path(L, 1), *letters = luaL_optstring(L, 2, "r");
    int mode = (strchr(letters, 'r') ? R_OK : 0) | (strchr(letters, 'w') ? W_OK : 0) |
               (strchr(letters, 'x') ? X_OK : 0);
    size_t known = strspn(letters, "rwx");
    if (known == 0 || known != lua_rawlen(L, 2) + (lua_isnoneornil(L, 2) ? 1 : 0))
        luaL_argerror(L, 2, lua_pushfstring(L, "letters of 'rwx' expected, got '%s'", letters));
    struct request *request = request_new(L, &access_op, path, NULL);
    request->mode = mode;
    return request_park(L, request);
}

/* ---- folders --------------------------------------------------------------------------------- */

enum { FOLDER_MODE = 0777 };

enum mkdir_options { PARENTS = 1, EXIST_OK = 2 };

/* Makes a folder; one that is there is fine when `is_fine`. 0 or a libuv code. */
static int make_folder(const char *path, int mode, bool is_fine) {
    struct stat found;
    int status = request_result(mkdir(path, (mode_t)mode));
    if (status == UV_EEXIST && is_fine && stat(path, &found) == 0 && S_ISDIR(found.st_mode))
        return 0;
    return status;
}

/* Makes the folders above a path, whose slashes it cuts at in turn. */
static int make_parents(char *path) {
    char *end = path + strlen(path);
    while (end > path && end[-1] == '/')
        end--;
    for (char *slash = path + strspn(path, "/"); (slash = strchr(slash, '/')) && slash < end;) {
        *slash = '\0';
        int status = request_result(mkdir(path, FOLDER_MODE));
        *slash = '/';
        if (status < 0 && status != UV_EEXIST) return status;
        slash += strspn(slash, "/");
    }
    return 0;
}

static void run_mkdir(struct request *request) {
    request->status = request->options & PARENTS ? make_parents(request->path) : 0;
    if (request->status == 0)
        request->status = make_folder(request->path, request->mode, request->options & EXIST_OK);
}

static const struct request_op mkdir_op = {.wait = REQUEST_WAIT("mkdir"), .run = run_mkdir};

/* mkdir(path [, {parents=, exist_ok=, mode=}]) */
static int paths_mkdir(lua_State *L) {
    static const char *const known[] = {"parents", "exist_ok", "mode", NULL};
    const char *path = request_check_path(L, 1);
    args_options(L, 2, known);
    bool parents = args_option_boolean(L, 2, "parents", false);
    bool exist_ok = args_option_boolean(L, 2, "exist_ok", false);
    int mode = request_option_mode(L, 2, "mode");
    struct request *request = request_new(L, &mkdir_op, path, NULL);
    request->options = (parents ? PARENTS : 0) | (exist_ok ? EXIST_OK : 0);
    request->mode = mode < 0 ? FOLDER_MODE : mode;
    return request_park(L, request);
}

static void run_mkdtemp(struct request *request) {
    request->status = mkdtemp(request->path) ? 0 : request_result(-1);
}

static int push_path(lua_State *L, struct request *request) {
    lua_pushstring(L, request->path);
    return 1;
}

static void undo_mkdtemp(struct request *request) {
    rmdir(request->path);
}

static const struct request_op mkdtemp_op = {
    .wait = REQUEST_WAIT("mkdtemp"), .run = run_mkdtemp, .push = push_path, .undo = undo_mkdtemp};

/* mkdtemp([{dir=, prefix=}]) → path */
static int paths_mkdtemp(lua_State *L) {
    static const char *const known[] = {"dir", "prefix", NULL};
    args_options(L, 1, known);
    return request_park(L, request_new(L, &mkdtemp_op, request_push_template(L, 1, NULL), NULL));
}

static void run_remove(struct request *request) {
    request->status = request_result(remove(request->path));
}

static const struct request_op remove_op = {.wait = REQUEST_WAIT("remove"), .run = run_remove};

/* remove(path): a file, a link, or an empty folder */
static int paths_remove(lua_State *L) {
    return path_park(L, &remove_op);
}

/* Removes what is in the open folder, which it closes. By descriptors, so that nobody can lead it
 * elsewhere by putting a link in the place of a folder. 0 or a libuv code. */
static int empty_folder(struct request *request, int fd) {
    int status = 0;
    DIR *folder = fdopendir(fd);
    if (!folder) {
        status = request_result(-1);
        close(fd);
        return status;
    }
    for (struct dirent *entry; status == 0 && (errno = 0, entry = readdir(folder));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (request_is_left(request)) status = UV_ECANCELED;
        if (status != 0 || unlinkat(dirfd(folder), name, 0) == 0 || errno == ENOENT) continue;
        status = request_result(-1);
        if (status != UV_EISDIR && status != UV_EPERM) continue;
        int inner = openat(dirfd(folder), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner < 0) continue; /* no folder after all: the error of unlinkat tells more */
        status = empty_folder(request, inner);
        if (status == 0) status = request_result(unlinkat(dirfd(folder), name, AT_REMOVEDIR));
    }
    if (status == 0 && errno != 0) status = request_result(-1);
    closedir(folder);
    return status;
}

static void run_rmtree(struct request *request) {
    int fd = open(request->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    request->status = request_result(fd);
    if (fd >= 0) request->status = empty_folder(request, fd);
    if (request->status == 0) request->status = request_result(rmdir(request->path));
}

static const struct request_op rmtree_op = {.wait = REQUEST_WAIT("rmtree"), .run = run_rmtree};

/* rmtree(path): a folder and all that is in it */
static int paths_rmtree(lua_State *L) {
    return path_park(L, &rmtree_op);
}

/* ---- names and links ------------------------------------------------------------------------- */

static void run_rename(struct request *request) {
    request->status = request_result(rename(request->path, request->other));
}

static const struct request_op rename_op = {.wait = REQUEST_WAIT("rename"), .run = run_rename};

/* rename(from, to) */
static int paths_rename(lua_State *L) {
    return pair_park(L, &rename_op);
}

static void run_link(struct request *request) {
    request->status = request_result(link(request->path, request->other));
}

static const struct request_op link_op = {.wait = REQUEST_WAIT("link"), .run = run_link};

/* link(existing, new) */
static int paths_link(lua_State *L) {
    return pair_park(L, &link_op);
}

static void run_symlink(struct request *request) {
    request->status = request_result(symlink(request->path, request->other));
}

static const struct request_op symlink_op = {.wait = REQUEST_WAIT("symlink"), .run = run_symlink};

/* symlink(target, new) */
static int paths_symlink(lua_State *L) {
    return pair_park(L, &symlink_op);
}

/* Puts what a call of libuv's gave as text into the request's data. */
static void take_text(struct request *request, uv_fs_t *fs) {
    if (request->status == 0 && !buffer_append(&request->data, fs->ptr, strlen(fs->ptr)))
        request->status = UV_ENOMEM;
    uv_fs_req_cleanup(fs);
}

static void run_readlink(struct request *request) {
    uv_fs_t fs;
    request->status = uv_fs_readlink(NULL, &fs, request->path, NULL);
    take_text(request, &fs);
}

static int push_text(lua_State *L, struct request *request) {
    lua_pushlstring(L, buffer_bytes(&request->data), request->data.size);
    return 1;
}

static const struct request_op readlink_op = {
    .wait = REQUEST_WAIT("readlink"), .run = run_readlink, .push = push_text};

/* readlink(path) → target */
static int paths_readlink(lua_State *L) {
    return path_park(L, &readlink_op);
}

static void run_realpath(struct request *request) {
    uv_fs_t fs;
    request->status = uv_fs_realpath(NULL, &fs, request->path, NULL);
    take_text(request, &fs);
}

static const struct request_op realpath_op = {
    .wait = REQUEST_WAIT("realpath"), .run = run_realpath, .push = push_text};

/* realpath(path) → absolute path without links */
static int paths_realpath(lua_State *L) {
    return path_park(L, &realpath_op);
}

/* ---- what can be changed --------------------------------------------------------------------- */

static void run_chmod(struct request *request) {
    request->status = request_result(chmod(request->path, (mode_t)request->mode));
}

static const struct request_op chmod_op = {.wait = REQUEST_WAIT("chmod"), .run = run_chmod};

/* chmod(path, mode) */
static int paths_chmod(lua_State *L) {
    const char *path = request_check_path(L, 1);
    luaL_checkany(L, 2);
    int mode = request_check_mode(L, 2);
    luaL_argcheck(L, mode >= 0, 2, "mode expected, got nil");
    struct request *request = request_new(L, &chmod_op, path, NULL);
    request->mode = mode;
    return request_park(L, request);
}

static void run_truncate(struct request *request) {
    request->status = request_result(truncate(request->path, request->size));
}

static const struct request_op truncate_op = {.wait = REQUEST_WAIT("truncate"),
                                              .run = run_truncate};

/* truncate(path, size) */
static int paths_truncate(lua_State *L) {
    const char *path = request_check_path(L, 1);
    lua_Integer size = args_integer(L, 2, "size", 0, LUA_MAXINTEGER);
    struct request *request = request_new(L, &truncate_op, path, NULL);
    request->size = size;
    return request_park(L, request);
}

static void run_utime(struct request *request) {
    request->status = request_result(utimensat(AT_FDCWD, request->path, request->set, 0));
}

static const struct request_op utime_op = {.wait = REQUEST_WAIT("utime"), .run = run_utime};

/* Seconds since 1970; nil: `otherwise`. */
static struct timespec check_time(lua_State *L, int arg, struct timespec otherwise) {
    if (lua_isnoneornil(L, arg)) return otherwise;
    double seconds = luaL_checknumber(L, arg), whole = floor(seconds);
    if (!(fabs(seconds) < 1e15)) /* NaN too */
        luaL_argerror(
            L, arg,
            lua_pushfstring(L, "seconds since 1970 expected, got %s", lua_tostring(L, arg)));
    return (struct timespec){.tv_sec = (time_t)whole, .tv_nsec = (long)((seconds - whole) * 1e9)};
}

/* utime(path [, accessed [, modified]]) */
static int paths_utime(lua_State *L) {
    const char *path = request_check_path(L, 1);
    struct timespec accessed = check_time(L, 2, (struct timespec){.tv_nsec = UTIME_NOW});
    struct timespec modified = check_time(L, 3, accessed);
    struct request *request = request_new(L, &utime_op, path, NULL);
    request->set[0] = accessed;
    request->set[1] = modified;
    return request_park(L, request);
}

int luaopen_lilac_paths(lua_State *L) {
    static const luaL_Reg functions[] = {{"access", paths_access},
                                         {"chmod", paths_chmod},
                                         {"exists", paths_exists},
                                         {"link", paths_link},
                                         {"lstat", paths_lstat},
                                         {"mkdir", paths_mkdir},
                                         {"mkdtemp", paths_mkdtemp},
                                         {"readlink", paths_readlink},
                                         {"realpath", paths_realpath},
                                         {"remove", paths_remove},
                                         {"rename", paths_rename},
                                         {"rmtree", paths_rmtree},
                                         {"stat", paths_stat},
                                         {"symlink", paths_symlink},
                                         {"truncate", paths_truncate},
                                         {"utime", paths_utime},
                                         {NULL, NULL}};
    lilac_check_version(L);
    luaL_newlib(L, functions);
    return 1;
}
