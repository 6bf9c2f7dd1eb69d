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
    float seconds;  /* as exact as they are printed */
    struct place place;
};

/* What else a CancelledError may end: in place of the number of a task. */
#define CANCELLED_FUTURE   0u
#define CANCELLED_CALLBACK UINT32_MAX

/* An error object. Its uservalue is the table of its fields, made when the first one is set. What
 * can be told from the struct alone costs no table: cancellations and timeouts are many. Those of
 * plain cancellations do without the uservalue too. */
struct error {
    uint32_t magic;
    uint8_t class_index;
    bool by_scope;    /* CancelledError: a scope asked for it */
    bool is_shared;   /* CancelledError: it ends several tasks, which know it by its number */
    uint32_t task_id; /* CancelledError: of the one task that it ends */
    uint32_t number;  /* of one by a scope or a shared one: no other one has it */
    struct cancel_origin origin; /* of that or of a scope's TimeoutError; by NULL: none */
};

/* Pops a message and pushes a new error of the named class. */
struct error *error_new(lua_State *L, const char *class_name);

/* Pushes a CancelledError, of the task with that number. It `is_plain` when fields of it are
 * unlikely to be set. */
struct error *error_new_cancelled(lua_State *L, uint32_t task_id, bool is_plain,
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

/* Pushes the table of the fields of the error at `index`, or nil. */
bool error_push_fields(lua_State *L, int index);

/* Whose are the fields of a shared error? holder(error, is_set) returns the object: the error, or
 * the one of its tasks that runs; one of them is to be set when `is_set`. */
void error_set_holder(lua_State *L, lua_CFunction holder);

/* Gives the error on top of the stack the fields that the object at `index` holds. */
void error_take_fields(lua_State *L, int index);

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
