/*
 * A C module that puts a terminal in place of this process's stdin and stdout: terminal.take()
 * makes a pseudo-terminal, raw, of which stdin is the one end and stdout the other;
 * terminal.give_back() brings back what was there before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static int before[2] = {-1, -1};

static int fail(lua_State *L, const char *what) {
    return luaL_error(L, "%s: %s", what, strerror(errno));
}

static int terminal_take(lua_State *L) {
    struct termios mode;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return fail(L, "openpt");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &mode) != 0) return fail(L, "open");
    cfmakeraw(&mode);
    tcsetattr(slave, TCSANOW, &mode);
    fflush(stdout);
    for (int fd = 0; fd < 2; fd++)
        before[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    dup2(slave, STDIN_FILENO);
    dup2(master, STDOUT_FILENO);
    close(slave);
    close(master);
    return 0;
}

static int terminal_give_back(lua_State *L) {
    (void)L;
    for (int fd = 0; fd < 2; fd++) {
        if (before[fd] < 0) continue;
        dup2(before[fd], fd);
        close(before[fd]);
        before[fd] = -1;
    }
    return 0;
}

__attribute__((visibility("default"))) int luaopen_terminal(lua_State *L);

int luaopen_terminal(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"take", terminal_take}, {"give_back", terminal_give_back}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
