# distutils: sources = csrc/openbeneath.c
# cython: language_level=3
"""Paths inside a root that may be hostile: csrc/openbeneath.h."""

import posix

from libc.stdlib cimport free, malloc
from posix.types cimport dev_t, gid_t, mode_t, uid_t

cdef extern from "<stdbool.h>":
    ctypedef bint c_bool "bool"

cdef extern from "<fcntl.h>" nogil:
    enum:
        _O_PATH "O_PATH"
        _O_DIRECTORY "O_DIRECTORY"
        _O_NOFOLLOW "O_NOFOLLOW"
        _O_CLOEXEC "O_CLOEXEC"
    int c_open "open"(const char *path, int flags) noexcept

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "<sys/sysmacros.h>" nogil:
    dev_t makedev(unsigned int major, unsigned int minor) noexcept

cdef extern from "openbeneath.h" nogil:
    enum:
        _NO_XDEV "CAPSULE_RESOLVE_NO_XDEV"
        _NO_MAGICLINKS "CAPSULE_RESOLVE_NO_MAGICLINKS"
        _NO_SYMLINKS "CAPSULE_RESOLVE_NO_SYMLINKS"
        _BENEATH "CAPSULE_RESOLVE_BENEATH"
        _IN_ROOT "CAPSULE_RESOLVE_IN_ROOT"
    int capsule_openbeneath_open(int root_fd, const char *path, int flags, mode_t mode,
                                 unsigned long long resolve) noexcept
    int capsule_openbeneath_walk(int root_fd, const char *path, int flags, mode_t mode,
                                 unsigned long long resolve) noexcept
    int capsule_openbeneath_ensure_dir(int root_fd, const char *path, mode_t mode, unsigned long long resolve,
                                       c_bool *created) noexcept
    int capsule_openbeneath_ensure_file(int root_fd, const char *path, mode_t mode, unsigned long long resolve,
                                        c_bool *created) noexcept
    int capsule_openbeneath_mknod(int dir_fd, const char *name, mode_t mode, dev_t rdev, uid_t uid,
                                  gid_t gid) noexcept
    int capsule_openbeneath_symlink(int dir_fd, const char *name, const char *target) noexcept
    ssize_t capsule_openbeneath_readlink(int dir_fd, const char *name, char *text, size_t size) noexcept
    int capsule_openbeneath_unlink(int dir_fd, const char *name) noexcept
    ssize_t capsule_openbeneath_read_file(int root_fd, const char *path, char *data, size_t size) noexcept

O_PATH, O_DIRECTORY, O_NOFOLLOW = _O_PATH, _O_DIRECTORY, _O_NOFOLLOW
RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS = _NO_XDEV, _NO_SYMLINKS
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = _NO_MAGICLINKS, _BENEATH, _IN_ROOT


cdef long check(long ret, operation, path) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", path)
    return ret


cdef bytes encoded(str path):
    cdef bytes name = path.encode("utf-8", "surrogateescape")
    if 0 in name:
        raise OSError(22, "open: null byte in a path", path)
    return name


def open_host(str path, int flags=_O_PATH):
    """Open a path of the host, in the caller's own root; links are followed unless flags say otherwise."""
    cdef bytes name = encoded(path)
    cdef const char *c_name = name
    cdef int ret
    with nogil:
        ret = c_open(c_name, flags | _O_CLOEXEC)
        if ret < 0:
            ret = -errno
    return check(ret, "open", path)


def open_in_root(int root_fd, str path, int flags=_O_PATH, unsigned long long resolve=_IN_ROOT,
                 mode_t mode=0):
    """Open a path inside a root; resolve must hold RESOLVE_IN_ROOT or RESOLVE_BENEATH."""
    cdef bytes name = encoded(path)
    cdef const char *c_name = name
    cdef int ret
    with nogil:
        ret = capsule_openbeneath_open(root_fd, c_name, flags, mode, resolve)
    return check(ret, "openat2", path)


def walk_in_root(int root_fd, str path, int flags=_O_PATH, unsigned long long resolve=_IN_ROOT,
                 mode_t mode=0):
    """Open as `open_in_root` does on kernels without openat2."""
    cdef bytes name = encoded(path)
    return check(capsule_openbeneath_walk(root_fd, name, flags, mode, resolve), "open", path)


def ensure_dir(int root_fd, str path, mode_t mode=0o755, unsigned long long resolve=0):
    """Return (O_PATH fd, created) of a directory in a root, made with its parents if it is not there."""
    cdef bytes name = encoded(path)
    cdef c_bool created = False
    cdef int fd = capsule_openbeneath_ensure_dir(root_fd, name, mode, resolve, &created)
    return check(fd, "mkdir", path), created != 0


def ensure_file(int root_fd, str path, mode_t mode=0o644, unsigned long long resolve=0):
    """Return (O_PATH fd, created) of a non-directory in a root, made as an empty file if it is not there."""
    cdef bytes name = encoded(path)
    cdef c_bool created = False
    cdef int fd = capsule_openbeneath_ensure_file(root_fd, name, mode, resolve, &created)
    return check(fd, "create", path), created != 0


def mknod(int dir_fd, str name, mode_t mode, unsigned int major, unsigned int minor, uid_t uid, gid_t gid):
    """Make a node unless it is there; tells whether it was made. EEXIST: something else has the name."""
    cdef bytes c_name = encoded(name)
    return check(capsule_openbeneath_mknod(dir_fd, c_name, mode, makedev(major, minor), uid, gid),
                 "mknod", name) != 0


def symlink(int dir_fd, str name, str target):
    """Make a symbolic link unless the name is taken; tells whether it was made."""
    cdef bytes c_name = encoded(name)
    cdef bytes c_target = encoded(target)
    return check(capsule_openbeneath_symlink(dir_fd, c_name, c_target), "symlink", name) != 0


def readlink(int dir_fd, str name):
    """Read a link's text."""
    cdef bytes c_name = encoded(name)
    cdef char text[4096]
    cdef ssize_t size = check(capsule_openbeneath_readlink(dir_fd, c_name, text, sizeof(text)), "readlink", name)
    return text[:size].decode("utf-8", "surrogateescape")


def unlink(int dir_fd, str name):
    """Remove one name that is no directory."""
    cdef bytes c_name = encoded(name)
    check(capsule_openbeneath_unlink(dir_fd, c_name), "unlink", name)


def read_file(int root_fd, str path, size_t limit):
    """Read a regular file in a root, at most limit bytes; None if there is none. EFBIG, EINVAL: openbeneath.h."""
    cdef bytes name = encoded(path)
    cdef ssize_t size
    cdef char *data = <char *>malloc(limit + 1)
    if not data:
        raise MemoryError
    try:
        size = capsule_openbeneath_read_file(root_fd, name, data, limit)
        if size == -2 or size == -20:  # ENOENT, ENOTDIR
            return None
        check(size, "read", path)
        return data[:size]
    finally:
        free(data)
