# distutils: sources = csrc/rtnetlink.c
# cython: language_level=3
"""A socket to the kernel's links, addresses and connections: csrc/rtnetlink.h."""

import posix

cdef extern from "rtnetlink.h" nogil:
    int capsule_rtnetlink_open(int netns_fd, int protocol) noexcept


NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12  # linux/netlink.h


def open(int netns_fd=-1, int protocol=NETLINK_ROUTE):
    """Open a netlink socket of a protocol in a network namespace, -1 being ours."""
    cdef int fd = capsule_rtnetlink_open(netns_fd, protocol)
    if fd < 0:
        raise OSError(-fd, f"open netlink socket: {posix.strerror(-fd).lower()}")
    return fd
