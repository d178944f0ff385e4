# distutils: sources = csrc/unreadable.c
# cython: language_level=3
"""What of a tree others may not read: csrc/unreadable.h."""

import posix

from posix.types cimport gid_t, mode_t, uid_t

cdef extern from "<sys/stat.h>" nogil:
    struct c_stat "stat":
        mode_t st_mode
        uid_t st_uid
        gid_t st_gid

cdef extern from "unreadable.h":
    ctypedef int (*capsule_unreadable_found)(void *context, const char *path, const c_stat *stat) noexcept
    struct capsule_unreadable_depth:
        unsigned int levels
        unsigned int sure
        unsigned int most
    int capsule_unreadable_search(const char *directory, const capsule_unreadable_depth *depth,
                                  capsule_unreadable_found found, void *context) noexcept


cdef int _add(void *context, const char *path, const c_stat *stat) noexcept:
    try:
        (<list>context).append(((<bytes>path).decode("utf-8", "surrogateescape"), stat.st_mode, stat.st_uid, stat.st_gid))
    except MemoryError:
        return -12
    return 0


def search(str directory, unsigned int depth, unsigned int sure = 0, unsigned int most = 0):
    """Return [(path, mode, uid, gid)] of what others may not read, `depth` levels deep; mode is st_mode.

    With `sure`, deeper than that only the first `most` entries are looked at, below each entry of the directory.
    """
    found: list = []
    cdef bytes name = directory.encode("utf-8", "surrogateescape")
    cdef capsule_unreadable_depth how
    how.levels, how.sure, how.most = depth, sure or depth, most
    cdef int ret = capsule_unreadable_search(name, &how, _add, <void *>found)
    if ret < 0:
        raise OSError(-ret, f"search: {posix.strerror(-ret).lower()}", directory)
    return found
