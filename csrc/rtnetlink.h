/* The kernel's table of links and addresses: man 7 rtnetlink. Returns a file descriptor (O_CLOEXEC) or -errno. */
#ifndef CAPSULE_RTNETLINK_H
#define CAPSULE_RTNETLINK_H

/*
 * A NETLINK_ROUTE socket of the network namespace that netns_fd is, or of ours with -1, whose refusals carry the
 * kernel's own words. The calling thread visits the namespace and is back when this returns.
 */
int capsule_rtnetlink_open(int netns_fd);

#endif
