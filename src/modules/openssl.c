#include "openssl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <uv.h>

#define STRING(x) #x
#define VALUE(x)  STRING(x)

/* Of the version that the headers are of: others may have other functions. */
#define LIBRARY "libssl.so." VALUE(OPENSSL_SHLIB_VERSION)

struct openssl ossl;

static char failure[256];

/* libssl brings libcrypto with it: dlsym looks into both. */
static void load(void) {
    static const char *const names[] = {
#define NAME(name) #name,
        OPENSSL_FUNCTIONS(NAME)
#undef NAME
    };
    void **members = (void **)&ossl;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library && i < sizeof names / sizeof *names; i++) {
        members[i] = dlsym(library, names[i]);
        if (!members[i]) library = NULL;
    }
    if (!library) snprintf(failure, sizeof failure, "%s", dlerror());
}

const char *openssl_load(void) {
    static uv_once_t once = UV_ONCE_INIT;
    uv_once(&once, load);
    return *failure ? failure : NULL;
}
