/*
 * The interpreter: command line -> runtime -> exit status. What the command line asks for becomes
 * a list of jobs that the main task does in order: LUA_INIT, -l, -e and the script may all await.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/runtime.h"
#include "core/state.h"
#include "lilac.h"
#include "modules/builtin.h"

enum exit_status { GO_ON = -1, DONE = 0, FAILED = 1, USAGE = 2 };

#define MAX_SECONDS 1e9
#define MAX_WORKERS 1024

enum job_kind { JOB_NONE, JOB_CODE, JOB_FILE, JOB_SCRIPT, JOB_LIBRARY, JOB_WARNINGS };

struct job {
    enum job_kind kind;
    const char *text; /* code, file name (NULL: stdin) or library; in argv or the environment */
    const char *name; /* of the chunk, for JOB_CODE */
};

struct command {
    char **argv;
    int argc;
    int script; /* its index in argv; argc when there is none */
    bool version, ignore_environment;
    atomic_bool unloadable; /* a chunk did not compile, or could not be read: it was reported */
    unsigned workers;       /* 0: the program runs in this thread */
    struct runtime_options runtime;
    int job_count;
    struct job *jobs; /* at most one per argument, and one for LUA_INIT */
};

/* ---- messages -------------------------------------------------------------------------------- */

static void print_usage(FILE *file) {
    fputs(
        "usage: lilac [options] [script [args]]\n"
        "  -e code                  run a piece of code\n"
        "  -l mod, -l g=mod         require mod into the global mod, or g\n"
        "  -v, --version            print the version\n"
        "  -E                       ignore the environment (LUA_INIT, LUA_PATH, LILAC_DEBUG, ...)\n"
        "  -W                       turn warnings on\n"
        "  --debug                  report blocked loops and lost errors at once (LILAC_DEBUG=1)\n"
        "  --slow-callback SECONDS  what --debug calls a blocked loop (0.1)\n"
        "  --grace SECONDS          what cancelled tasks get to clean up at exit (10)\n"
        "  --workers N              run the program in N threads that share its ports; auto: one\n"
        "                           per core\n"
        "  --shuffle SEED           reorder ready tasks, always in the same way for one seed\n"
        "  --help                   print this\n"
        "  --                       end of the options\n"
        "  -                        end of the options; the script comes from stdin\n",
        file);
}

static void print_version(void) {
    printf("lilac %s (%s, libuv %s)\n", LILAC_VERSION, LUA_RELEASE, uv_version_string());
}

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("lilac: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return USAGE;
}

static int refuse(const char *option, const char *reason) {
    complain("%s: %s", option, reason);
    print_usage(stderr);
    return USAGE;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int parse_seconds(const char *option, const char *text, double *seconds) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= 0 && number <= MAX_SECONDS))
        return complain("%s: expected seconds from 0 to %g, got '%s'", option, MAX_SECONDS, text);
    *seconds = number;
    return GO_ON;
}

static int parse_seed(const char *option, const char *text, struct runtime_options *options) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno == ERANGE)
        return complain("%s: expected an integer from 0 to 2^64-1, got '%s'", option, text);
    options->shuffle = true;
    options->shuffle_seed = number;
    return GO_ON;
}

static int parse_workers(const char *option, const char *text, unsigned *workers) {
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (strcmp(text, "auto") == 0)
        number = uv_available_parallelism();
    else if (!isdigit((unsigned char)*text) || *end != '\0' || number < 1 || number > MAX_WORKERS)
        return complain("%s: expected auto, or an integer from 1 to %d, got '%s'", option,
                        MAX_WORKERS, text);
    *workers = (unsigned)number;
    return GO_ON;
}

static void add_job(struct command *command, enum job_kind kind, const char *text) {
    command->jobs[command->job_count++] = (struct job){kind, text, "=(command line)"};
}

/* An option that begins with one dash, as stock Lua has it; moves *index to the last argument that
 * it takes. As there, the code or library may be attached, or be the next argument. */
static int parse_short(struct command *command, int *index) {
    const char *option = command->argv[*index], *value = option + 2;
    switch (option[1]) {
    case 'e':
    case 'l':
        if (*value == '\0') {
            value = command->argv[++*index];
            if (value == NULL || *value == '-') return refuse(option, "needs an argument");
        }
        add_job(command, option[1] == 'e' ? JOB_CODE : JOB_LIBRARY, value);
        return GO_ON;
    case 'E': command->ignore_environment = true; break;
    case 'W': add_job(command, JOB_WARNINGS, option); break;
    case 'v': command->version = true; break;
    case 'i': return refuse("-i", "there is no interactive mode; run a script, or -e code");
    default: return refuse(option, "no such option");
    }
    return *value == '\0' ? GO_ON : refuse(option, "no such option");
}

/* Whether an option is `--name` or `--name=value`. */
static bool is_named(const char *option, const char *name) {
    size_t length = strlen(name);
    return strncmp(option, name, length) == 0 && (option[length] == '\0' || option[length] == '=');
}

/* An option that begins with two dashes; moves *index as parse_short does. */
static int parse_long(struct command *command, int *index) {
    struct runtime_options *runtime = &command->runtime;
    const char *option = command->argv[*index], *value = strchr(option, '=');
    bool grace = is_named(option, "--grace"), slow = is_named(option, "--slow-callback");
    bool workers = is_named(option, "--workers");
    if (grace || slow || workers || is_named(option, "--shuffle")) {
        value = value != NULL ? value + 1 : command->argv[++*index];
        if (value == NULL) return refuse(option, "needs an argument");
        if (grace) return parse_seconds("--grace", value, &runtime->grace_s);
        if (slow) return parse_seconds("--slow-callback", value, &runtime->slow_callback_s);
        if (workers) return parse_workers("--workers", value, &command->workers);
        return parse_seed("--shuffle", value, runtime);
    }
    if (strcmp(option, "--debug") == 0) {
        runtime->debug = true;
        return GO_ON;
    }
    if (strcmp(option, "--version") == 0)
        print_version();
    else if (strcmp(option, "--help") == 0)
        print_usage(stdout);
    else
        return refuse(option, "no such option");
    return DONE;
}

/* Whether an environment variable switches something on. */
static bool is_on(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' && strcmp(value, "0") != 0;
}

/* What the environment asks for; the command line comes first. LUA_INIT becomes the first job. */
static int read_environment(struct command *command) {
    struct runtime_options *runtime = &command->runtime;
    const char *name = "=LUA_INIT" LUA_VERSUFFIX, *init = getenv(name + 1);
    if (init == NULL) {
        name = "=LUA_INIT";
        init = getenv(name + 1);
    }
    if (init != NULL && *init == '@')
        command->jobs[0] = (struct job){JOB_FILE, init + 1, NULL};
    else if (init != NULL)
        command->jobs[0] = (struct job){JOB_CODE, init, name};
    const char *seed = getenv("LILAC_SHUFFLE");
    if (is_on("LILAC_DEBUG")) runtime->debug = true;
    if (is_on("LILAC_STRESS")) runtime->stress = true;
    if (seed == NULL || *seed == '\0' || runtime->shuffle) return GO_ON;
    return parse_seed("LILAC_SHUFFLE", seed, runtime);
}

static int refuse_stdin(void) {
    return refuse("--workers", "only one of them could read stdin: name a script");
}

/* The script, or stdin where neither a script nor code is given and nobody types there. */
static int choose_script(struct command *command) {
    char **argv = command->argv;
    int script = command->script;
    if (script < command->argc) {
        bool is_stdin = strcmp(argv[script], "-") == 0 && strcmp(argv[script - 1], "--") != 0;
        if (is_stdin && command->workers > 0) return refuse_stdin();
        add_job(command, JOB_SCRIPT, is_stdin ? NULL : argv[script]);
        return GO_ON;
    }
    for (int i = 1; i < command->job_count; i++) {
        if (command->jobs[i].kind == JOB_CODE) return GO_ON;
    }
    if (command->version) return DONE;
    if (isatty(STDIN_FILENO)) return refuse("stdin", "a terminal: name a script");
    if (command->workers > 0) return refuse_stdin();
    add_job(command, JOB_FILE, NULL);
    return GO_ON;
}

/* Fills the command from argv and the environment. Returns GO_ON, or the status to exit with. */
static int parse(struct command *command) {
    char **argv = command->argv;
    int i = 1, status;
    add_job(command, JOB_NONE, NULL); /* the place of LUA_INIT */
    for (; i < command->argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        status = argv[i][1] == '-' ? parse_long(command, &i) : parse_short(command, &i);
        if (status != GO_ON) return status;
    }
    command->script = i < command->argc ? i : command->argc;
    if (command->version) print_version();
    status = command->ignore_environment ? GO_ON : read_environment(command);
    return status == GO_ON ? choose_script(command) : status;
}

/* ---- the jobs -------------------------------------------------------------------------------- */

/* Pushes the arguments of the script, as the global `arg` has them by now. Returns their number. */
static int push_script_arguments(lua_State *L) {
    if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
    int table = lua_gettop(L), count = (int)luaL_len(L, table);
    luaL_checkstack(L, count + 1, "too many arguments to script");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return count;
}

/* Pushes what the job calls, and its arguments. Returns their number, or -1: there is nothing to
 * call. What does not compile is reported here and not raised: as in stock Lua, without a
 * traceback. */
static int push_job(lua_State *L, struct command *command, const struct job *job) {
    int status = LUA_OK;
    switch (job->kind) {
    case JOB_CODE: status = luaL_loadbuffer(L, job->text, strlen(job->text), job->name); break;
    case JOB_FILE:
    case JOB_SCRIPT: status = luaL_loadfile(L, job->text); break;
    case JOB_LIBRARY:
        lua_getglobal(L, "require");
        lua_pushstring(L, strchr(job->text, '=') ? strchr(job->text, '=') + 1 : job->text);
        return 1;
    case JOB_WARNINGS: lua_warning(L, "@on", 0); return -1;
    case JOB_NONE: return -1;
    }
    if (status == LUA_OK) return job->kind == JOB_SCRIPT ? push_script_arguments(L) : 0;
    if (!atomic_exchange(&command->unloadable, true)) complain("%s", lua_tostring(L, -1));
    return -1;
}

/* Ends a job, whose one result is on top of the stack. */
static void finish_job(lua_State *L, const struct job *job) {
    if (job->kind != JOB_LIBRARY) return;
    const char *global = lua_pushlstring(L, job->text, strcspn(job->text, "="));
    lua_insert(L, -2);
    lua_setglobal(L, global);
}

/* The main task. It is its own continuation: `next` is the first job that has not been started. */
static int run_jobs(lua_State *L, int status, lua_KContext next) {
    struct command *command = lua_touserdata(L, 1);
    (void)status; /* an error does not come here */
    for (int i = (int)next;; i++) {
        if (i > 0) finish_job(L, &command->jobs[i - 1]);
        lua_settop(L, 1);
        if (i == command->job_count) return 0;
        int count = push_job(L, command, &command->jobs[i]);
        if (command->unloadable) return 0;
        if (count >= 0) lua_callk(L, count, 1, i + 1, run_jobs);
    }
}

static int start_jobs(lua_State *L) {
    return run_jobs(L, LUA_OK, 0);
}

/* Sets `arg` as stock Lua does: the script at 0, its arguments from 1, all before it below 0. */
static void set_arg(lua_State *L, const struct command *command) {
    int script = command->script < command->argc ? command->script : 0;
    lua_createtable(L, command->argc - script, script + 1);
    for (int i = 0; i < command->argc; i++) {
        lua_pushstring(L, command->argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* The same in a worker, whose state knows nothing of the command line yet. */
static int start_worker(lua_State *L) {
    set_arg(L, lua_touserdata(L, 1));
    return start_jobs(L);
}

static int workers_over(lua_State *L, int status, lua_KContext context) {
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

/* The main task of a program with workers: lua/lilac/workers.lua. */
static int start_workers(lua_State *L) {
    struct command *command = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lilac.workers");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_pushinteger(L, command->workers);
    lua_pushcfunction(L, start_worker);
    lua_pushlightuserdata(L, command);
    lua_callk(L, 3, 0, 0, workers_over);
    return 0;
}

/* ---- the process ----------------------------------------------------------------------------- */

/* Opens all there is and runs the jobs. Returns the exit status. */
static int run(lua_State *L) {
    struct command *command = lua_touserdata(L, 1);
    if (command->ignore_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    set_arg(L, command);
    struct runtime *runtime = runtime_open(L, &command->runtime);
    lilac_open_modules(L);
    lua_CFunction start = command->workers > 0 ? start_workers : start_jobs;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->transparent_ref);
    lua_pushcfunction(L, start);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pushcfunction(L, start);
    lua_pushlightuserdata(L, command);
    lua_pushinteger(L, runtime_main(L, 1));
    return 1;
}

/* A new state from opening to closing. Sets *signal to the one that the main task died of. */
static int run_in_new_state(struct command *command, int *signal) {
    lua_State *L = state_open(0);
    int status = FAILED;
    bool is_lost = false;
    if (L == NULL) {
        complain("not enough memory");
        return status;
    }
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, command);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        status = (int)lua_tointeger(L, -1);
        *signal = runtime_exit_signal(L);
    } else {
        complain("%s", luaL_tolstring(L, -1, NULL));
        is_lost = runtime_give_up(L);
    }
    if (!is_lost) state_close(L);
    return status == DONE && command->unloadable ? FAILED : status;
}

/* Occupies those of the three standard descriptors that are closed, in a way that they fail as
 * closed ones do: else the loop's own would get their numbers, and print would write into those. */
static void occupy_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            abort();
}

int main(int argc, char **argv) {
    occupy_standard_descriptors();
    struct command command = {.argv = argv,
                              .argc = argc,
                              .jobs = calloc((size_t)argc + 2, sizeof(struct job)),
                              .runtime = {.grace_s = 10, .slow_callback_s = 0.1}};
    if (command.jobs == NULL) {
        complain("not enough memory");
        return FAILED;
    }
    int exit_signal = 0, status = parse(&command);
    if (status == GO_ON) status = run_in_new_state(&command, &exit_signal);
    free(command.jobs);
    fflush(stdout); /* not all files: a thread that was left behind may read stdin, and holds it */
    if (exit_signal != 0) {
        signal(exit_signal, SIG_DFL);
        raise(exit_signal); /* so that the shell, and make, see what happened */
    }
    if (runtime_left_threads()) _exit(status);
    return status;
}
