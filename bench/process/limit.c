/* The limit of starting processes: uv_spawn and its exit callback, eight at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { AT_A_TIME = 8 };

static long left;
static char *argv_of_true[] = {"true", NULL};

static void start(uv_process_t *process);

static void on_closed(uv_handle_t *handle) {
    if (left > 0)
        start((uv_process_t *)handle);
    else
        free(handle);
}

static void on_ended(uv_process_t *process, int64_t status, int signo) {
    if (status != 0 || signo != 0) exit(1);
    uv_close((uv_handle_t *)process, on_closed);
}

static void start(uv_process_t *process) {
    uv_stdio_container_t stdio[3] = {0};
    uv_process_options_t options = {.file = "true",
                                    .args = argv_of_true,
                                    .exit_cb = on_ended,
                                    .stdio = stdio,
                                    .stdio_count = 3};
    for (int i = 0; i < 3; i++) {
        stdio[i].flags = UV_INHERIT_FD;
        stdio[i].data.fd = i;
    }
    left--;
    if (uv_spawn(uv_default_loop(), process, &options) != 0) exit(1);
}

int main(int argc, char **argv) {
    long count = left = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    uint64_t began_ns = uv_hrtime();
    for (int i = 0; i < AT_A_TIME && left > 0; i++)
        start(malloc(sizeof(uv_process_t)));
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("us %.1f\n", (double)(uv_hrtime() - began_ns) / 1e3 / (double)count);
    return 0;
}
