#include "scratch.h"

#include <stdlib.h>

_Thread_local struct scratch *scratch;

bool scratch_open(void) {
    if (!scratch) scratch = aligned_alloc(_Alignof(struct scratch), sizeof *scratch);
    return scratch != NULL;
}

void scratch_free(void) {
    free(scratch);
    scratch = NULL;
}
