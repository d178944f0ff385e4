# distutils: sources = csrc/attendstart.c
# cython: language_level=3
"""Sockets for attendants, their start, and who of them lives: csrc/attendstart.h."""

import posix

from libc.stdint cimport uint16_t
from libc.stdlib cimport free, malloc

cdef extern from "attendstart.h" nogil:
    enum: ATTEND_SOCKETS_MAX
    int capsule_attendstart_bind(int family, int protocol, const void *address, uint16_t port, int local) noexcept
    int capsule_attendstart_run(int program_fd, char *const argv[], int data_fd, const int *sockets,
                                size_t count) noexcept
    int capsule_attendstart_holder(int fd) noexcept

cdef dict FAMILIES = {4: (2, 4), 6: (10, 16)}  # AF_INET, AF_INET6; bytes of an address
cdef dict PROTOCOLS = {"tcp": 6, "udp": 17}  # IPPROTO_*
SOCKETS_MAX = ATTEND_SOCKETS_MAX


cdef int check(int ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return ret


def bind(int family, str protocol, bytes address, int port, bint local=False):
    """Open a socket bound to an address that need not be there yet, listening where it is TCP.

    With `local` it hears what comes over lo alone. Raises OSError.
    """
    af, size = FAMILIES[family]
    if len(address) != size or not 0 <= port <= 65535:
        raise ValueError("no address and port of that family")
    cdef int number = af
    cdef int kind = PROTOCOLS[protocol]
    cdef const char *start = address
    return check(capsule_attendstart_bind(number, kind, start, <uint16_t>port, local), "bind")


def run(int program_fd, list argv, int data_fd, list sockets):
    """Run an attendant as nobody's child, which holds data_fd's lock as long as it lives. Raises OSError."""
    cdef size_t count = len(sockets)
    cdef size_t words = len(argv)
    cdef size_t index
    cdef int fds[ATTEND_SOCKETS_MAX]
    cdef char **vector
    if count > ATTEND_SOCKETS_MAX:
        raise OSError(7, "more sockets than an attendant takes")
    for index in range(count):
        fds[index] = sockets[index]
    vector = <char **>malloc((words + 1) * sizeof(char *))
    if not vector:
        raise MemoryError
    for index in range(words):
        vector[index] = <bytes>argv[index]
    vector[words] = NULL
    cdef int ret = capsule_attendstart_run(program_fd, vector, data_fd, fds, count)
    free(vector)
    check(ret, "start attendant")


def holder(int fd):
    """Return the pid of the attendant that holds a file's lock, 0 where none does. Raises OSError."""
    return check(capsule_attendstart_holder(fd), "look for a lock")
