/*
 * Reading from files. A read looks at what was received, format after format, and has more read
 * until all of them are answered; only then it takes its bytes. So a cancelled one loses nothing.
 *
 * A file that is read in order is read in growing chunks, the next one ahead while the task makes
 * use of the last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/args.h"
#include "file.h"
#include "numeral.h"
#include "request.h"

enum {
    FIRST_CHUNK = 16 * 1024,
    LAST_CHUNK = 256 * 1024,
    MOST_AT_ONCE = 4 * 1024 * 1024, /* when a task asks for so much */
    HEADROOM = 4 * 1024             /* before what is read ahead, for the rest of a line */
};

/* ---- the job --------------------------------------------------------------------------------- */

static void run_read(struct file_job *job) {
    char *bytes = job->data.block + job->data.start;
    ssize_t count;
    do {
        count = job->seekable ? pread(job->fd, bytes, job->wanted, job->at)
                              : read(job->fd, bytes, job->wanted);
    } while (count < 0 && errno == EINTR);
    job->status = request_result(count);
    job->data.size = count > 0 ? (size_t)count : 0;
}

static void read_over(struct file *file) {
    struct file_job *job = file->job;
    file->was_full = job->data.size == job->wanted;
    if (file->was_full && file->chunk < LAST_CHUNK) file->chunk *= 2;
    if (!file->is_stale) buffer_swap(&file->ahead, &job->data);
    buffer_free(&job->data);
    file->is_stale = false;
}

static const struct file_job_type read_job = {
    .run = run_read, .over = read_over, .poll_events = UV_READABLE};

/* Starts to read what follows on `received`. False: out of memory. */
static bool read_start(struct file *file, size_t wanted) {
    struct file_job *job = file->job;
    char *block = buffer_block(HEADROOM + wanted);
    if (!block) return false;
    buffer_free(&job->data); /* writing leaves a small block */
    job->data = (struct buffer){.block = block, .start = HEADROOM, .room = HEADROOM + wanted};
    job->wanted = wanted;
    job->at = file->position + (int64_t)file->received.size;
    file_start(file, &read_job);
    return true;
}

/* Joins what was read ahead with what is there. A short rest goes before it, into its headroom.
 * False: out of memory. */
static bool join(struct file *file) {
    struct buffer *front = &file->received, *back = &file->ahead;
    if (front->size > back->start) {
        if (!buffer_append(front, buffer_bytes(back), back->size)) return false;
    } else {
        back->start -= front->size;
        back->size += front->size;
        if (front->size > 0) memcpy(back->block + back->start, buffer_bytes(front), front->size);
        buffer_swap(front, back);
    }
    buffer_free(back);
    return true;
}

void file_discard_received(struct file *file) {
    buffer_free(&file->received);
    buffer_free(&file->ahead);
    if (file->job->type == &read_job) file->is_stale = true;
    file->chunk = FIRST_CHUNK;
    file->was_full = false;
}

/* ---- formats --------------------------------------------------------------------------------- */

enum format { FORMAT_LINE, FORMAT_LINE_KEPT, FORMAT_ALL, FORMAT_NUMBER, FORMAT_COUNT };

/* The format at `index`, which has been checked; `count` for FORMAT_COUNT. */
static enum format format_at(lua_State *L, int index, size_t *count) {
    if (lua_type(L, index) == LUA_TNUMBER) {
        *count = (size_t)lua_tointeger(L, index);
        return FORMAT_COUNT;
    }
    const char *text = lua_tostring(L, index);
    switch (*text == '*' ? text[1] : *text) {
    case 'L': return FORMAT_LINE_KEPT;
    case 'a': return FORMAT_ALL;
    case 'n': return FORMAT_NUMBER;
    default: return FORMAT_LINE;
    }
}

/* The formats at 2 … last; "l" where there are none. */
static void check_formats(lua_State *L) {
    if (lua_gettop(L) == 1) lua_pushliteral(L, "l");
    for (int i = 2; i <= lua_gettop(L); i++) {
        if (lua_type(L, i) == LUA_TNUMBER) {
            args_integer(L, i, "number of bytes", 0, LUA_MAXINTEGER);
            continue;
        }
        const char *text = luaL_checkstring(L, i);
        if (*text == '*') text++;
        luaL_argcheck(L, *text && strchr("nalL", *text), i, "invalid format");
    }
}

/* A piece of what was received, that answers a format. */
struct piece {
    const char *bytes;
    size_t size;
    bool is_there; /* or the file has ended before it, or it is no number */
};

/* Pushes the number that a numeral stands for; false, and nothing, when it is none. */
static bool push_number(lua_State *L, const struct numeral *numeral) {
    return lua_stringtonumber(L, numeral->text) != 0;
}

static bool number_find(lua_State *L, struct piece *piece, bool ended) {
    struct numeral numeral;
    if (!numeral_read(&numeral, piece->bytes, piece->size, ended)) return false;
    piece->size = numeral.taken;
    piece->is_there = push_number(L, &numeral);
    if (piece->is_there) lua_pop(L, 1);
    return true;
}

/* Finds the piece for the format at `index`, after the first `taken` bytes. False: more has to be
 * read. */
static bool piece_find(lua_State *L, struct file *file, int index, struct piece *piece) {
    size_t count, scanned = file->read.scanned;
    enum format format = format_at(L, index, &count);
    const char *newline = NULL;
    piece->bytes = buffer_bytes(&file->received) + file->read.taken;
    piece->size = file->received.size - file->read.taken;
    piece->is_there = piece->size > 0 || format == FORMAT_ALL;
    switch (format) {
    case FORMAT_COUNT:
        if (piece->size < count || piece->size == 0) break;
        piece->size = count;
        return true;
    case FORMAT_NUMBER: return number_find(L, piece, file->read.ended);
    case FORMAT_LINE:
    case FORMAT_LINE_KEPT:
        if (piece->size > scanned)
            newline = memchr(piece->bytes + scanned, '\n', piece->size - scanned);
        file->read.scanned = piece->size;
        if (!newline) break;
        piece->size = (size_t)(newline - piece->bytes) + 1;
        return true;
    case FORMAT_ALL: break;
    }
    return file->read.ended;
}

static void piece_push(lua_State *L, const struct piece *piece, int index) {
    size_t count, size = piece->size;
    struct numeral numeral;
    if (!piece->is_there) {
        lua_pushnil(L);
        return;
    }
    switch (format_at(L, index, &count)) {
    case FORMAT_NUMBER:
        numeral_read(&numeral, piece->bytes, size, true);
        push_number(L, &numeral);
        break;
    case FORMAT_LINE:
        if (piece->bytes[size - 1] == '\n') size--;
        lua_pushlstring(L, piece->bytes, size);
        break;
    default: lua_pushlstring(L, size > 0 ? piece->bytes : "", size);
    }
}

/* ---- read ------------------------------------------------------------------------------------ */

/* Looks at one format after the other. True: all are answered, or one cannot be, and the rest are
 * not looked at. */
static bool is_answered(lua_State *L, struct file *file) {
    int last = lua_gettop(L) - 1;
    for (bool is_there = true; is_there && file->read.next <= last;) {
        struct piece piece;
        if (!piece_find(L, file, file->read.next, &piece)) return false;
        is_there = piece.is_there;
        file->read.taken += piece.size;
        file->read.scanned = 0;
        file->read.next++;
    }
    return true;
}

/* Reads what follows before it is asked for, when the file is read in order. */
static void read_ahead(struct file *file) {
    if (!file->job->seekable || !file->was_full || file->job->type || file->ahead.size > 0) return;
    if (file->received.size <= file->chunk / 2) read_start(file, file->chunk);
}

/* Takes the bytes of the formats that were answered. The turn is given away first, as strings may
 * find no memory; nobody runs before this returns. */
static int take_answers(lua_State *L, struct file *file) {
    int end = file->read.next;
    file_leave(file);
    luaL_checkstack(L, end, "too many results");
    file->read.taken = 0;
    for (int i = 2; i < end; i++) {
        struct piece piece;
        file->read.scanned = 0;
        piece_find(L, file, i, &piece);
        piece_push(L, &piece, i);
        file->read.taken += piece.size;
    }
    file->position += (int64_t)file->read.taken;
    buffer_drop(&file->received, file->read.taken);
    read_ahead(file);
    return end - 2;
}

/* How much to read at once for the format that waits. */
static size_t read_size(lua_State *L, const struct file *file) {
    size_t count = 0, most = MOST_AT_ONCE, there = file->received.size - file->read.taken;
    switch (format_at(L, file->read.next, &count)) {
    case FORMAT_COUNT: count = count > there ? count - there : 0; break;
    case FORMAT_ALL: count = file->was_full ? most : 0; break;
    default: break;
    }
    if (!file->job->seekable || count < file->chunk) return file->chunk;
    return count < most ? count : most;
}

/* What the read has asked for has come. 0 or a libuv code. */
static int look_at_outcome(struct file *file) {
    int status = file->job->status;
    file->read.asked = false;
    if (status == UV_EAGAIN && file->polled) return 0; /* nothing there after all */
    file->read.ended = status == 0 && file->ahead.size == 0;
    return status;
}

/* [file, formats…, the operation] */
static int read_go(lua_State *L, struct file *file) {
    int status = 0;
    if (file->stage == 0) {
        if (!file_flushed(file)) return file_wait(L, file);
        status = file_take_write_status(file);
        file->read.next = 2;
        file->read.taken = file->read.scanned = 0;
        file->read.asked = file->read.ended = false;
        file->stage = 1;
    }
    if (file->read.asked) status = look_at_outcome(file);
    while (status == 0) {
        if (is_answered(L, file)) return take_answers(L, file);
        if (file->job->type) return file_wait(L, file);
        if (file->ahead.size > 0) {
            if (!join(file)) status = UV_ENOMEM;
        } else if (read_start(file, read_size(L, file))) {
            file->read.asked = true;
        } else {
            status = UV_ENOMEM;
        }
    }
    return file_fail(L, file, status);
}

static const struct file_op read_op = {FILE_OP("read", read_go)};

/* The way of most reads: one line, which is there. Pushes it, and needs no turn. False, and nothing
 * done, when there is more to it. */
static bool take_line(lua_State *L, struct file *file, enum format format) {
    if (file->taken || file->received.size == 0) return false;
    if (format != FORMAT_LINE && format != FORMAT_LINE_KEPT) return false;
    const char *bytes = buffer_bytes(&file->received);
    const char *newline = memchr(bytes, '\n', file->received.size);
    if (!newline) return false;
    size_t size = (size_t)(newline - bytes) + 1;
    lua_pushlstring(L, bytes, format == FORMAT_LINE ? size - 1 : size);
    file->position += (int64_t)size;
    buffer_drop(&file->received, size);
    read_ahead(file);
    return true;
}

/* The format at 2 where it is the only one; otherwise one that is no line. */
static enum format only_format(lua_State *L) {
    size_t count;
    return lua_gettop(L) == 2 ? format_at(L, 2, &count) : FORMAT_ALL;
}

int file_read(lua_State *L) {
    struct file *file = file_check(L, "read");
    check_formats(L);
    if (!file->readable) {
        lilac_checkpoint(L);
        return lilac_throw(L, "InvalidStateError", "read %s: the File was opened for writing",
                           file->path);
    }
    lilac_checkpoint(L);
    return take_line(L, file, only_format(L)) ? 1 : file_begin(L, &read_op);
}

/* The upvalues of lines_next. After the file come the formats. */
enum { LINES_FORMAT = 1, LINES_COUNT, LINES_FILE };

/* A line that is there costs little more than its string. */
static int lines_next(lua_State *L) {
    struct file *file = lilac_handle_check(L, lua_upvalueindex(LINES_FILE), &file_type, "read");
    lilac_checkpoint(L);
    if (take_line(L, file, (enum format)lua_tointeger(L, lua_upvalueindex(LINES_FORMAT)))) return 1;
    int count = (int)lua_tointeger(L, lua_upvalueindex(LINES_COUNT));
    luaL_checkstack(L, count, "too many arguments");
    lua_settop(L, 0);
    for (int i = 0; i < count; i++)
        lua_pushvalue(L, lua_upvalueindex(LINES_FILE + i));
    return file_begin(L, &read_op);
}

int file_lines(lua_State *L) {
    enum { MOST_FORMATS = 250 }; /* as upvalues */
    struct file *file = file_check(L, "lines");
    check_formats(L);
    int count = lua_gettop(L);
    luaL_argcheck(L, count <= MOST_FORMATS, MOST_FORMATS, "too many arguments");
    if (!file->readable)
        return lilac_throw(L, "InvalidStateError", "lines %s: the File was opened for writing",
                           file->path);
    lua_pushinteger(L, only_format(L));
    lua_insert(L, 1);
    lua_pushinteger(L, count);
    lua_insert(L, 2);
    lua_pushcclosure(L, lines_next, count + 2);
    return 1;
}
