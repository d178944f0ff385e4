# distutils: sources = csrc/unpack.c csrc/unpack_path.c csrc/unpack_times.c csrc/unpack_whole.c csrc/tarread.c csrc/tarpax.c csrc/removetree.c csrc/openbeneath.c
# cython: language_level=3
"""Layers become directories, and directories go away: csrc/unpack.h, csrc/removetree.h."""

import posix

from libc.stdlib cimport calloc, free

cdef extern from "<stdbool.h>":
    ctypedef bint c_bool "bool"

cdef extern from "<stdint.h>":
    ctypedef unsigned long long uint64_t

cdef extern from "<sched.h>" nogil:
    enum:
        CLONE_FS
    int c_unshare "unshare"(int flags) noexcept

cdef extern from "<sys/stat.h>" nogil:
    unsigned int c_umask "umask"(unsigned int mask) noexcept

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "<sys/syscall.h>" nogil:
    enum:
        SYS_syncfs
    long c_syscall "syscall"(long number, ...) noexcept

cdef extern from "removetree.h" nogil:
    int capsule_removetree(int dir_fd, const char *name) noexcept

cdef extern from "unpack.h" nogil:
    enum:
        _USERXATTR "CAPSULE_UNPACK_USERXATTR"
        _SKIP_DEVICES "CAPSULE_UNPACK_SKIP_DEVICES"
        _PLAIN "CAPSULE_UNPACK_PLAIN"
        _WHOLE "CAPSULE_UNPACK_WHOLE"
    struct capsule_unpack_limits:
        uint64_t entries
        uint64_t bytes
        uint64_t file_size
    struct capsule_unpack_counts:
        uint64_t entries
        uint64_t bytes
        uint64_t skipped_devices
        uint64_t skipped_xattrs
        c_bool opaque_root
    struct capsule_unpack:
        pass
    capsule_unpack *capsule_unpack_new(int root_fd, const int *lower_fds, size_t lower_count, unsigned int flags,
                                       const capsule_unpack_limits *limits) noexcept
    void capsule_unpack_free(capsule_unpack *unpack) noexcept
    int capsule_unpack_feed(capsule_unpack *unpack, const void *data, size_t size) noexcept
    int capsule_unpack_finish(capsule_unpack *unpack) noexcept
    const char *capsule_unpack_message(const capsule_unpack *unpack) noexcept
    const capsule_unpack_counts *capsule_unpack_counts_of "capsule_unpack_counts"(
        const capsule_unpack *unpack) noexcept

USERXATTR, SKIP_DEVICES, PLAIN, WHOLE = _USERXATTR, _SKIP_DEVICES, _PLAIN, _WHOLE


cdef class Unpacker:
    """An archive on its way below a directory; feed it from one thread that has called `private_umask`."""

    cdef capsule_unpack *unpack

    def __cinit__(self, int root_fd, *, list lower_fds, unsigned int flags, uint64_t entries, uint64_t bytes,
                  uint64_t file_size):
        cdef capsule_unpack_limits limits
        cdef size_t count = len(lower_fds), index
        cdef int *fds = <int *>calloc(count + 1, sizeof(int))
        if not fds:
            raise MemoryError
        for index in range(count):
            fds[index] = lower_fds[index]
        limits.entries, limits.bytes, limits.file_size = entries, bytes, file_size
        self.unpack = capsule_unpack_new(root_fd, fds, count, flags, &limits)
        free(fds)
        if not self.unpack:
            raise MemoryError

    def __dealloc__(self):
        capsule_unpack_free(self.unpack)

    def close(self):
        """Close what is open, whatever state the archive is in; nothing may follow."""
        capsule_unpack_free(self.unpack)
        self.unpack = NULL

    def feed(self, const unsigned char[::1] data):
        """Take the next bytes of the archive.

        Raises OSError: strerror names the member. Nothing may follow it.
        """
        cdef int ret
        cdef size_t size = data.shape[0]
        if size and self.unpack:
            with nogil:
                ret = capsule_unpack_feed(self.unpack, &data[0], size)
            self._check(ret)

    def finish(self):
        """End the archive, and return (members, bytes, devices left out, attributes left out, opaque at its root)."""
        cdef int ret
        if not self.unpack:
            raise ValueError("closed")
        with nogil:
            ret = capsule_unpack_finish(self.unpack)
        self._check(ret)
        counts = capsule_unpack_counts_of(self.unpack)
        return counts.entries, counts.bytes, counts.skipped_devices, counts.skipped_xattrs, bool(counts.opaque_root)

    cdef _check(self, int ret):
        if ret < 0:
            raise OSError(-ret, capsule_unpack_message(self.unpack).decode("utf-8", "surrogateescape"))


def private_umask():
    """Give the calling thread a umask of its own, 0; its working directory becomes its own too."""
    if c_unshare(CLONE_FS) < 0:
        raise OSError(errno, "unshare: " + posix.strerror(errno).lower())
    c_umask(0)


def removetree(int dir_fd, str name):
    """Remove whatever has the name in a directory, to any depth; fine when nothing has."""
    cdef bytes encoded = name.encode("utf-8", "surrogateescape")
    cdef const char *c_name = encoded
    cdef int ret
    with nogil:
        ret = capsule_removetree(dir_fd, c_name)
    if ret < 0:
        raise OSError(-ret, "remove: " + posix.strerror(-ret).lower(), name)


def syncfs(int fd):
    """Write everything of the file system that fd lies on to its device; man 2 syncfs."""
    cdef long ret
    with nogil:
        ret = c_syscall(SYS_syncfs, fd)
    if ret < 0:
        raise OSError(errno, "syncfs: " + posix.strerror(errno).lower())
