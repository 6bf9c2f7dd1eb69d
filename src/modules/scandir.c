/*
 * lilac.scandir: what is in a folder, entry by entry. The pool reads a batch at a time, the first
 * one in the trip that opens the folder; so a large folder takes no more memory than a small one. A
 * batch that comes when its task has left is there for the next call.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/list.h"
#include "builtin.h"
#include "request.h"

enum { BATCH_ROOM = 32 * 1024 };

/* What the pool sees. It outlives a folder that is closed in the middle. */
struct batch {
    uv_work_t work;
    struct folder *folder; /* NULL: it is gone, or closed */
    int fd;
    bool in_pool;
    int status;
    struct buffer data; /* struct dirent64, one after the other; empty at the end */
};

struct folder {
    lilac_handle handle; /* first */
    uv_idle_t idle;      /* never started: one that is closed lasts until the loop turns */
    char *path;
    lilac_wait reader;
    struct batch *batch; /* NULL: closed, or at its end */
};

/* ---- batches --------------------------------------------------------------------------------- */

/* In the pool. Where the file system does not tell the types, asks for them. 0 or a libuv code. */
static int fill(int fd, struct buffer *data) {
    ssize_t size = getdents64(fd, data->block, data->room);
    data->start = 0;
    data->size = size > 0 ? (size_t)size : 0;
    for (char *at = data->block; at < data->block + data->size;) {
        struct dirent64 *entry = (struct dirent64 *)at;
        struct stat found;
        if (entry->d_type == DT_UNKNOWN &&
            fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0)
            entry->d_type = IFTODT(found.st_mode);
        at += entry->d_reclen;
    }
    return request_result(size);
}

static void batch_free(struct batch *batch) {
    close(batch->fd);
    buffer_free(&batch->data);
    free(batch);
}

static void on_fill(uv_work_t *work) {
    struct batch *batch = container_of(work, struct batch, work);
    batch->status = fill(batch->fd, &batch->data);
}

static void on_filled(uv_work_t *work, int status) {
    struct batch *batch = container_of(work, struct batch, work);
    (void)status; /* it is not cancelled */
    batch->in_pool = false;
    if (batch->folder)
        lilac_wake(&batch->folder->reader);
    else
        batch_free(batch);
}

/* Gives up the batch, and the descriptor with it. */
static void folder_drop_batch(struct folder *folder) {
    struct batch *batch = folder->batch;
    folder->batch = NULL;
    if (!batch) return;
    batch->folder = NULL;
    if (!batch->in_pool) batch_free(batch);
}

static void folder_on_close(lilac_handle *handle) {
    struct folder *folder = (struct folder *)handle;
    folder_drop_batch(folder);
    lilac_wake(&folder->reader);
}

static void folder_on_free(lilac_handle *handle) {
    free(((struct folder *)handle)->path);
}

static const lilac_handle_type folder_type = {.name = "lilac.Folder",
                                              .size = sizeof(struct folder),
                                              .on_close = folder_on_close,
                                              .on_free = folder_on_free};

/* ---- the iterator ---------------------------------------------------------------------------- */

static bool next_cancel(lilac_wait *wait) {
    (void)wait; /* the batch stays with the folder */
    return true;
}

static void next_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", container_of(wait, struct folder, reader)->path);
}

static const lilac_op next_op;

/* Pushes the name and the type of the next entry of the batch that is one. False: none is left.
 * A push may run a finaliser that closes the folder, and the batch is gone then. */
static bool push_entry(lua_State *L, struct buffer *data) {
    while (data->size > 0) {
        const struct dirent64 *entry = (const struct dirent64 *)buffer_bytes(data);
        const char *name = entry->d_name;
        data->start += entry->d_reclen; /* the block stays for the next batch */
        data->size -= entry->d_reclen;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        const char *type = request_type(DTTOIF(entry->d_type));
        lua_pushstring(L, name);
        lua_pushstring(L, type);
        return true;
    }
    return false;
}

static int next_done(lua_State *L, lilac_wait *wait) {
    struct folder *folder = lilac_handle_check(L, 1, &folder_type, "scandir");
    struct batch *batch = folder->batch;
    (void)wait;
    if (!batch) {
        lua_pushnil(L);
        return 1;
    }
    if (!batch->in_pool) {
        if (push_entry(L, &batch->data)) return 2;
        int status = batch->status;
        if (status < 0 || batch->data.start == 0) { /* the last batch was empty */
            folder_drop_batch(folder);
            if (status < 0) return request_raise(L, status, "fs:scandir", folder->path, NULL);
            lua_pushnil(L);
            return 1;
        }
        batch->in_pool = true;
        uv_queue_work(lilac_loop(L), &batch->work, on_fill, on_filled);
    }
    return lilac_park(L, &folder->reader, &next_op);
}

static const lilac_op next_op = {
    .name = "fs:scandir", .cancel = next_cancel, .done = next_done, .describe = next_describe};

/* folder() → name, type; nil at the end */
static int folder_next(lua_State *L) {
    struct folder *folder = lilac_handle_check(L, 1, &folder_type, "scandir");
    lilac_checkpoint(L);
    if (lilac_waiting(&folder->reader))
        lilac_refuse_second(L, &folder->reader, lua_pushfstring(L, "scandir %s", folder->path));
    return next_done(L, NULL);
}

static int folder_tostring(lua_State *L) {
    struct folder *folder = lilac_handle_test(L, 1, &folder_type);
    lua_pushfstring(L, "Folder (%s): %p", folder ? folder->path : "closed", lua_topointer(L, 1));
    return 1;
}

/* ---- scandir --------------------------------------------------------------------------------- */

static void run_scandir(struct request *request) {
    request->status = request_open(request->path, O_RDONLY | O_DIRECTORY, 0);
    if (request->status < 0) return;
    request->fd = request->status;
    request->data = (struct buffer){.block = malloc(BATCH_ROOM), .room = BATCH_ROOM};
    request->status = request->data.block ? fill(request->fd, &request->data) : UV_ENOMEM;
}

/* → folder, nil, nil, folder: for generic `for`, which closes the fourth. */
static int push_folder(lua_State *L, struct request *request) {
    struct folder *folder = lilac_handle_new(L, &folder_type);
    struct batch *batch = calloc(1, sizeof *batch);
    folder->path = strdup(request->path);
    if (!batch || !folder->path) {
        free(batch);
        return luaL_error(L, "scandir: not enough memory");
    }
    batch->folder = folder;
    batch->fd = request->fd;
    request->fd = -1;
    buffer_swap(&batch->data, &request->data);
    folder->batch = batch;
    uv_idle_init(lilac_loop(L), &folder->idle);
    lilac_handle_opened(&folder->handle, (uv_handle_t *)&folder->idle);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

static const struct request_op scandir_op = {
    .wait = REQUEST_WAIT("scandir"), .run = run_scandir, .push = push_folder};

/* scandir(path) → an iterator: name, type */
static int scandir_folder(lua_State *L) {
    return request_park(L, request_new(L, &scandir_op, request_check_path(L, 1), NULL));
}

int luaopen_lilac_scandir(lua_State *L) {
    static const luaL_Reg functions[] = {{"scandir", scandir_folder}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__call", folder_next}, {"__tostring", folder_tostring}, {NULL, NULL}};
    lilac_check_version(L);
    lilac_handle_metatable(L, &folder_type, NULL, meta);
    luaL_newlib(L, functions);
    return 1;
}
