# distutils: sources = csrc/sockets.c
# cython: language_level=3
"""Sockets bound to an address and port: csrc/sockets.h."""

import posix

from libc.stdint cimport uint16_t

cdef extern from "sockets.h" nogil:
    enum: SOCKETS_ABSENT
    enum: SOCKETS_LOCAL
    int capsule_sockets_bind(int family, int protocol, const void *address, uint16_t port, int how) noexcept

cdef dict FAMILIES = {4: (2, 4), 6: (10, 16)}  # AF_INET, AF_INET6; bytes of an address
cdef dict PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}  # IPPROTO_*


def bind(int family, str protocol, bytes address, int port, bint absent=False, bint local=False):
    """Open a socket at an address in network byte order, listening unless it is UDP; family is 4 or 6.

    `absent`: the address need not be there yet; `local`: it hears what comes over lo alone. Raises the OSError of bind(2) or listen(2).
    """
    af, size = FAMILIES[family]
    if len(address) != size or not 0 <= port <= 65535:
        raise ValueError("no address and port of that family")
    cdef int number = af
    cdef int kind = PROTOCOLS[protocol]
    cdef const char *start = address
    cdef int ret = capsule_sockets_bind(number, kind, start, <uint16_t>port,
                                        SOCKETS_ABSENT * absent | SOCKETS_LOCAL * local)
    if ret < 0:
        raise OSError(-ret, f"bind: {posix.strerror(-ret).lower()}")
    return ret
