/*
 * What is left to do when a stream was closed: to send what it accepted, to say the filter's last
 * words, and to hear the peer out. All of it is bounded in time.
 *
 * Why the peer is heard out: to close a socket that has unread input in it does not end the
 * connection but resets it. What was sent last and is still on its way is lost, and what the peer
 * has not read yet ends in an error, such as the answer to a request that was too large to be read.
 */
#include <stdlib.h>

#include "../core/list.h"
#include "stream_halves.h"

enum { HEAR_OUT_MS = 5000, HEAR_OUT_MAX = 16 * 1024 * 1024 };

/* Belongs to a stream, and lives a little longer: until its timer is closed. */
struct lingering {
    uv_timer_t timer;
    struct stream *stream;
    size_t heard; /* bytes that were thrown away */
};

static void on_time_over(uv_timer_t *timer) {
    lilac_handle_finish(&container_of(timer, struct lingering, timer)->stream->handle);
}

static struct lingering *lingering_of(struct stream *stream) {
    uv_loop_t *loop = stream->handle.uv->loop;
    if (stream->lingering) return stream->lingering;
    struct lingering *lingering = stream->lingering = calloc(1, sizeof *lingering);
    if (!lingering) return NULL;
    lingering->stream = stream;
    uv_timer_init(loop, &lingering->timer);
    uv_unref((uv_handle_t *)&lingering->timer);
    return lingering;
}

bool stream_linger_for(struct stream *stream, unsigned ms) {
    struct lingering *lingering = lingering_of(stream);
    if (!lingering) return false;
    uv_update_time(lingering->timer.loop);
    uv_timer_start(&lingering->timer, on_time_over, ms, 0);
    return true;
}

static void on_timer_closed(uv_handle_t *timer) {
    free(container_of((uv_timer_t *)timer, struct lingering, timer));
}

void stream_linger_free(struct stream *stream) {
    struct lingering *lingering = stream->lingering;
    if (lingering) uv_close((uv_handle_t *)&lingering->timer, on_timer_closed);
}

/* Once the sending direction is over, or the peer's, there is nothing to lose, or nothing to hear.
 */
static bool hear_out(struct stream *stream) {
    return stream->ops->hear_out && !stream->is_given_away && stream->write_status == 0 &&
           stream->read_status == 0 && stream->ops->hear_out(stream, false) &&
           stream_linger_for(stream, HEAR_OUT_MS);
}

void stream_heard(struct stream *stream, ssize_t size) {
    struct lingering *lingering = stream->lingering;
    if (size > 0) lingering->heard += (size_t)size;
    if (size < 0 || lingering->heard > HEAR_OUT_MAX) lilac_handle_finish(&stream->handle);
}

/* What was accepted goes first; then a filter may have something to say. */
static bool is_sending(struct stream *stream) {
    stream_uncork(stream);
    return stream_unsent(stream) > 0 || (stream->filter && stream->filter->ops->farewell(stream));
}

bool stream_lingers(lilac_handle *handle) {
    struct stream *stream = (struct stream *)handle;
    if (!is_sending(stream)) return hear_out(stream);
    if (stream->ops->linger) stream->ops->linger(stream);
    return true;
}

void stream_linger_on(struct stream *stream) {
    if (!is_sending(stream) && !hear_out(stream)) lilac_handle_finish(&stream->handle);
}
