/* Makes what the programs of bench/file read, in memory, and removes it again:
 *
 *     files COUNT KIND PROGRAM...     runs PROGRAM... KIND COUNT PATH
 *
 * PATH is a file of COUNT MiB in lines of 64 bytes; for the kind "small" a folder with the files 1
 * to 1000, of 4 KiB each, and COUNT is how many to read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 16, SMALL_FILES = 1000, SMALL_SIZE = 4096, LINE = 64 };

static char path[64];

static void stop(const char *what) {
    perror(what);
    exit(1);
}

static void file_make(const char *name, long size) {
    char line[LINE];
    FILE *file = fopen(name, "w");
    if (!file) stop(name);
    memset(line, 'x', sizeof line);
    line[LINE - 1] = '\n';
    for (long done = 0; done < size; done += LINE)
        if (fwrite(line, 1, sizeof line, file) != sizeof line) stop(name);
    if (fclose(file) != 0) stop(name);
}

/* Makes the files; or, with `remove_them`, removes them. */
static void small_files(int remove_them) {
    char name[96];
    if (!remove_them && mkdir(path, 0700) != 0) stop(path);
    for (int i = 1; i <= SMALL_FILES; i++) {
        snprintf(name, sizeof name, "%s/%d", path, i);
        if (remove_them)
            unlink(name);
        else
            file_make(name, SMALL_SIZE);
    }
}

int main(int argc, char **argv) {
    char *arguments[MOST_ARGUMENTS];
    int count = 0, status;
    if (argc < 4 || argc > MOST_ARGUMENTS) return 2;
    int is_small = strcmp(argv[2], "small") == 0;
    for (int i = 3; i < argc; i++)
        arguments[count++] = argv[i];
    arguments[count++] = argv[2];
    arguments[count++] = argv[1];
    arguments[count++] = path;
    arguments[count] = NULL;
    snprintf(path, sizeof path, "/dev/shm/lilac-bench-%ld", (long)getpid());
    if (is_small)
        small_files(0);
    else
        file_make(path, strtol(argv[1], NULL, 10) << 20);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(arguments[0], arguments);
        stop(arguments[0]);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) status = 1;
    if (is_small) small_files(1);
    remove(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
