#include "signame.h"

#include <signal.h>
#include <string.h>

static const struct {
    int signo;
    const char *name;
} signals[] = {
    {SIGHUP, "SIGHUP"},       {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"},     {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"},     {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"},     {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGCHLD, "SIGCHLD"},
    {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"}, {SIGTTIN, "SIGTTIN"},
    {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
    {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGIO, "SIGIO"},     {SIGWINCH, "SIGWINCH"},
    {SIGSYS, "SIGSYS"},
};

#define COUNT (sizeof signals / sizeof *signals)

int signame_check(lua_State *L, int arg) {
    /* No number: it means other signals on other systems. */
    if (lua_type(L, arg) != LUA_TSTRING)
        return luaL_argerror(
            L, arg, lua_pushfstring(L, "name of a signal expected, got %s", luaL_typename(L, arg)));
    size_t size;
    const char *name = lua_tolstring(L, arg, &size);
    for (size_t i = 0; i < COUNT && strlen(name) == size; i++)
        if (strcmp(name, signals[i].name) == 0 || strcmp(name, signals[i].name + 3) == 0)
            return signals[i].signo;
    return luaL_argerror(
        L, arg, lua_pushfstring(L, "'SIGTERM', 'TERM' or the like expected, got '%s'", name));
}

const char *signame_text(int signo) {
    for (size_t i = 0; i < COUNT; i++)
        if (signals[i].signo == signo) return signals[i].name;
    return NULL;
}
