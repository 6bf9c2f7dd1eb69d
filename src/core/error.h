/*
 * Error objects: userdata with a class and named fields. They know nothing of tasks or loops. What
 * modules need (lilac_raise, lilac_throw) is in lilac.h; this is the rest. Indexes are absolute or
 * relative, as in Lua.
 */
#ifndef LILAC_ERROR_H
#define LILAC_ERROR_H

#include "../lilac.h"
#include "place.h"

/* Where a cancellation comes from. */
struct cancel_origin {
    const char *by; /* static: "task:cancel()", or with a %g for `seconds`: "timeout(%g)" */
    double seconds;
    struct place place;
};

/* An error object. Its uservalue is the table of its fields, made when the first one is set. What
 * can be told from the struct alone costs no table: cancellations and timeouts are many. */
struct error {
    uint32_t magic;
    uint32_t class_index;
    const void *task;  /* CancelledError: the task that it ends; an identity, never followed, … */
    uint32_t task_id;  /* … and its number, as another task may come to the same address */
    const void *scope; /* CancelledError: the scope that asked, or NULL; an identity as well */
    struct cancel_origin
        origin; /* of a CancelledError or of a scope's TimeoutError; by NULL: none */
};

/* Pops a message and pushes a new error of the named class. */
struct error *error_new(lua_State *L, const char *class_name);

/* Pushes a CancelledError of `task` by `scope`, without a message. */
struct error *error_new_cancelled(lua_State *L, const void *task, const void *scope,
                                  const struct cancel_origin *origin);

/* What the CancelledError of an expired scope is outside of it: a TimeoutError. */
void error_become_timeout(struct error *cancelled);

/* Pops a message that ends before its reason, "connect 127.0.0.1:1", and pushes the error that
 * belongs to the negative libuv code. */
void error_new_system(lua_State *L, int code);

/* Pushes an error of the same class and origin, that of no task, without fields. */
struct error *error_new_like(lua_State *L, const struct error *other);

/* The error object at `index`, or NULL. */
struct error *error_test(lua_State *L, int index);

/* Whether the value at `index` is an error object of the class or of a child of it. */
bool error_is(lua_State *L, int index, const char *class_name);

/* Pops a value and makes it the field `name` of the error at `index`. */
void error_set_field(lua_State *L, int index, const char *name);

/* Pushes the field `name` of the error at `index`, or nil. */
void error_push_field(lua_State *L, int index, const char *name);

/* Gives the error at `index` the traceback of L from `level`, unless it has one. */
void error_add_traceback(lua_State *L, int index, int level);

/* Pushes the text of any error value as a terminal should show it: strings as they are, objects
 * through __tostring, others by their type, "<no error object>" for nil. Never raises. */
const char *error_push_text(lua_State *L, int index);

/* An origin at the place of the Lua function that called the running C function. */
struct cancel_origin cancel_origin_here(lua_State *L, const char *by, double seconds);

/* Pushes the module `lilac.errors`. */
int luaopen_lilac_errors(lua_State *L);

#endif
