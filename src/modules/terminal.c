#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

#include "../core/interrupt.h"

const char *const terminal_modes[] = {"normal", "cbreak", "raw", NULL};

/* As the terminals at 0, 1 and 2 were found; the same one may be at all of them. */
static struct {
    volatile sig_atomic_t is_changed;
    dev_t device;
    struct termios found;
} terminals[3];

/* Those that would end the process at once, besides the ones that cancel main. */
static const int deadly[] = {SIGILL,  SIGTRAP, SIGABRT, SIGBUS,    SIGFPE,  SIGUSR1, SIGSEGV,
                             SIGUSR2, SIGALRM, SIGXCPU, SIGVTALRM, SIGPROF, SIGSYS};

/* Also called by signal handlers. In the background the system would stop us by SIGTTOU. */
void terminal_restore(int fd) {
    sigset_t ttou, before;
    if (!terminals[fd].is_changed) return;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &before);
    tcsetattr(fd, TCSANOW, &terminals[fd].found);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    terminals[fd].is_changed = false;
}

static void restore_all(void) {
    for (int fd = 0; fd < 3; fd++)
        terminal_restore(fd);
}

static void on_deadly(int signo) {
    restore_all();
    raise(signo); /* for which the default is back: SA_RESETHAND */
}

/* Once in the life of the process. Where something else stands for a signal, that stays. */
static void prepare_for_death(void) {
    static bool is_prepared;
    struct sigaction action = {.sa_handler = on_deadly, .sa_flags = SA_RESETHAND | SA_NODEFER}, old;
    if (is_prepared) return;
    is_prepared = true;
    atexit(restore_all);
    interrupt_before_death(restore_all);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        if (sigaction(deadly[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(deadly[i], &action, NULL);
}

/* The place of a terminal among those that were changed. */
static int terminal_at(int fd, dev_t device) {
    for (int i = 0; i < 3; i++)
        if (terminals[i].is_changed && terminals[i].device == device) return i;
    return fd;
}

static void apply(struct termios *settings, enum terminal_mode mode) {
    settings->c_cc[VMIN] = 1;
    settings->c_cc[VTIME] = 0;
    settings->c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    if (mode == TERMINAL_CBREAK) return;
    settings->c_lflag &= ~(tcflag_t)(IEXTEN | ISIG);
    settings->c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    settings->c_cflag |= CS8; /* a newline that is printed still goes to the first column */
}

int terminal_set_mode(int fd, enum terminal_mode mode) {
    struct stat type;
    struct termios settings;
    if (fstat(fd, &type) != 0 || tcgetattr(fd, &settings) != 0)
        return uv_translate_sys_error(errno);
    int place = terminal_at(fd, type.st_rdev);
    if (mode == TERMINAL_NORMAL) {
        terminal_restore(place);
        return 0;
    }
    prepare_for_death();
    if (!terminals[place].is_changed) {
        terminals[place].found = settings;
        terminals[place].device = type.st_rdev;
    }
    settings = terminals[place].found;
    apply(&settings, mode);
    terminals[place].is_changed = true;
    return tcsetattr(fd, TCSADRAIN, &settings) == 0 ? 0 : uv_translate_sys_error(errno);
}

int terminal_size(int fd, int *columns, int *rows) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0) return uv_translate_sys_error(errno);
    *columns = size.ws_col;
    *rows = size.ws_row;
    return 0;
}
