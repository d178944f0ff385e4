# distutils: sources = csrc/idmap.c csrc/proc.c
# cython: language_level=3
"""Id-mapped mounts: csrc/idmap.h."""

import posix

cdef extern from "<stdbool.h>":
    ctypedef bint c_bool "bool"

cdef extern from "<sys/types.h>" nogil:
    ctypedef int pid_t

cdef extern from "idmap.h" nogil:
    int capsule_idmap_hold(pid_t *pid) noexcept
    int capsule_idmap_userns(const char *uid_map, size_t uid_size, const char *gid_map, size_t gid_size) noexcept
    int capsule_idmap_read(int userns_fd, char *uid_map, char *gid_map, size_t size) noexcept
    int capsule_idmap_apply(int mount_fd, int userns_fd, c_bool recursive) noexcept

cdef enum:
    MAP_MAX = 16384  # 340 lines of 33 bytes


cdef int check(int ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return ret


def hold():
    """Start a child in a user namespace without maps: (its pid, an fd whose closing ends it); the caller reaps it."""
    cdef pid_t pid = 0
    fd = check(capsule_idmap_hold(&pid), "clone into a user namespace")
    return pid, fd


def userns(bytes uid_map, bytes gid_map):
    """Make a user namespace that no process is in, with these map texts; returns an fd of it."""
    cdef const char *uids = uid_map
    cdef const char *gids = gid_map
    return check(capsule_idmap_userns(uids, len(uid_map), gids, len(gid_map)), "write id maps")


def read(int userns_fd):
    """Return the (uid_map, gid_map) of a user namespace, as its parent reads them."""
    cdef char uids[MAP_MAX]
    cdef char gids[MAP_MAX]
    check(capsule_idmap_read(userns_fd, uids, gids, MAP_MAX), "read id maps")
    return <bytes>uids, <bytes>gids


def apply(int mount_fd, int userns_fd, bint recursive):
    """Map the ids of a detached mount (recursive: of its whole tree) as a user namespace does."""
    check(capsule_idmap_apply(mount_fd, userns_fd, recursive), "mount_setattr")
