/*
 * Objects of C modules that own nothing but memory (locks, queues): a userdata that begins with the
 * address of its type. That word tells it from any other userdata in 1 ns (luaL_checkudata: 16 ns).
 * What owns an OS handle is a lilac_handle instead.
 */
#ifndef LILAC_OBJECT_H
#define LILAC_OBJECT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Several classes may share one type: BoundedSemaphore is a Semaphore with another metatable. */
struct object_type {
    const char *name; /* what errors call it: "Semaphore" */
    size_t size;      /* of the struct, whose first member is a `const struct object_type *` */
};

/* Creates the metatable of a class ("lilac.Queue", whose __name is then "Queue") with its methods
 * and metamethods (may be NULL). Leaves nothing on the stack. */
void object_class(lua_State *L, const char *class_name, const luaL_Reg *methods,
                  const luaL_Reg *meta);

/* Says of the metatable on top of the stack that its objects keep it, and their uservalues, which
 * may be all that keeps alive what C points at: the functions of `debug` refuse to change them. */
void object_seal(lua_State *L);

/* Whether the value at `index` is such an object. */
bool object_is_sealed(lua_State *L, int index);

/* Pushes a new object, zeroed but for its type. */
void *object_new(lua_State *L, const struct object_type *type, const char *class_name,
                 int uservalues);

/* The object of that type at `arg`; an argument error for anything else. */
static inline void *object_check(lua_State *L, int arg, const struct object_type *type) {
    void *object = lua_touserdata(L, arg);
    /* The length of a light userdata is 0: it is never followed. */
    if (object && lua_rawlen(L, arg) == type->size && *(const struct object_type **)object == type)
        return object;
    luaL_typeerror(L, arg, type->name);
    return NULL;
}

/* Puts a new table into the registry at `key` that finds objects, or what belongs to them, and
 * keeps none alive: its keys ("k") or values ("v") are weak. */
void object_weak_table(lua_State *L, const void *key, const char *mode);

/* Pushes "Queue (<state>): 0x…" for the object at 1: the end of a __tostring. `state` is at the top
 * of the stack, and popped. */
int object_tostring(lua_State *L);

#endif
