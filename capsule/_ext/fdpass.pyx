# distutils: sources = csrc/fdpass.c
# cython: language_level=3
"""Messages with descriptors over AF_UNIX sockets: csrc/fdpass.h."""

import posix

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdlib cimport free, malloc


cdef extern from "fdpass.h" nogil:
    enum: CAPSULE_FDPASS_MAX
    int capsule_fdpass_pair(int pair[2]) noexcept
    int capsule_fdpass_send(int fd, const void *data, size_t size, const int *fds, size_t count) noexcept
    long capsule_fdpass_recv(int fd, void *data, size_t size, int *fds, size_t *count) noexcept
    int capsule_fdpass_listen(int dir_fd, const char *name) noexcept
    int capsule_fdpass_connect(int dir_fd, const char *name, int type) noexcept
    int capsule_fdpass_connect_path(const char *path) noexcept
    int capsule_fdpass_bind_datagram(int dir_fd, const char *name) noexcept
    int capsule_fdpass_connect_datagram(const char *path) noexcept

cdef extern from "<sys/socket.h>" nogil:
    enum: SOCK_SEQPACKET
    enum: SOCK_NONBLOCK
    enum: SHUT_WR
    int shutdown(int fd, int how)


cdef int check(long ret, operation, path=None) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", path)
    return <int>ret


def seqpacket_pair():
    """Make a connected SOCK_SEQPACKET pair, both ends close-on-exec."""
    cdef int pair[2]
    check(capsule_fdpass_pair(pair), "socketpair")
    return pair[0], pair[1]


def send(int fd, bytes data, fds=()):
    """Send one message, with descriptors beside it."""
    cdef int numbers[CAPSULE_FDPASS_MAX]
    cdef size_t count = len(fds)
    if count > CAPSULE_FDPASS_MAX:
        raise OSError(7, "sendmsg: too many descriptors")
    for index, number in enumerate(fds):
        numbers[index] = number
    cdef const char *start = data
    cdef size_t size = len(data)
    cdef int ret
    with nogil:
        ret = capsule_fdpass_send(fd, start, size, numbers, count)
    check(ret, "sendmsg")


def recv(int fd, size_t size):
    """Receive one message of at most `size` bytes; returns (bytes, fds). b"" is end of file."""
    cdef int numbers[CAPSULE_FDPASS_MAX]
    cdef size_t count = 0
    cdef long got
    cdef char *buffer = <char *>malloc(size if size else 1)
    if not buffer:
        raise MemoryError
    try:
        with nogil:
            got = capsule_fdpass_recv(fd, buffer, size, numbers, &count)
        check(got, "recvmsg")
        return PyBytes_FromStringAndSize(buffer, got), [numbers[i] for i in range(count)]
    finally:
        free(buffer)


def listen_seqpacket(int dir_fd, str name):
    """Bind and listen on `name` (mode 0600) beneath a directory fd."""
    cdef bytes encoded = name.encode("utf-8", "surrogateescape")
    return check(capsule_fdpass_listen(dir_fd, encoded), "listen", name)


def connect_seqpacket(int dir_fd, str name, bint wait=True):
    """Connect to `name` beneath a directory fd; ECONNREFUSED when nobody listens.

    Without `wait` the fd does not block, and EAGAIN says that somebody listens who has not answered many others.
    """
    cdef bytes encoded = name.encode("utf-8", "surrogateescape")
    cdef int kind = SOCK_SEQPACKET if wait else SOCK_SEQPACKET | SOCK_NONBLOCK
    return check(capsule_fdpass_connect(dir_fd, encoded, kind), "connect", name)


def connect_stream(str path):
    """Connect a stream socket to `path`, of any length."""
    cdef bytes encoded = path.encode("utf-8", "surrogateescape")
    cdef const char *text = encoded
    cdef int ret
    with nogil:
        ret = capsule_fdpass_connect_path(text)
    return check(ret, "connect", path)


def end_of_words(int fd):
    """Tell the other end of a stream that nothing more comes; it may still answer."""
    if shutdown(fd, SHUT_WR) < 0:
        raise OSError(errno, "shutdown")


def bind_datagram(int dir_fd, str name):
    """Bind a datagram socket that everybody may write to beneath a directory fd."""
    cdef bytes encoded = name.encode("utf-8", "surrogateescape")
    return check(capsule_fdpass_bind_datagram(dir_fd, encoded), "bind", name)


def connect_datagram(bytes path):
    """Connect a datagram socket to `path`, of any length, or to the abstract name that follows an @."""
    return check(capsule_fdpass_connect_datagram(path), "connect", path)
