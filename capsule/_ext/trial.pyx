# distutils: sources = csrc/trial.c
# cython: language_level=3
"""Trials of what the kernel can do, each in a child that ends with it: csrc/trial.h."""

cdef extern from "trial.h" nogil:
    const char *const capsule_trial_names[]
    int capsule_trial_run(int number, int cgroup_fd, int own_userns) noexcept


def names():
    """Return the names of the trials."""
    found = []
    cdef int at = 0
    while capsule_trial_names[at] != NULL:
        found.append((<bytes>capsule_trial_names[at]).decode())
        at += 1
    return found


def run(str name, int cgroup_fd=-1, bint own_userns=False):
    """Try something; return 0, or the errno of what failed. `own_userns`: as a process without privilege has to."""
    cdef int number = names().index(name)
    cdef int result
    cdef int inside = own_userns
    with nogil:
        result = capsule_trial_run(number, cgroup_fd, inside)
    return -result
