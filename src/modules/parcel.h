/*
 * What travels between Lua states: bytes, and what they refer to. A parcel belongs to one thread
 * at a time, and no Lua state knows of it. See transfer.h.
 */
#ifndef LILAC_PARCEL_H
#define LILAC_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A large string, what string.dump makes of a function, a Channel, the name of a module. */
enum attachment_kind { ATTACHED_BYTES, ATTACHED_CODE, ATTACHED_CHANNEL, ATTACHED_MODULE };

struct attachment {
    enum attachment_kind kind;
    void *object;
    size_t size; /* of bytes */
};

struct parcel {
    struct attachment *attachments;
    uint32_t attachment_count;
    uint32_t objects; /* so many tables, functions and errors are in it */
    uint32_t count;   /* of values */
    size_t size;
    char bytes[];
};

/* A parcel of `size` bytes, with copies of the attachments, to which it has references of its own.
 * NULL: out of memory. */
struct parcel *parcel_new(const char *bytes, size_t size, const struct attachment *attachments,
                          uint32_t attachment_count);

/* NULL is fine. */
void parcel_free(struct parcel *parcel);

#endif
