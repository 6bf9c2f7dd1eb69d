#include "numeral.h"

#include <ctype.h>
#include <locale.h>
#include <string.h>

enum { NONE = -1 };

struct scan {
    const unsigned char *at, *end;
    char *text;
    size_t length;
    bool is_too_long;
};

static int current(const struct scan *scan) {
    return scan->at < scan->end ? *scan->at : NONE;
}

/* Takes the current character into the text. False when there is no room for it. */
static bool take(struct scan *scan) {
    if (scan->length == NUMERAL_SIZE) {
        scan->is_too_long = true;
        return false;
    }
    scan->text[scan->length++] = (char)*scan->at++;
    return true;
}

static bool take_one_of(struct scan *scan, const char set[2]) {
    int c = current(scan);
    return c != NONE && (c == (unsigned char)set[0] || c == (unsigned char)set[1]) && take(scan);
}

static int take_digits(struct scan *scan, bool is_hex) {
    int count = 0, c;
    while ((c = current(scan)) != NONE && (is_hex ? isxdigit(c) : isdigit(c)) && take(scan))
        count++;
    return count;
}

bool numeral_read(struct numeral *numeral, const char *bytes, size_t size, bool ended) {
    const unsigned char *start = (const unsigned char *)bytes;
    struct scan scan = {.at = start, .end = start + size, .text = numeral->text};
    const char points[2] = {localeconv()->decimal_point[0], '.'};
    bool is_hex = false;
    int count = 0;
    while (scan.at < scan.end && isspace(*scan.at))
        scan.at++;
    take_one_of(&scan, "-+");
    if (take_one_of(&scan, "00")) {
        if (take_one_of(&scan, "xX"))
            is_hex = true;
        else
            count = 1;
    }
    count += take_digits(&scan, is_hex);
    if (take_one_of(&scan, points)) count += take_digits(&scan, is_hex);
    if (count > 0 && take_one_of(&scan, is_hex ? "pP" : "eE")) {
        take_one_of(&scan, "-+");
        take_digits(&scan, false);
    }
    numeral->text[scan.is_too_long ? 0 : scan.length] = '\0';
    numeral->taken = (size_t)(scan.at - start);
    return ended || scan.is_too_long || scan.at < scan.end;
}
