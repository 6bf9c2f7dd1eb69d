#include "late.h"

#include "runtime.h"

void late_init(struct late *late, void (*run)(struct late *late)) {
    list_init(&late->link);
    late->run = run;
}

void late_plan(lua_State *L, struct late *late) {
    list_append(&runtime_of(L)->late, &late->link);
}

bool late_drop(struct late *late) {
    if (list_empty(&late->link)) return false;
    list_unlink(&late->link);
    return true;
}

void late_run(struct list *planned) {
    struct list *link;
    while ((link = list_shift(planned))) {
        struct late *late = container_of(link, struct late, link);
        late->run(late);
    }
}
