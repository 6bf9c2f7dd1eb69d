#include "multicast.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

bool multicast_is_group(const union address *address) {
    if (address->any.sa_family == AF_INET6) return IN6_IS_ADDR_MULTICAST(&address->v6.sin6_addr);
    return IN_MULTICAST(ntohl(address->v4.sin_addr.s_addr));
}

static bool is_same_host(const union address *one, const struct sockaddr *other) {
    if (!other || other->sa_family != one->any.sa_family) return false;
    const union address *two = (const union address *)other;
    if (one->any.sa_family == AF_INET6)
        return IN6_ARE_ADDR_EQUAL(&one->v6.sin6_addr, &two->v6.sin6_addr);
    return one->v4.sin_addr.s_addr == two->v4.sin_addr.s_addr;
}

static unsigned interface_with(const union address *address) {
    struct ifaddrs *all;
    unsigned found = 0;
    if (getifaddrs(&all) != 0) return 0;
    for (struct ifaddrs *at = all; at && found == 0; at = at->ifa_next)
        if (is_same_host(address, at->ifa_addr)) found = if_nametoindex(at->ifa_name);
    freeifaddrs(all);
    return found;
}

unsigned multicast_interface(const char *name) {
    union address address;
    unsigned found = if_nametoindex(name);
    if (found != 0 || !address_parse(&address, name, 0)) return found;
    return interface_with(&address);
}

/* An IPv6 socket that takes mapped addresses also takes the options of IPv4. */
static int change(int fd, int what, const union address *group, unsigned interface) {
    struct group_req request = {.gr_interface = interface};
    memcpy(&request.gr_group, group, address_size(group));
    int level = group->any.sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    return setsockopt(fd, level, what, &request, sizeof request) ? uv_translate_sys_error(errno)
                                                                 : 0;
}

int multicast_join(int fd, const union address *group, unsigned interface) {
    return change(fd, MCAST_JOIN_GROUP, group, interface);
}

int multicast_leave(int fd, const union address *group, unsigned interface) {
    return change(fd, MCAST_LEAVE_GROUP, group, interface);
}

/* Linux hands a socket the groups of all others too, unless it is told not to. */
int multicast_configure(int fd, int family, const struct multicast_options *options) {
    int ttl = options->ttl > 0 ? options->ttl : 1, loop = options->loop, all = 0;
    int interface = (int)options->interface;
    struct ip_mreqn from = {.imr_ifindex = interface};
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &all, sizeof all) ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof loop) ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl) ||
        (interface && setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from)))
        return uv_translate_sys_error(errno);
    if (family != AF_INET6) return 0;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &all, sizeof all) ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &loop, sizeof loop) ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof ttl) ||
        (interface &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface)))
        return uv_translate_sys_error(errno);
    return 0;
}
