#include "report.h"

#include <stdio.h>
#include <string.h>

#include "list.h"
#include "runtime.h"

#define MAX_CAUSES 64          /* so many errors are shown one inside the other */
#define GRACE_NS   1000000000u /* how long a failure may wait for somebody to take it */

static struct task *current(lua_State *L) {
    return runtime_of(L)->current;
}

/* ---- tasks in words -------------------------------------------------------------------------- */

void task_text_at(lua_State *L, int index, char *text, size_t size) {
    const struct task *task = task_test(L, index);
    index = lua_absindex(L, index);
    if (task->has_name) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, task->runtime->names_ref);
        lua_pushvalue(L, index);
        lua_rawget(L, -2);
        snprintf(text, size, "task '%s'", lua_tostring(L, -1));
        lua_pop(L, 2);
    } else {
        snprintf(text, size, "task 'Task-%u'", (unsigned)task->id);
    }
}

void task_text(const struct task *task, char *text, size_t size) {
    lua_State *L = task->runtime->L;
    if (task->slot == 0 || !lua_checkstack(L, 6)) {
        snprintf(text, size, "task 'Task-%u'", (unsigned)task->id);
        return;
    }
    task_push(L, (struct task *)task);
    task_text_at(L, -1, text, size);
    lua_pop(L, 1);
}

static const char *created_at(lua_State *L, const struct task *task) {
    char text[PLACE_TEXT];
    place_text(task->created, " created at ", text, sizeof text);
    return lua_pushstring(L, text);
}

void report_push_stack(lua_State *L, struct task *task) {
    lua_State *co = task->parked_on ? task->parked_in : task->L;
    if (!task->started)
        lua_pushliteral(L, "stack traceback:\n\t(not started)");
    else
        luaL_traceback(L, co, NULL, 0);
}

/* ---- tracebacks ------------------------------------------------------------------------------ */

/* Pushes the value that a side table of the runtime has for the task object at `index`. */
static void push_side(lua_State *L, int table_ref, int index) {
    index = lua_absindex(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, table_ref);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

/* Pops a value and keeps it in a side table for the task object at `index`. */
static void set_side(lua_State *L, int table_ref, int index) {
    index = lua_absindex(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, table_ref);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 2);
}

void task_note_rethrow(lua_State *L, int index) {
    struct task *task = current(L);
    index = lua_absindex(L, index);
    if (!task || !task_test(L, index)) return;
    task_push(L, task);
    lua_pushvalue(L, index);
    set_side(L, task->runtime->rethrown_ref, -2);
    lua_pop(L, 1);
    task->rethrown = true;
}

void report_note_far(lua_State *L, int index) {
    struct task *task = current(L);
    int traceback = lua_gettop(L);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 8, "report");
    const char *far = lua_tostring(L, traceback);
    lua_pushfstring(L, "%s\nin a thread, called from:\n", far ? far : "stack traceback:");
    if (error_test(L, index)) {
        luaL_traceback(L, L, NULL, 1);
        const char *lines = strchr(lua_tostring(L, -1), '\n');
        lua_pushfstring(L, "%s%s", lua_tostring(L, -2), lines ? lines + 1 : "");
        error_set_field(L, index, "traceback");
        lua_pop(L, 1);
    }
    task_push(L, task);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, traceback + 1);
    lua_rawseti(L, -2, 2);
    set_side(L, task->runtime->rethrown_ref, -2);
    task->rethrown = true;
    lua_settop(L, traceback - 1);
}

/* Pushes the traceback of the task that the error at `error` came from through an await, with what
 * links it to the one that follows; or an empty string. */
static void push_earlier(lua_State *L, struct task *task, int error) {
    int top = lua_gettop(L);
    if (task->rethrown) {
        task_push(L, task);
        push_side(L, task->runtime->rethrown_ref, -1);
        struct task *from = task_test(L, -1);
        if (lua_istable(L, -1) && lua_rawgeti(L, -1, 1) && lua_rawequal(L, -1, error)) {
            lua_rawgeti(L, -2, 2);
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return;
        }
        if (from) {
            lua_getiuservalue(L, -1, 1);
            if (lua_rawequal(L, -1, error)) {
                report_push_traceback(L, -2);
                const char *earlier = lua_tostring(L, -1), *created = created_at(L, from);
                lua_pushfstring(L, "%s%s, awaited from:\n",
                                earlier ? earlier : "stack traceback:", created);
                lua_replace(L, top + 1);
                lua_settop(L, top + 1);
                return;
            }
        }
    }
    lua_settop(L, top);
    lua_pushliteral(L, "");
}

/* Pushes the traceback of L, which is in a message handler, without the trampoline at its end. */
static void push_own_stack(lua_State *L) {
    static const char trampoline[] = "\n\t[C]: in ?";
    size_t length, end = sizeof trampoline - 1;
    luaL_traceback(L, L, NULL, 1);
    const char *text = lua_tolstring(L, -1, &length);
    if (length < end || strcmp(text + length - end, trampoline) != 0) return;
    lua_pushlstring(L, text, length - end);
    lua_remove(L, -2);
}

int report_on_throw(lua_State *L) {
    struct task *task = current(L);
    struct error *error = error_test(L, 1);
    /* Cancelled tasks are many, and where they were matters to nobody; the cancellation of a scope
     * may become its TimeoutError, whose place this is. */
    bool is_own = task && task_owns(task, error) && !error->by_scope;
    if (is_own && task != task->runtime->main) return 1;
    if (lua_isnil(L, 1)) {
        lua_pushliteral(L, "<no error object>");
        lua_replace(L, 1);
    }
    if (!task) return 1;
    if (!lua_checkstack(L, 2 * LUA_MINSTACK)) return 1;
    char name[TASK_TEXT];
    task_text(task, name, sizeof name);
    push_earlier(L, task, 1);
    push_own_stack(L);
    const char *stack = lua_tostring(L, 3);
    const char *lines = strchr(stack, '\n');
    bool joined = *lua_tostring(L, 2) != '\0';
    if (task == task->runtime->main) {
        lua_pushfstring(L, "%s%s", lua_tostring(L, 2), joined && lines ? lines + 1 : stack);
    } else {
        lua_pushfstring(L, "%s%s\n%s", lua_tostring(L, 2), joined && lines ? lines + 1 : stack,
                        name);
    }
    task_push(L, task);
    lua_pushvalue(L, 4);
    set_side(L, task->runtime->tracebacks_ref, 5);
    if (error && error->is_shared) { /* others raise it elsewhere */
        error_new_like(L, error);
        lua_replace(L, 1);
    }
    if (error) {
        lua_pushvalue(L, 4);
        error_push_field(L, 1, "traceback");
        bool has = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (!has) error_set_field(L, 1, "traceback");
    }
    lua_settop(L, 1);
    return 1;
}

void report_push_traceback(lua_State *L, int index) {
    push_side(L, runtime_of(L)->tracebacks_ref, index);
}

/* What an xpcall's handler is replaced by. */
static int pass_through(lua_State *L) {
    lua_settop(L, 1);
    return 1;
}

void report_hide_from_handlers(lua_State *L) {
    struct runtime *runtime = runtime_of(L);
    if (runtime->xpcalls == 0 || !lua_checkstack(L, 2)) return;
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "f", &ar);
        bool is_xpcall = lua_tocfunction(L, -1) == runtime->xpcall;
        lua_pop(L, 1);
        if (!is_xpcall) continue;
        /* The handler is the second argument, in the frame of xpcall, where Lua looks for it. */
        lua_pushcfunction(L, pass_through);
        if (!lua_setlocal(L, &ar, 2)) lua_pop(L, 1);
    }
}

/* ---- errors in print ------------------------------------------------------------------------- */

/* The errors that are being printed, the innermost first: a cause may be its own cause. */
struct shown {
    const void *error;
    int depth;
    const struct shown *outer;
};

static bool is_shown(const struct shown *shown, const void *error) {
    if (shown && shown->depth >= MAX_CAUSES) return true;
    for (; shown; shown = shown->outer)
        if (shown->error == error) return true;
    return false;
}

static void push_group(lua_State *L, int index, const struct shown *outer);

static void push_error(lua_State *L, int index, int traceback, const struct shown *outer) {
    index = lua_absindex(L, index);
    if (traceback != 0) traceback = lua_absindex(L, traceback);
    luaL_checkstack(L, 12, "report");
    error_push_text(L, index);
    if (traceback != 0 && lua_isstring(L, traceback)) {
        lua_pushfstring(L, "%s\n%s", lua_tostring(L, -1), lua_tostring(L, traceback));
        lua_remove(L, -2);
    }
    struct shown shown = {lua_topointer(L, index), outer ? outer->depth + 1 : 1, outer};
    if (!error_test(L, index) || is_shown(outer, shown.error)) return;
    push_group(L, index, &shown);
    error_push_field(L, index, "cause");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_concat(L, 2);
        return;
    }
    int cause = lua_gettop(L);
    lua_pushliteral(L, "\ncaused by: ");
    if (error_test(L, cause))
        error_push_field(L, cause, "traceback");
    else
        lua_pushnil(L);
    push_error(L, cause, -1, &shown);
    lua_remove(L, -2);
    lua_remove(L, cause);
    lua_concat(L, 4);
}

/* Pushes the members of an ExceptionGroup, each with its traceback; else an empty string. */
static void push_group(lua_State *L, int index, const struct shown *outer) {
    int top = lua_gettop(L);
    lua_pushliteral(L, "");
    error_push_field(L, index, "errors");
    for (int i = 1; lua_istable(L, top + 2) && lua_rawgeti(L, top + 2, i) != LUA_TNIL; i++) {
        lua_pushfstring(L, "%s\n  error %d: ", lua_tostring(L, top + 1), i);
        if (error_test(L, top + 3))
            error_push_field(L, top + 3, "traceback");
        else
            lua_pushnil(L);
        push_error(L, top + 3, top + 5, outer);
        lua_pushvalue(L, top + 4);
        lua_insert(L, -2);
        lua_concat(L, 2);
        lua_replace(L, top + 1);
        lua_settop(L, top + 2);
    }
    lua_settop(L, top + 1);
}

void report_push_error(lua_State *L, int index, int traceback) {
    push_error(L, index, traceback, NULL);
}

/* Calls the user's exception handler with {message, exception, traceback, task}. */
static bool call_handler(lua_State *L, const char *message, int index, int traceback, int task) {
    int reference = runtime_of(L)->exception_handler_ref;
    if (reference == LUA_NOREF) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, index);
    lua_setfield(L, -2, "exception");
    if (traceback != 0) {
        lua_pushvalue(L, traceback);
        lua_setfield(L, -2, "traceback");
    }
    if (task != 0) {
        lua_pushvalue(L, task);
        lua_setfield(L, -2, "task");
    }
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
    error_push_text(L, -1);
    fprintf(stderr, "lilac: the exception handler failed: %s\n", lua_tostring(L, -1));
    return false;
}

void report_exception(lua_State *L, const char *message, int index, int traceback, int task) {
    if (!lua_checkstack(L, 20)) return;
    int top = lua_gettop(L);
    index = lua_absindex(L, index);
    if (task != 0 && traceback != 0 && lua_isstring(L, traceback)) {
        lua_pushvalue(L, traceback);
        created_at(L, task_test(L, task));
        lua_concat(L, 2);
        traceback = lua_gettop(L);
    }
    if (!call_handler(L, message, index, traceback, task)) {
        report_push_error(L, index, traceback);
        fprintf(stderr, "lilac: %s: %s\n", message, lua_tostring(L, -1));
        fflush(stderr);
    }
    lua_settop(L, top);
}

/* ---- failures that nobody took --------------------------------------------------------------- */

static void report_one(lua_State *L, int index) {
    struct task *task = task_test(L, index);
    index = lua_absindex(L, index);
    if (task->future.taken || task->future.reported) return;
    if (task->future.adopted && !task->runtime->options.debug) return;
    lua_getiuservalue(L, index, 1);
    /* os.exit ends tasks anywhere: who awaited one of them has not failed. */
    bool is_exit = task->runtime->exiting && error_is(L, -1, "CancelledError");
    lua_pop(L, 1);
    if (is_exit) return;
    task->future.reported = true;
    task->runtime->untaken++;
    char name[TASK_TEXT], message[TASK_TEXT + 40];
    task_text_at(L, index, name, sizeof name);
    snprintf(message, sizeof message, "%s failed and nobody took its error", name);
    lua_getiuservalue(L, index, 1);
    report_push_traceback(L, index);
    report_exception(L, message, -2, lua_gettop(L), index);
    lua_pop(L, 2);
}

/* The queue of failures is a table of pairs: task, time of its report. */
void report_failure(lua_State *L, int index) {
    struct runtime *runtime = runtime_of(L);
    index = lua_absindex(L, index);
    if (runtime->options.debug) {
        report_one(L, index);
        return;
    }
    uint64_t due_ns = clock_now(&runtime->clock) + GRACE_NS;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->failures_ref);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, ++runtime->failures_last);
    lua_pushinteger(L, (lua_Integer)due_ns);
    lua_rawseti(L, -2, ++runtime->failures_last);
    lua_pop(L, 1);
    if (runtime->report_deadline.place == 0)
        clock_arm(&runtime->clock, &runtime->report_deadline, due_ns);
}

void report_on_deadline(struct deadline *deadline) {
    container_of(deadline, struct runtime, report_deadline)->reports_due = true;
}

void report_due(struct runtime *runtime, bool at_exit) {
    lua_State *L = runtime->L;
    int top = lua_gettop(L);
    luaL_checkstack(L, 12, "report");
    runtime->reports_due = false;
    uint64_t now_ns = clock_now(&runtime->clock);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->failures_ref);
    while (runtime->failures_first < runtime->failures_last) {
        lua_settop(L, top + 1);
        lua_rawgeti(L, top + 1, runtime->failures_first + 1);
        lua_rawgeti(L, top + 1, runtime->failures_first + 2);
        uint64_t due_ns = (uint64_t)lua_tointeger(L, -1);
        if (due_ns > now_ns && !at_exit) {
            clock_arm(&runtime->clock, &runtime->report_deadline, due_ns);
            break;
        }
        for (int i = 0; i < 2; i++) {
            lua_pushnil(L);
            lua_rawseti(L, top + 1, ++runtime->failures_first);
        }
        report_one(L, top + 2);
    }
    lua_settop(L, top);
}
