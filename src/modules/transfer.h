/*
 * Values between Lua states, in parcels. Copied are nil, booleans, numbers, strings, light
 * userdata, tables with their metatables (unless those have __gc or __close: what owns something
 * stays where it is), Lua functions with their upvalues, C functions, error objects. Channels and
 * context variables are the same object at both ends. Modules, and what has no other way and is a
 * field of one, travel by name: each state has its own. An upvalue `_ENV`, whatever it is here,
 * becomes the globals over there.
 *
 * Neither end recurses: what a parcel refers to is numbered as it is met, and its contents follow
 * one after the other. So nothing is too deep, and cycles are no matter.
 */
#ifndef LILAC_TRANSFER_H
#define LILAC_TRANSFER_H

#include "../lilac.h"
#include "parcel.h"

/* What becomes of a value that cannot travel. */
enum refusal {
    REFUSE,      /* an error that names the path to it */
    TRAVEL_TEXT, /* a text in its place: parts of errors */
    TRAVEL_NIL,  /* nil: context variables */
};

struct wording {
    const char *op;   /* "to_thread": the begin of an error */
    const char *root; /* what the values are: "argument" */
    int first;        /* the number of the first one in errors; 0: there is but one */
    enum refusal refusal;
};

/* Packs `count` values from the index `first` on. Raises; never returns NULL. Runs no Lua code. */
struct parcel *transfer_pack(lua_State *L, int first, int count, const struct wording *wording);

/* Pushes the values of a parcel and returns their number. Raises, and may run Lua code, where a
 * module must be loaded that was not. */
int transfer_unpack(lua_State *L, const struct parcel *parcel);

/* The next module that the parcel needs and this state has not loaded, from *at on, which moves
 * behind it; or NULL. For who can await while it is loaded. */
const char *transfer_missing(lua_State *L, const struct parcel *parcel, uint32_t *at);

/* ---- the form of a parcel, for transfer.c and unpack.c --------------------------------------- */

/* A tag stands before every value. */
enum tag {
    TAG_NIL,
    TAG_FALSE,
    TAG_TRUE,
    TAG_INTEGER,
    TAG_FLOAT,
    TAG_SHORT,  /* string: a byte of length, bytes */
    TAG_LONG,   /* string: its attachment */
    TAG_LIGHT,  /* light userdata */
    TAG_C,      /* C function without upvalues */
    TAG_PLAIN,  /* Lua function that has no upvalues of its own: its attachment */
    TAG_MODULE, /* attachment with its name */
    TAG_FIELD,  /* attachment with the module's name, string */
    TAG_CHANNEL,
    TAG_GLOBALS,
    TAG_SEEN, /* the number of an object that was met before */
    /* What is met for the first time, and gets the next number. Its contents come later. */
    TAG_TABLE,    /* the length of its array; contents: metatable, keys and values, TAG_END */
    TAG_FUNCTION, /* attachment; contents: per upvalue TAG_SHARED or a value */
    TAG_ERROR,    /* a struct error, the name of its place; contents: fields, cause */
    TAG_VARIABLE, /* its number; contents: name, default */
    TAG_SHARED,   /* upvalue that is one of a function met before: its number, the upvalue's */
    TAG_END
};

enum { SHORT_MAX = 255 };

#endif
