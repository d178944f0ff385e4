# distutils: sources = csrc/sockets.c
# cython: language_level=3
"""Whether an address and port of this host are free: csrc/sockets.h."""

import posix

from libc.stdint cimport uint16_t

cdef extern from "sockets.h" nogil:
    int capsule_sockets_try_bind(int family, int protocol, const void *address, uint16_t port) noexcept

cdef dict FAMILIES = {4: (2, 4), 6: (10, 16)}  # AF_INET, AF_INET6; bytes of an address
cdef dict PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}  # IPPROTO_*


def try_bind(int family, str protocol, bytes address, int port):
    """Raise the OSError of bind(2) or listen(2) at an address in network byte order; family is 4 or 6."""
    af, size = FAMILIES[family]
    if len(address) != size or not 0 <= port <= 65535:
        raise ValueError("no address and port of that family")
    cdef int number = af
    cdef int kind = PROTOCOLS[protocol]
    cdef const char *start = address
    cdef int ret = capsule_sockets_try_bind(number, kind, start, <uint16_t>port)
    if ret < 0:
        raise OSError(-ret, f"bind: {posix.strerror(-ret).lower()}")
