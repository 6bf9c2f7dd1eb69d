/*
 * The mode of the terminal: it belongs to all who use the terminal, and outlives the process. What
 * was changed is put back when the stream is closed and at the end of the process, whatever its
 * reason is (but SIGKILL).
 */
#ifndef LILAC_TERMINAL_H
#define LILAC_TERMINAL_H

/* In the order of their names in terminal_modes. */
enum terminal_mode { TERMINAL_NORMAL, TERMINAL_CBREAK, TERMINAL_RAW };
extern const char *const terminal_modes[];

/* Sets the mode of the terminal at descriptor 0, 1 or 2; normal: as it was found. 0 or a libuv
 * code. */
int terminal_set_mode(int fd, enum terminal_mode mode);

/* Puts back what was changed at that descriptor. */
void terminal_restore(int fd);

/* Gives its size. 0 or a libuv code. */
int terminal_size(int fd, int *columns, int *rows);

#endif
