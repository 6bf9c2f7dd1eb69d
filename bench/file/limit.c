/* The limit of reading files: blocking read(2) under the Lua code of lilac.lua; for small files,
 * libuv's requests in C, as many at once as lilac.lua has tasks. */
#include "../limit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { CHUNK = 65536, TASKS = 16, SMALL_FILES = 1000, SMALL_ROOM = 65536 };

static int fd;
static char chunk[CHUNK];
static size_t start, end;

static double wall_seconds(void) {
    return (double)uv_hrtime() / 1e9;
}

/* ---- chunks and lines ------------------------------------------------------------------------ */

static int next_chunk(lua_State *L) {
    ssize_t size = read(fd, chunk, sizeof chunk);
    if (size <= 0) return 0;
    lua_pushlstring(L, chunk, (size_t)size);
    return 1;
}

/* The lines of the file end where chunks end. */
static int next_line(lua_State *L) {
    if (start == end) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size <= 0) return 0;
        start = 0;
        end = (size_t)size;
    }
    const char *newline = memchr(chunk + start, '\n', end - start);
    size_t size = (size_t)(newline - (chunk + start));
    lua_pushlstring(L, chunk + start, size);
    start += size + 1;
    return 1;
}

static const luaL_Reg functions[] = {{"chunks", next_chunk}, {"lines", next_line}, {NULL, NULL}};

static const char source[] = "return function(read)\n"
                             "  local size = 0\n"
                             "  for piece in read do size = size + #piece end\n"
                             "end\n";

static void read_large(const char *kind, const char *path) {
    lua_State *L = limit_open(functions, source);
    fd = open(path, O_RDONLY);
    lua_getglobal(L, kind);
    limit_check(L, lua_pcall(L, 1, 0, 0));
    lua_close(L);
}

/* ---- small files: open, fstat, read, close --------------------------------------------------- */

static const char *folder;
static long left;

struct reader {
    uv_fs_t request;
    uv_file file;
    char bytes[SMALL_ROOM];
};

static void reader_next(struct reader *reader);

static void on_closed(uv_fs_t *request) {
    uv_fs_req_cleanup(request);
    reader_next((struct reader *)request);
}

static void on_read(uv_fs_t *request) {
    struct reader *reader = (struct reader *)request;
    uv_fs_req_cleanup(request);
    uv_fs_close(request->loop, request, reader->file, on_closed);
}

static void on_stat(uv_fs_t *request) {
    struct reader *reader = (struct reader *)request;
    uv_buf_t buffer = uv_buf_init(reader->bytes, (unsigned)request->statbuf.st_size);
    uv_fs_req_cleanup(request);
    uv_fs_read(request->loop, request, reader->file, &buffer, 1, -1, on_read);
}

static void on_open(uv_fs_t *request) {
    struct reader *reader = (struct reader *)request;
    reader->file = (uv_file)request->result;
    uv_fs_req_cleanup(request);
    uv_fs_fstat(request->loop, request, reader->file, on_stat);
}

static void reader_next(struct reader *reader) {
    char path[128];
    if (left <= 0) return;
    snprintf(path, sizeof path, "%s/%ld", folder, left % SMALL_FILES + 1);
    left--;
    uv_fs_open(uv_default_loop(), &reader->request, path, O_RDONLY, 0, on_open);
}

static void read_small(long count, const char *path) {
    static struct reader readers[TASKS];
    folder = path;
    left = count;
    for (int i = 0; i < TASKS; i++)
        reader_next(&readers[i]);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    long count = limit_count(argc - 1, argv + 1);
    int is_lines = strcmp(argv[1], "lines") == 0;
    double wall = wall_seconds(), cpu = cpu_seconds();
    if (strcmp(argv[1], "small") == 0)
        read_small(count, argv[3]);
    else
        read_large(argv[1], argv[3]);
    double pieces = is_lines ? (double)count * 16384 : (double)count;
    printf("wall %.4f\n", (wall_seconds() - wall) / pieces * (is_lines ? 1e9 : 1e6));
    printf("cpu %.4f\n", (cpu_seconds() - cpu) / pieces * (is_lines ? 1e9 : 1e6));
    return 0;
}
