/*
 * Multicast, the same for IPv4 and IPv6: groups, and the interfaces that they are joined on.
 */
#ifndef LILAC_MULTICAST_H
#define LILAC_MULTICAST_H

#include "address.h"

bool multicast_is_group(const union address *address);

/* The number of the interface that has this name, or this address; 0 for none. */
unsigned multicast_interface(const char *name);

/* Joins or leaves a group on an interface; 0: the one that the system routes the group to. 0 or a
 * libuv code. */
int multicast_join(int fd, const union address *group, unsigned interface);
int multicast_leave(int fd, const union address *group, unsigned interface);

/* How a socket of that family sends to groups: from which interface (0: as above), how far (0: 1
 * hop), and whether this machine hears it too. 0 or a libuv code. */
struct multicast_options {
    unsigned interface;
    int ttl;
    bool loop;
};
int multicast_configure(int fd, int family, const struct multicast_options *options);

#endif
