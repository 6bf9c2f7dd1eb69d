/* Empty jobs in libuv's own pool, so many in flight: wall time per job, there and back. */
#include "../limit.h"

#include <uv.h>

static long left;

static void on_work(uv_work_t *request) {
    (void)request;
}

static void on_worked(uv_work_t *request, int status) {
    (void)status;
    if (left-- > 0) uv_queue_work(request->loop, request, on_work, on_worked);
}

int main(int argc, char **argv) {
    long count = limit_count(argc, argv), in_flight = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    uv_loop_t *loop = uv_default_loop();
    uv_work_t *requests = calloc((size_t)in_flight, sizeof *requests);
    if (!requests) return 1;
    left = count - in_flight;
    uint64_t start_ns = uv_hrtime();
    for (long i = 0; i < in_flight; i++)
        uv_queue_work(loop, &requests[i], on_work, on_worked);
    uv_run(loop, UV_RUN_DEFAULT);
    printf("ns %f\n", (double)(uv_hrtime() - start_ns) / (double)count);
    free(requests);
    return 0;
}
