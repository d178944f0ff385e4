# distutils: sources = csrc/attendstart.c
# cython: language_level=3
"""The start of attendants, and who of them lives: csrc/attendstart.h."""

import posix

from libc.stdlib cimport free, malloc

cdef extern from "attendstart.h" nogil:
    enum: ATTEND_SOCKETS_MAX
    int capsule_attendstart_run(int program_fd, char *const argv[], int data_fd, const int *sockets,
                                size_t count) noexcept
    int capsule_attendstart_holder(int fd) noexcept

SOCKETS_MAX = ATTEND_SOCKETS_MAX


cdef int check(int ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return ret


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
