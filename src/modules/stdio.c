/*
 * lilac.stdio: stdin, stdout and stderr as Streams, each made when it is first asked for. What they
 * are made of is in standard_poll.c and standard_file.c; here is also what terminals have besides,
 * as methods of Streams.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builtin.h"
#include "standard.h"
#include "terminal.h"

static const char *const names[] = {"stdin", "stdout", "stderr", NULL};

static bool can_be_polled(int fd) {
    struct stat type;
    if (fstat(fd, &type) != 0) return false;
    return S_ISFIFO(type.st_mode) || S_ISSOCK(type.st_mode) || isatty(fd);
}

/* __index of the module. Upvalue 1 holds the streams by name; one that is closed is made anew. */
static int stdio_open(lua_State *L) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    int number = 0;
    while (names[number] && strcmp(name, names[number]) != 0)
        number++;
    if (!names[number]) return 0;
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL && lilac_handle_test(L, 3, &stream_type))
        return 1;
    if (can_be_polled(number))
        standard_poll_new(L, number);
    else
        standard_file_new(L, number);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
}

/* ---- terminals ------------------------------------------------------------------------------- */

/* The descriptor of the Stream at 1, if it is one of 0 to 2; else one that is no terminal. */
static int check_descriptor(lua_State *L, const char *op) {
    struct stream *stream = lilac_handle_check(L, 1, &stream_type, op);
    int fd = stream->ops->descriptor ? stream->ops->descriptor(stream) : -1;
    return fd <= STDERR_FILENO ? fd : -1;
}

static int raise_no_terminal(lua_State *L, const char *op, int status) {
    struct stream *stream = lilac_handle_check(L, 1, &stream_type, op);
    char subject[100];
    stream->ops->subject(stream, subject, sizeof subject);
    return lilac_raise(L, status, "%s %s", op, subject);
}

static int stream_isatty(lua_State *L) {
    int fd = check_descriptor(L, "isatty");
    lua_pushboolean(L, fd >= 0 && isatty(fd));
    return 1;
}

/* set_mode("normal" | "cbreak" | "raw") */
static int stream_set_mode(lua_State *L) {
    int fd = check_descriptor(L, "set_mode");
    enum terminal_mode mode = (enum terminal_mode)luaL_checkoption(L, 2, NULL, terminal_modes);
    int status = fd >= 0 ? terminal_set_mode(fd, mode) : UV_ENOTTY;
    return status == 0 ? 0 : raise_no_terminal(L, "set_mode", status);
}

/* winsize() → columns, rows */
static int stream_winsize(lua_State *L) {
    int columns = 0, rows = 0, fd = check_descriptor(L, "winsize");
    int status = fd >= 0 ? terminal_size(fd, &columns, &rows) : UV_ENOTTY;
    if (status != 0) return raise_no_terminal(L, "winsize", status);
    lua_pushinteger(L, columns);
    lua_pushinteger(L, rows);
    return 2;
}

int luaopen_lilac_stdio(lua_State *L) {
    static const luaL_Reg methods[] = {{"isatty", stream_isatty},
                                       {"set_mode", stream_set_mode},
                                       {"winsize", stream_winsize},
                                       {NULL, NULL}};
    lilac_check_version(L);
    stream_prepare(L);
    luaL_getmetatable(L, stream_type.name);
    lua_getfield(L, -1, "__index");
    luaL_setfuncs(L, methods, 0);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_newtable(L);
    lua_pushcclosure(L, stdio_open, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}
