/* What the limits over streams of libuv share: one read buffer for all connections, and sending, of
 * which only what the socket does not take is copied. */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <stdlib.h>
#include <string.h>

#include <uv.h>

struct rest {
    uv_write_t request;
    char bytes[];
};

static char inbox[65536];

static inline void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(inbox, sizeof inbox);
}

static inline void on_write(uv_write_t *request, int status) {
    (void)status;
    free(request->data);
}

static inline void rest_write(uv_stream_t *stream, const char *bytes, size_t size) {
    struct rest *rest = malloc(sizeof *rest + size);
    memcpy(rest->bytes, bytes, size);
    rest->request.data = rest;
    uv_buf_t buffer = uv_buf_init(rest->bytes, (unsigned)size);
    if (uv_write(&rest->request, stream, &buffer, 1, on_write) != 0) free(rest);
}

static inline void stream_send(uv_stream_t *stream, char *bytes, size_t size) {
    uv_buf_t out = uv_buf_init(bytes, (unsigned)size);
    int sent = uv_try_write(stream, &out, 1);
    if (sent < 0) sent = 0;
    if ((size_t)sent < size) rest_write(stream, bytes + sent, size - (size_t)sent);
}

#endif
