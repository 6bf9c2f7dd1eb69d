/*
 * What people read: tracebacks that go on through awaiting tasks, errors that nobody took.
 */
#ifndef LILAC_REPORT_H
#define LILAC_REPORT_H

#include "sched.h"

/* The message handler of every task: keeps the traceback at the throw. */
int report_on_throw(lua_State *L);

/* A cancellation is about to be raised in L: the message handlers of xpcalls on its stack must not
 * see it, as it is not theirs to handle. */
void report_hide_from_handlers(lua_State *L);

/* A failed task (the object at `index`) whose error nobody awaited: reports it after the grace. */
void report_failure(lua_State *L, int index);

/* Reports the failures whose grace has passed; all of them with `at_exit`. */
void report_due(struct runtime *runtime, bool at_exit);
void report_on_deadline(struct deadline *deadline);

/* Calls the exception handler, or prints: `message` says what failed; the error is at `index`; its
 * traceback is a string at `traceback` (0: none); `task` is 0 or an index. Never raises. */
void report_exception(lua_State *L, const char *message, int index, int traceback, int task);

/* Pushes the error at `index` as it is printed: text, traceback (an index, or 0), causes, members.
 */
void report_push_error(lua_State *L, int index, int traceback);

/* The running task is about to raise an error that comes from another thread, and is at `index`;
 * its traceback there, or nil, is on top of the stack, and popped. The traceback goes on here. */
void report_note_far(lua_State *L, int index);

/* Pushes the traceback kept for the ended task at `index`, or nil. */
void report_push_traceback(lua_State *L, int index);

/* Pushes the stack of a live task, the way it will go on. */
void report_push_stack(lua_State *L, struct task *task);

#endif
