#include "scope.h"

#include "interrupt.h"

void scope_enter(lua_State *L, struct scope *scope) {
    struct task *task = task_running(L);
    struct runtime *runtime = task->runtime;
    if (!slots_reserve(&runtime->scope_slots)) luaL_error(L, "not enough memory");
    uint32_t slot = runtime->scope_slots.free[runtime->scope_slots.free_count - 1];
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->scopes_ref);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, slot); /* the last thing here that can raise */
    lua_pop(L, 1);
    scope->slot = slots_take(&runtime->scope_slots);
    scope->task = task;
    scope->deadline.kind = DEADLINE_SCOPE;
    scope->outer = task->scope;
    if (scope->outer) scope->outer->inner = scope;
    task->scope = scope;
    if (scope->interrupt) interrupt_watch(runtime);
}

void scope_exit(lua_State *L, struct scope *scope) {
    scope_leave(scope);
    if (scope->slot == 0) return;
    struct runtime *runtime = runtime_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->scopes_ref);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, scope->slot);
    lua_pop(L, 1);
    slots_give(&runtime->scope_slots, scope->slot);
    scope->slot = 0;
}

void scope_leave(struct scope *scope) {
    struct task *task = scope->task;
    if (!task) return;
    if (scope->interrupt) interrupt_unwatch(task->runtime);
    clock_disarm(&task->runtime->clock, &scope->deadline);
    if (scope->requested && !scope->delivered) task->pending--;
    scope->delivered = true;
    if (scope->outer) scope->outer->inner = scope->inner;
    if (scope->inner)
        scope->inner->outer = scope->outer;
    else
        task->scope = scope->outer;
    scope->task = NULL;
    scope->outer = scope->inner = NULL;
}

/* More than a task can count are as good as none: it has enough to raise. */
void scope_cancel(struct scope *scope) {
    if (scope->requested || !scope->task || scope->task->pending >= UINT16_MAX - 1) return;
    scope->requested = true;
    scope->task->pending++;
    task_interrupt(scope->task);
}

void scope_rearm(struct task *task, const struct error *error) {
    for (struct scope *scope = task->scope; scope; scope = scope->outer) {
        if (scope->error != error->number || !scope->delivered) continue;
        scope->delivered = false;
        task->pending++;
    }
}

bool scope_arm(struct scope *scope, uint64_t when_ns) {
    return clock_arm(&scope->task->runtime->clock, &scope->deadline, when_ns);
}

bool scope_owns(lua_State *L, const struct scope *scope, int index) {
    const struct error *error = error_test(L, index);
    return error && error->by_scope && error->number == scope->error;
}

struct scope *scope_pending(const struct task *task) {
    struct scope *found = NULL;
    for (struct scope *scope = task->scope; scope; scope = scope->outer)
        if (scope->requested && !scope->delivered) found = scope;
    return found;
}

bool scope_has_deadline(const struct task *task) {
    for (const struct scope *scope = task->scope; scope; scope = scope->outer)
        if (scope->deadline.place != 0) return true;
    return false;
}

void scope_leave_all(struct task *task) {
    while (task->scope) {
        if (task->scope->on_abandon) task->scope->on_abandon(task->scope);
        scope_exit(task->runtime->L, task->scope);
    }
}

void scope_on_deadline(struct deadline *deadline) {
    scope_cancel(container_of(deadline, struct scope, deadline));
}
