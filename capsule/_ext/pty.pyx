# distutils: sources = csrc/pty.c csrc/openbeneath.c
# cython: language_level=3
"""Pseudo-terminals that were checked to be ones: csrc/pty.h."""

import posix

from posix.types cimport uid_t

cdef extern from "pty.h" nogil:
    int capsule_pty_open_master(int root_fd, const char *path) noexcept
    int capsule_pty_open_slave(int master_fd) noexcept
    int capsule_pty_set_size(int fd, unsigned short rows, unsigned short columns) noexcept
    int capsule_pty_copy_size(int from_fd, int to_fd) noexcept
    int capsule_pty_clear_onlcr(int fd) noexcept
    int capsule_pty_own(int slave_fd, uid_t uid) noexcept


cdef int check(int ret, operation, path=None) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", path)
    return ret


def open_master(int root_fd, str path="dev/pts/ptmx"):
    """Open a new pair's master from a devpts in a root (-1: the host's); ENOTTY if it is not one."""
    cdef bytes name = path.encode("utf-8", "surrogateescape")
    return check(capsule_pty_open_master(root_fd, name), "open", path)


def open_slave(int master_fd):
    """Unlock a pair and open its slave, by TIOCGPTPEER."""
    return check(capsule_pty_open_slave(master_fd), "ioctl TIOCGPTPEER")


def set_size(int fd, unsigned short rows, unsigned short columns):
    """Set the window size."""
    check(capsule_pty_set_size(fd, rows, columns), "ioctl TIOCSWINSZ")


def copy_size(int from_fd, int to_fd):
    """Give a pair the window size of another terminal; tells whether that one is a terminal."""
    return capsule_pty_copy_size(from_fd, to_fd) == 0


def clear_onlcr(int fd):
    """Stop the terminal from turning line feeds into carriage return and line feed."""
    check(capsule_pty_clear_onlcr(fd), "tcsetattr")


def own(int slave_fd, uid_t uid):
    """Make a user the slave's owner."""
    check(capsule_pty_own(slave_fd, uid), "fchown")
