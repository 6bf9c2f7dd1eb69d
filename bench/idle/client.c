/* Measures what a connection costs that is open and silent: starts the command, an echo server,
 * opens COUNT connections, has a message echoed on each, and prints how many bytes of memory the
 * server has more for each of them than with the first ones. The second argument is tcp, or tls;
 * then the command gets a file of certificate and key as its last word. */
#include "../tls.h"

enum { WARM_UP = 50, MESSAGE = 1024 };

static SSL_CTX *context; /* NULL: no TLS */
static struct sockaddr_in address;
static char message[MESSAGE], inbox[MESSAGE];

static void connection_open(void) {
    int fd = socket_connect((struct sockaddr *)&address, sizeof address);
    SSL *ssl = context ? tls_connect(context, fd) : NULL;
    ssize_t sent = ssl ? SSL_write(ssl, message, MESSAGE) : write(fd, message, MESSAGE);
    check(sent == MESSAGE, "write");
    for (ssize_t n, echoed = 0; echoed < MESSAGE; echoed += n) {
        size_t left = (size_t)(MESSAGE - echoed);
        n = ssl ? SSL_read(ssl, inbox, (int)left) : read(fd, inbox, left);
        check(n > 0, "the echo");
    }
}

/* The memory that the server has in pages of its own. */
static long server_bytes(void) {
    char path[64];
    long size, resident, shared;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)server);
    FILE *file = fopen(path, "r");
    check(file && fscanf(file, "%ld %ld %ld", &size, &resident, &shared) == 3, path);
    fclose(file);
    return (resident - shared) * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: %s count tcp|tls command...\n", argv[0]), 2;
    long count = strtol(argv[1], NULL, 10);
    char **command = argv + 3;
    if (strcmp(argv[2], "tls") == 0) {
        context = client_context();
        certificate_make();
        command = command_with(argv + 2, argc - 2, certificate);
    }
    address = address_of_port(server_start(command, ANY_CORE));
    for (int i = 0; i < WARM_UP; i++)
        connection_open();
    long before = server_bytes();
    for (long i = 0; i < count; i++)
        connection_open();
    printf("bytes %ld\n", (server_bytes() - before) / count);
    server_end();
    return 0;
}
