/*
 * lilac.dns: names to addresses and back. The system's resolver is asked in threads that do nothing
 * else, so that neither files nor other work ever wait for a name server.
 *
 * A lookup has two ends: the thread's (it is over) and Lua's (every task that asked has its
 * outcome, or gave up); whoever comes last frees it. So a cancelled task goes on at once, however
 * long the resolver takes. Who asks what is being asked already joins that lookup, also one that
 * all others have given up: to try a dead name again and again keeps one thread busy, and not all.
 */
#include "dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/args.h"
#include "../core/crew.h"
#include "../core/list.h"
#include "../core/waitq.h"
#include "../core/work.h"
#include "address.h"
#include "builtin.h"

enum { QUESTION_SIZE = NI_MAXHOST + NI_MAXSERV + 32 };

struct lookup {
    struct job job;
    union {
        uv_req_t any;
        uv_getaddrinfo_t address;
        uv_getnameinfo_t name;
    } request;
    struct lookup *next;   /* of those that can be joined */
    struct waitq waiters;  /* until it is over */
    unsigned count;        /* of the tasks that have not taken the outcome yet */
    const uv_loop_t *loop; /* of those tasks */
    const char *name;      /* "getaddrinfo" */
    int (*ask)(uv_loop_t *loop, struct lookup *lookup); /* in a thread */
    lua_CFunction push;                                 /* the results, from a lookup at 1 */
    int status;
    bool over;
    struct addrinfo hints;
    union address address;                      /* whose name is asked for */
    char host[NI_MAXHOST], service[NI_MAXSERV]; /* whose address is; empty: nobody's */
    char subject[NI_MAXHOST];
    char question[QUESTION_SIZE]; /* of one that can be joined: all that was asked */
};

/* The lookups of this thread that can be joined, of all its loops. */
static _Thread_local struct lookup *joinable;

static void lookup_forget(struct lookup *lookup) {
    struct lookup **at = &joinable;
    while (*at && *at != lookup)
        at = &(*at)->next;
    if (*at) *at = lookup->next;
}

static void lookup_free(struct job *job) {
    struct lookup *lookup = container_of(job, struct lookup, job);
    lookup_forget(lookup);
    if (lookup->request.any.type == UV_GETADDRINFO)
        uv_freeaddrinfo(lookup->request.address.addrinfo);
    free(lookup);
}

static void lookup_leave(struct lookup *lookup) {
    if (lookup->count == 0 && lookup->over) lookup_free(&lookup->job);
}

/* In a thread. Without a callback libuv does at once what it is asked for, and the loop that it
 * wants is none that anybody turns. */
static bool lookup_run(struct job *job, void *context) {
    struct lookup *lookup = container_of(job, struct lookup, job);
    uv_loop_t loop;
    (void)context;
    lookup->status = uv_loop_init(&loop);
    if (lookup->status != 0) return true;
    lookup->status = lookup->ask(&loop, lookup);
    uv_loop_close(&loop);
    return true;
}

static void on_looked_up(struct job *job) {
    struct lookup *lookup = container_of(job, struct lookup, job);
    lookup->over = true;
    lookup_forget(lookup);
    waitq_wake_all(&lookup->waiters);
    lookup_leave(lookup);
}

static void lookup_drop(struct job *job) {
    lookup_forget(container_of(job, struct lookup, job));
}

static const struct job_type lookup_type = {
    .run = lookup_run, .done = on_looked_up, .drop = lookup_drop, .free = lookup_free};

static struct lookup *lookup_of(lilac_wait *wait) {
    return container_of(waitq_of(wait), struct lookup, waiters);
}

static bool lookup_cancel(lilac_wait *wait) {
    struct lookup *lookup = lookup_of(wait);
    waitq_unlink(wait);
    lookup->count--;
    if (lookup->count == 0) job_leave_queued(&lookup->job);
    return true;
}

/* [..., lookup]. The task leaves it whether its results could be pushed or not: hence the protected
 * call. */
static int lookup_done(lua_State *L, lilac_wait *wait) {
    struct lookup *lookup = lua_touserdata(L, -1);
    int status = lookup->status, before = lua_gettop(L);
    char what[sizeof lookup->subject + 16];
    (void)wait;
    snprintf(what, sizeof what, "%s %s", lookup->name, lookup->subject);
    lua_pushcfunction(L, lookup->push);
    lua_pushlightuserdata(L, lookup);
    bool is_failed = status != 0 || lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK;
    lookup->count--;
    lookup_leave(lookup);
    if (status != 0) return lilac_raise(L, status, "%s", what);
    return is_failed ? lua_error(L) : lua_gettop(L) - before;
}

static void lookup_describe(lilac_wait *wait, char *text, size_t size) {
    snprintf(text, size, "%s", lookup_of(wait)->subject);
}

static const lilac_op getaddrinfo_op = {.name = "dns:getaddrinfo",
                                        .cancel = lookup_cancel,
                                        .done = lookup_done,
                                        .describe = lookup_describe};

static const lilac_op getnameinfo_op = {.name = "dns:getnameinfo",
                                        .cancel = lookup_cancel,
                                        .done = lookup_done,
                                        .describe = lookup_describe};

static struct lookup *lookup_new(lua_State *L, const char *name, lua_CFunction push,
                                 const char *subject) {
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup) luaL_error(L, "%s: not enough memory", name);
    waitq_init(&lookup->waiters);
    lookup->name = name;
    lookup->push = push;
    snprintf(lookup->subject, sizeof lookup->subject, "%s", subject);
    return lookup;
}

/* 0 or a libuv code. */
static int lookup_begin(lua_State *L, struct lookup *lookup) {
    struct crew *crew = lane_crew(L, LANE_LOOKUP);
    lookup->loop = lilac_loop(L);
    lookup->job.type = &lookup_type;
    return crew ? crew_submit(crew, &lookup->job) : UV_ENOMEM;
}

/* Waits for a lookup that has begun; raises when it has not, which `status` tells. */
static int lookup_park(lua_State *L, struct lookup *lookup, int status, const lilac_op *op) {
    lookup->count++;
    lua_pushlightuserdata(L, lookup);
    if (status == 0) return waitq_park(L, &lookup->waiters, op);
    lookup->over = true;
    lookup->status = status;
    return lookup_done(L, NULL);
}

/* ---- getaddrinfo ----------------------------------------------------------------------------- */

/* [..., array, address as a text]: appends {address=, family=, port=} to the array. */
static void append_address(lua_State *L, const union address *address) {
    lua_createtable(L, 0, 3);
    lua_insert(L, -2);
    lua_setfield(L, -2, "address");
    lua_pushinteger(L, address_port(address));
    lua_setfield(L, -2, "port");
    lua_pushstring(L, address->any.sa_family == AF_INET6 ? "inet6" : "inet");
    lua_setfield(L, -2, "family");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

static int push_addresses(lua_State *L) {
    struct lookup *lookup = lua_touserdata(L, 1);
    lua_newtable(L);
    for (struct addrinfo *at = lookup->request.address.addrinfo; at; at = at->ai_next) {
        union address address = {0};
        if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
        memcpy(&address, at->ai_addr, at->ai_addrlen);
        address_push_host(L, &address);
        append_address(L, &address);
    }
    if (lua_rawlen(L, -1) == 0) lilac_raise(L, UV_EAI_NODATA, "getaddrinfo %s", lookup->subject);
    return 1;
}

static int ask_addresses(uv_loop_t *loop, struct lookup *lookup) {
    const char *host = *lookup->host ? lookup->host : NULL;
    const char *service = *lookup->service ? lookup->service : NULL;
    return uv_getaddrinfo(loop, &lookup->request.address, NULL, host, service, &lookup->hints);
}

/* One entry for each address, and not one for each kind of socket too: hence the socket type. */
static struct addrinfo check_hints(lua_State *L, int arg) {
    static const char *const known[] = {"family", "passive", NULL};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    args_options(L, arg, known);
    const char *family = args_option_string(L, arg, "family", "any");
    if (strcmp(family, "inet") == 0)
        hints.ai_family = AF_INET;
    else if (strcmp(family, "inet6") == 0)
        hints.ai_family = AF_INET6;
    else if (strcmp(family, "any") != 0)
        luaL_argerror(L, arg,
                      lua_pushfstring(L,
                                      "option 'family': 'inet', 'inet6' or 'any' "
                                      "expected, got '%s'",
                                      family));
    lua_pop(L, 1);
    if (args_option_boolean(L, arg, "passive", false)) hints.ai_flags = AI_PASSIVE;
    return hints;
}

/* The lookup that is about the same question at present, or NULL. */
static struct lookup *lookup_find(const uv_loop_t *loop, const char *question) {
    struct lookup *at = joinable;
    while (at && (at->loop != loop || strcmp(at->question, question) != 0))
        at = at->next;
    return at;
}

/* A numeric address and port need no resolver: pushes what they mean. An IPv4 address has but one
 * text, the one at 1. False, and nothing, for a name. */
static bool push_numeric(lua_State *L, const char *host, lua_Integer port, int family) {
    union address address;
    if (!address_parse(&address, host, (int)port) ||
        (family != AF_UNSPEC && family != address.any.sa_family))
        return false;
    lua_createtable(L, 1, 0);
    if (address.any.sa_family == AF_INET)
        lua_pushvalue(L, 1);
    else
        address_push_host(L, &address);
    append_address(L, &address);
    return true;
}

/* Joins or begins the lookup of a host and a service, one of which may be NULL. Tail call. */
static int lookup_park_for(lua_State *L, const char *host, const char *service,
                           const struct addrinfo *hints) {
    char question[QUESTION_SIZE];
    snprintf(question, sizeof question, "%d %d %s\n%s", hints->ai_family, hints->ai_flags,
             service ? service : "", host ? host : "");
    struct lookup *lookup = lookup_find(lilac_loop(L), question);
    if (lookup) return lookup_park(L, lookup, 0, &getaddrinfo_op);
    lookup = lookup_new(L, "getaddrinfo", push_addresses, host ? host : service);
    memcpy(lookup->question, question, sizeof question);
    snprintf(lookup->host, sizeof lookup->host, "%s", host ? host : "");
    snprintf(lookup->service, sizeof lookup->service, "%s", service ? service : "");
    lookup->hints = *hints;
    lookup->ask = ask_addresses;
    int status = lookup_begin(L, lookup);
    if (status == 0) {
        lookup->next = joinable;
        joinable = lookup;
    }
    return lookup_park(L, lookup, status, &getaddrinfo_op);
}

/* getaddrinfo(host [, service [, options]]) → array of {address=, family=, port=} */
int dns_getaddrinfo(lua_State *L) {
    const char *host = luaL_optstring(L, 1, NULL), *service = NULL;
    bool has_service = !lua_isnoneornil(L, 2);
    int is_port = true;
    lua_Integer port = has_service ? lua_tointegerx(L, 2, &is_port) : 0;
    luaL_argcheck(L, host || has_service, 1, "host expected, as there is no service");
    luaL_argcheck(L, !host || strlen(host) == lua_rawlen(L, 1), 1, "host contains a zero byte");
    luaL_argcheck(L, !host || lua_rawlen(L, 1) < NI_MAXHOST, 1, "host is too long");
    luaL_argcheck(L, !is_port || (port >= 0 && port <= UINT16_MAX), 2, "port must be 0 to 65535");
    if (!is_port) {
        luaL_argcheck(L, strlen(luaL_checkstring(L, 2)) == lua_rawlen(L, 2), 2,
                      "service contains a zero byte");
        luaL_argcheck(L, lua_rawlen(L, 2) < NI_MAXSERV, 2, "service is too long");
    }
    struct addrinfo hints = check_hints(L, 3);
    lilac_checkpoint(L);
    if (host && is_port && push_numeric(L, host, port, hints.ai_family)) return 1;
    if (has_service) service = lua_tostring(L, 2);
    return lookup_park_for(L, host, service, &hints);
}

/* is_numeric(host) → boolean */
static int dns_is_numeric(lua_State *L) {
    union address ignored;
    const char *host = luaL_checkstring(L, 1);
    lua_pushboolean(L, strlen(host) == lua_rawlen(L, 1) && address_parse(&ignored, host, 0));
    return 1;
}

/* ---- getnameinfo ----------------------------------------------------------------------------- */

static int push_names(lua_State *L) {
    struct lookup *lookup = lua_touserdata(L, 1);
    lua_pushstring(L, lookup->request.name.host);
    lua_pushstring(L, lookup->request.name.service);
    return 2;
}

static int ask_names(uv_loop_t *loop, struct lookup *lookup) {
    return uv_getnameinfo(loop, &lookup->request.name, NULL, &lookup->address.any, 0);
}

/* getnameinfo(address [, port]) → host, service */
static int dns_getnameinfo(lua_State *L) {
    int port = lua_isnoneornil(L, 2) ? 0 : (int)args_integer(L, 2, "port", 0, UINT16_MAX);
    union address address = address_check(L, 1, port);
    lilac_checkpoint(L);
    struct lookup *lookup = lookup_new(L, "getnameinfo", push_names, lua_tostring(L, 1));
    lookup->address = address;
    lookup->ask = ask_names;
    return lookup_park(L, lookup, lookup_begin(L, lookup), &getnameinfo_op);
}

int luaopen_lilac_dns(lua_State *L) {
    static const luaL_Reg functions[] = {{"getaddrinfo", dns_getaddrinfo},
                                         {"getnameinfo", dns_getnameinfo},
                                         {"is_numeric", dns_is_numeric},
                                         {NULL, NULL}};
    lilac_check_version(L);
    luaL_newlib(L, functions);
    return 1;
}
