#include "parcel.h"

#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "code.h"

/* Makes the copy of an attachment; false: out of memory. */
static bool attach(struct attachment *copy, const struct attachment *from) {
    *copy = *from;
    switch (from->kind) {
    case ATTACHED_CODE: code_ref(copy->object); return true;
    case ATTACHED_CHANNEL: channel_ref(copy->object); return true;
    case ATTACHED_BYTES:
    case ATTACHED_MODULE:
        copy->object = malloc(from->size);
        if (copy->object) memcpy(copy->object, from->object, from->size);
        return copy->object != NULL;
    }
    return false;
}

static void detach(struct attachment *attachment) {
    switch (attachment->kind) {
    case ATTACHED_CODE: code_unref(attachment->object); break;
    case ATTACHED_CHANNEL: channel_unref(attachment->object); break;
    case ATTACHED_BYTES:
    case ATTACHED_MODULE: free(attachment->object); break;
    }
}

struct parcel *parcel_new(const char *bytes, size_t size, const struct attachment *attachments,
                          uint32_t attachment_count) {
    /* The attachments stand behind the bytes, where they are aligned. */
    size_t align = _Alignof(struct attachment);
    size_t place = (offsetof(struct parcel, bytes) + size + align - 1) / align * align;
    struct parcel *parcel = malloc(place + attachment_count * sizeof *attachments);
    if (!parcel) return NULL;
    *parcel =
        (struct parcel){.attachments = (struct attachment *)((char *)parcel + place), .size = size};
    memcpy(parcel->bytes, bytes, size);
    for (; parcel->attachment_count < attachment_count; parcel->attachment_count++) {
        uint32_t i = parcel->attachment_count;
        if (attach(&parcel->attachments[i], &attachments[i])) continue;
        parcel_free(parcel);
        return NULL;
    }
    return parcel;
}

void parcel_free(struct parcel *parcel) {
    if (!parcel) return;
    for (uint32_t i = 0; i < parcel->attachment_count; i++)
        detach(&parcel->attachments[i]);
    free(parcel);
}
