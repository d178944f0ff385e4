# distutils: sources = csrc/capset.c
# cython: language_level=3
"""The calling thread's capability sets as masks: csrc/capset.h."""

import posix

from libc.stdint cimport uint64_t

cdef extern from "capset.h" nogil:
    struct capsule_capset:
        uint64_t effective
        uint64_t permitted
        uint64_t inheritable
    int capsule_capset_last_cap() noexcept
    int capsule_capset_get(capsule_capset *sets) noexcept
    int capsule_capset_set(const capsule_capset *sets) noexcept
    int capsule_capset_bounding(uint64_t *mask) noexcept
    int capsule_capset_bounding_drop(uint64_t keep) noexcept
    int capsule_capset_ambient(uint64_t *mask) noexcept
    int capsule_capset_ambient_clear() noexcept
    int capsule_capset_ambient_raise(uint64_t mask, uint64_t *failed) noexcept


cdef int check(int ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return ret


def last_cap():
    """Tell the highest capability number this kernel knows."""
    return capsule_capset_last_cap()


def get():
    """Read (effective, permitted, inheritable)."""
    cdef capsule_capset sets
    check(capsule_capset_get(&sets), "capget")
    return sets.effective, sets.permitted, sets.inheritable


def set(uint64_t effective, uint64_t permitted, uint64_t inheritable):
    """Replace the three sets; EPERM where one would gain what it may not."""
    cdef capsule_capset sets
    sets.effective, sets.permitted, sets.inheritable = effective, permitted, inheritable
    check(capsule_capset_set(&sets), "capset")


def bounding():
    """Read the bounding set."""
    cdef uint64_t mask = 0
    check(capsule_capset_bounding(&mask), "prctl PR_CAPBSET_READ")
    return mask


def bounding_drop(uint64_t keep_mask):
    """Leave only keep_mask of the bounding set; EPERM without CAP_SETPCAP when something has to go."""
    check(capsule_capset_bounding_drop(keep_mask), "prctl PR_CAPBSET_DROP")


def ambient():
    """Read the ambient set."""
    cdef uint64_t mask = 0
    check(capsule_capset_ambient(&mask), "prctl PR_CAP_AMBIENT_IS_SET")
    return mask


def ambient_clear():
    """Empty the ambient set."""
    check(capsule_capset_ambient_clear(), "prctl PR_CAP_AMBIENT_CLEAR_ALL")


def ambient_raise(uint64_t mask):
    """Raise bits of the ambient set; returns those that the kernel refused."""
    cdef uint64_t failed = 0
    check(capsule_capset_ambient_raise(mask, &failed), "prctl PR_CAP_AMBIENT_RAISE")
    return failed
