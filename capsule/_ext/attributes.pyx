# distutils: sources = csrc/attributes.c
# cython: language_level=3
"""Scheduling, I/O priority, execution domain and memory policy: csrc/attributes.h."""

import posix

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "attributes.h" nogil:
    enum:
        CAPSULE_NODES
    struct capsule_nodes:
        unsigned long words[16]
    struct capsule_scheduler:
        uint32_t policy
        uint64_t flags
        int32_t nice
        uint32_t priority
        uint64_t runtime
        uint64_t deadline
        uint64_t period
    int capsule_attributes_set_scheduler(int pid, capsule_scheduler *scheduler) noexcept
    int capsule_attributes_set_io_priority(int pid, int value) noexcept
    int capsule_attributes_set_personality(unsigned long domain) noexcept
    int capsule_attributes_set_memory_policy(int mode, const capsule_nodes *nodes) noexcept
    int capsule_attributes_allowed_nodes(capsule_nodes *nodes) noexcept

NODES = CAPSULE_NODES

cdef unsigned int WORD_BITS = 8 * sizeof(unsigned long)


cdef int check(int ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return ret


def set_scheduler(int pid, uint32_t policy, uint64_t flags, int32_t nice, uint32_t priority, uint64_t runtime,
                  uint64_t deadline, uint64_t period):
    """Set policy and parameters of a process (sched_setattr(2)); the last three are nanoseconds."""
    cdef capsule_scheduler scheduler
    memset(&scheduler, 0, sizeof(scheduler))
    scheduler.policy, scheduler.flags = policy, flags
    scheduler.nice, scheduler.priority = nice, priority
    scheduler.runtime, scheduler.deadline, scheduler.period = runtime, deadline, period
    check(capsule_attributes_set_scheduler(pid, &scheduler), "sched_setattr")


def set_io_priority(int pid, int io_class, int level):
    """Set the I/O scheduling class and level of a process (ioprio_set(2))."""
    check(capsule_attributes_set_io_priority(pid, io_class << 13 | level), "ioprio_set")


def set_personality(unsigned long domain):
    """Set the execution domain of the caller and of what it executes (personality(2))."""
    check(capsule_attributes_set_personality(domain), "personality")


def set_memory_policy(int mode, nodes):
    """Set the NUMA policy of the caller and of what it executes (set_mempolicy(2)); nodes are below NODES."""
    cdef capsule_nodes mask
    cdef unsigned int node
    memset(&mask, 0, sizeof(mask))
    for node in nodes:
        if node >= CAPSULE_NODES:
            raise OSError(22, "set_mempolicy: invalid argument")
        mask.words[node // WORD_BITS] |= 1ul << (node % WORD_BITS)
    check(capsule_attributes_set_memory_policy(mode, &mask), "set_mempolicy")


def allowed_nodes():
    """List the NUMA nodes that the caller may have memory of (get_mempolicy(2))."""
    cdef capsule_nodes mask
    cdef unsigned int node
    memset(&mask, 0, sizeof(mask))
    check(capsule_attributes_allowed_nodes(&mask), "get_mempolicy")
    return [node for node in range(<unsigned int>CAPSULE_NODES)
            if mask.words[node // WORD_BITS] >> (node % WORD_BITS) & 1]
