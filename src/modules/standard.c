#include "standard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "../core/interrupt.h"
#include "../core/runtime.h"

void standard_init(lua_State *L, struct standard *standard, int number) {
    standard->number = number;
    standard->fd = -1;
    standard->runtime = runtime_of(L);
}

void standard_flush_stdio(const struct standard *standard) {
    if (standard->number == STDOUT_FILENO) fflush(stdout);
    if (standard->number == STDERR_FILENO) fflush(stderr);
}

bool standard_forgives(const struct standard *standard, int status) {
    return status == UV_EPIPE && standard->number == STDOUT_FILENO &&
           interrupt_ends_filter(standard->runtime);
}

int standard_give_up(struct standard *standard) {
    int unused = open("/dev/null", (standard->number == 0 ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    if (unused < 0) return uv_translate_sys_error(errno);
    standard_flush_stdio(standard);
    dup3(unused, standard->fd, O_CLOEXEC);
    dup2(unused, standard->number);
    close(unused);
    return 0;
}

int standard_descriptor(const struct stream *stream) {
    return ((const struct standard *)stream->own)->number;
}

int standard_name(lua_State *L, struct stream *stream) {
    (void)stream;
    lua_pushliteral(L, "");
    return 1;
}

void standard_subject(const struct stream *stream, char *text, size_t size) {
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    snprintf(text, size, "%s", names[standard_descriptor(stream)]);
}
