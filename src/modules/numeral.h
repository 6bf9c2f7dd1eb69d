/*
 * Numerals at the front of some bytes, as io's format "n" reads them: the longest prefix that may
 * be one, at most 200 characters, after white space.
 */
#ifndef LILAC_NUMERAL_H
#define LILAC_NUMERAL_H

#include <stdbool.h>
#include <stddef.h>

enum { NUMERAL_SIZE = 200 };

struct numeral {
    char text[NUMERAL_SIZE + 1]; /* "" when it is too long; it need not be a number */
    size_t taken;                /* so many bytes, white space included */
};

/* False: more bytes are needed to tell. With `ended` there are none, and it always can. */
bool numeral_read(struct numeral *numeral, const char *bytes, size_t size, bool ended);

#endif
