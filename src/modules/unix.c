/*
 * lilac.unix: connecting to Unix sockets, and listening on them. Both are made here, as libuv 1.44
 * cuts off names that are too long, and knows no abstract ones; then they are pipes to libuv.
 *
 * A name that begins with "@" (or a zero byte, as the system has it) is abstract: no file, gone
 * with its listener. A file of that name is "./@name".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/args.h"
#include "builtin.h"
#include "listener.h"
#include "pipe.h"

/* Of a name: a path leaves room for the zero at its end, an abstract one has its zero in front. */
enum { NAME_MAX_BYTES = sizeof((struct sockaddr_un *)0)->sun_path - 1 };

static bool is_abstract(const struct unix_address *address) {
    return address->un.sun_path[0] == '\0';
}

/* Writes the name as people write it: an abstract one with "@" for its zeros. */
static void name_text(const struct unix_address *address, char *text, size_t size) {
    size_t length = address->size - offsetof(struct sockaddr_un, sun_path), i;
    for (i = 0; i < length && i < size - 1; i++)
        text[i] = (char)(address->un.sun_path[i] ? address->un.sun_path[i] : '@');
    text[i] = '\0';
}

/* The name at argument 1. Raises "connect /too/long…: name too long (ENAMETOOLONG)". */
static struct unix_address check_name(lua_State *L, const char *op) {
    struct unix_address address = {.un.sun_family = AF_UNIX};
    size_t length;
    const char *name = luaL_checklstring(L, 1, &length);
    luaL_argcheck(L, length > 0, 1, "path of a socket expected, got an empty string");
    luaL_argcheck(L, *name == '\0' || strlen(name) == length, 1, "path contains a zero byte");
    if (length > NAME_MAX_BYTES)
        lilac_raise(L, UV_ENAMETOOLONG, "%s %s (%d bytes, and a socket's path has at most %d)", op,
                    *name ? name : name + 1, (int)length, NAME_MAX_BYTES);
    memcpy(address.un.sun_path, name, length);
    if (*name == '@') address.un.sun_path[0] = '\0';
    address.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return address;
}

static size_t check_limit(lua_State *L, int arg) {
    return (size_t)args_option_count(L, arg, "limit", STREAM_LIMIT, INT32_MAX);
}

/* The permissions that the file is to have: the option `mode`, or -1. */
static int check_mode(lua_State *L, int arg) {
    if (!lua_istable(L, arg)) return -1;
    int type = lua_getfield(L, arg, "mode");
    if (type == LUA_TNIL) return -1;
    lua_Integer mode = -1;
    if (type == LUA_TNUMBER) {
        int is_integer;
        mode = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer) mode = -1;
    } else if (type == LUA_TSTRING) {
        size_t digits;
        const char *text = lua_tolstring(L, -1, &digits);
        if (digits > 0 && digits <= 4 && strspn(text, "01234567") == digits)
            mode = strtol(text, NULL, 8);
    }
    if (mode >= 0 && mode <= 0777) return (int)mode;
    return luaL_argerror(L, arg,
                         lua_pushfstring(L,
                                         "option 'mode': octal string such as '660', or integer up "
                                         "to 511, expected, got %s",
                                         luaL_tolstring(L, -1, NULL)));
}

/* A new socket, or a libuv code. */
static int socket_new(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

static struct stream *unix_new(lua_State *L, const char *name, size_t limit) {
    struct stream *stream = pipe_new(L, name, limit);
    stream->is_socket = true;
    return stream;
}

/* Connects at once, or not at all: UV_EAGAIN where the backlog is full. 0 or a libuv code. */
static int socket_connect(int fd, const struct unix_address *address) {
    int status;
    do {
        status = connect(fd, (const struct sockaddr *)&address->un, address->size);
    } while (status < 0 && errno == EINTR);
    return status < 0 ? uv_translate_sys_error(errno) : 0;
}

/* ---- connect --------------------------------------------------------------------------------- */

/* connect(path [, options]) → Stream */
static int unix_connect(lua_State *L) {
    static const char *const known[] = {"limit", NULL};
    char text[LISTENER_TEXT];
    struct unix_address address = check_name(L, "connect");
    args_options(L, 2, known);
    size_t limit = check_limit(L, 2);
    lilac_checkpoint(L);
    name_text(&address, text, sizeof text);
    struct stream *stream = unix_new(L, text, limit);
    int fd = socket_new(), status = fd;
    if (fd >= 0) {
        status = socket_connect(fd, &address);
        if (status == 0) status = pipe_open(stream, fd);
        if (status != 0) close(fd);
    }
    return status >= 0 ? 1 : lilac_raise(L, status, "connect %s", text);
}

/* ---- listen ---------------------------------------------------------------------------------- */

static struct stream *unix_stream(lua_State *L, const struct listener *listener) {
    char text[LISTENER_TEXT];
    name_text(&listener->address.local, text, sizeof text);
    return unix_new(L, text, listener->limit);
}

static int unix_open(uv_loop_t *loop, struct stream *stream, int fd, const union address *peer) {
    (void)loop, (void)peer;
    return pipe_open(stream, fd);
}

static void unix_subject(const struct listener *listener, char *text, size_t size) {
    name_text(&listener->address.local, text, size);
}

static bool unix_field(lua_State *L, const struct listener *listener, const char *name) {
    char text[LISTENER_TEXT];
    if (strcmp(name, "path") != 0) return false;
    name_text(&listener->address.local, text, sizeof text);
    lua_pushstring(L, text);
    return true;
}

/* Removes the file, if it is still the one that was made: another may have taken its place. The
 * socket is open, so nothing else has the number of its inode. */
static void unix_closing(struct listener *listener) {
    const struct unix_address *address = &listener->address.local;
    const char *path = address->un.sun_path;
    struct stat there;
    if (address->device == 0 || lstat(path, &there) != 0) return;
    if (there.st_dev == address->device && there.st_ino == address->inode) unlink(path);
}

static const struct listener_ops unix_ops = {.stream = unix_stream,
                                             .open = unix_open,
                                             .field = unix_field,
                                             .subject = unix_subject,
                                             .closing = unix_closing};

/* Removes the file of a socket that nobody listens on any more: its process was killed. False when
 * it is something else, or in use. */
static bool remove_stale(const struct unix_address *address) {
    const char *path = address->un.sun_path;
    struct stat before, there;
    if (is_abstract(address) || lstat(path, &before) != 0 || !S_ISSOCK(before.st_mode))
        return false;
    int fd = socket_new();
    if (fd < 0) return false;
    int status = socket_connect(fd, address);
    close(fd);
    return status == UV_ECONNREFUSED && lstat(path, &there) == 0 && there.st_dev == before.st_dev &&
           there.st_ino == before.st_ino && unlink(path) == 0;
}

static int bind_once(int fd, const struct unix_address *address) {
    int status = bind(fd, (const struct sockaddr *)&address->un, address->size);
    return status < 0 ? uv_translate_sys_error(errno) : 0;
}

static int socket_bind(int fd, const struct unix_address *address) {
    int status = bind_once(fd, address);
    return status == UV_EADDRINUSE && remove_stale(address) ? bind_once(fd, address) : status;
}

/* Makes the socket listen on the address. Nobody can connect before the mode of its file (-1: as
 * the umask has it) is set. 0 or a libuv code. */
static int listen_begin(int fd, struct unix_address *address, int mode, int backlog) {
    const char *path = address->un.sun_path;
    struct stat made;
    int status = socket_bind(fd, address);
    if (status != 0) return status;
    bool is_set = is_abstract(address) ||
                  ((mode < 0 || chmod(path, (mode_t)mode) == 0) && lstat(path, &made) == 0);
    if (is_set && listen(fd, backlog) == 0) {
        if (is_abstract(address)) return 0;
        address->device = made.st_dev;
        address->inode = made.st_ino;
        return 0;
    }
    status = uv_translate_sys_error(errno);
    if (!is_abstract(address)) unlink(path);
    return status;
}

/* listen(path [, options]) → Listener */
static int unix_listen(lua_State *L) {
    static const char *const known[] = {"backlog", "limit", "mode", NULL};
    struct unix_address address = check_name(L, "listen");
    args_options(L, 2, known);
    size_t limit = check_limit(L, 2);
    int backlog = (int)args_option_count(L, 2, "backlog", LISTENER_BACKLOG, INT32_MAX);
    int mode = check_mode(L, 2);
    luaL_argcheck(L, mode < 0 || !is_abstract(&address), 2,
                  "option 'mode': an abstract socket has no file");
    struct listener *listener = listener_new(L, &unix_ops, limit);
    int fd = socket_new();
    int status = fd < 0 ? fd : listen_begin(fd, &address, mode, backlog);
    listener->address.local = address;
    return listener_open(L, listener, fd, status);
}

int luaopen_lilac_unix(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"connect", unix_connect}, {"listen", unix_listen}, {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    listener_prepare(L);
    luaL_newlib(L, functions);
    return 1;
}
