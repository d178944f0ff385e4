/* The kernel's tables of links, addresses and connections: man 7 netlink. Returns a file descriptor (O_CLOEXEC) or -errno. */
#ifndef CAPSULE_RTNETLINK_H
#define CAPSULE_RTNETLINK_H

/*
 * A socket of a netlink protocol (NETLINK_ROUTE, NETLINK_NETFILTER) in the network namespace that netns_fd is, or in
 * ours with -1, whose refusals carry the kernel's own words. The calling thread visits the namespace and is back when this returns.
 */
int capsule_rtnetlink_open(int netns_fd, int protocol);

#endif
