# distutils: sources = csrc/rtnetlink.c
# cython: language_level=3
"""A socket to the kernel's links and addresses: csrc/rtnetlink.h."""

import posix

cdef extern from "rtnetlink.h" nogil:
    int capsule_rtnetlink_open(int netns_fd) noexcept


def open(int netns_fd=-1):
    """Open a NETLINK_ROUTE socket in a network namespace, -1 being ours."""
    cdef int fd = capsule_rtnetlink_open(netns_fd)
    if fd < 0:
        raise OSError(-fd, f"open netlink socket: {posix.strerror(-fd).lower()}")
    return fd
