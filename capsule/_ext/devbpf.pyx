# distutils: sources = csrc/devbpf.c
# cython: language_level=3
"""Device programs of cgroup v2: csrc/devbpf.h."""

import posix

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "devbpf.h" nogil:
    enum:
        CAPSULE_DEVBPF_PER_RULE
        CAPSULE_DEVBPF_AROUND
    struct capsule_devbpf_rule:
        uint32_t allow
        uint32_t kinds
        uint32_t access
        int64_t major
        int64_t minor
    size_t capsule_devbpf_compile(const capsule_devbpf_rule *rules, size_t count, uint64_t *out) noexcept
    int capsule_devbpf_load(const uint64_t *instructions, size_t count, char *log, size_t log_size) noexcept
    int capsule_devbpf_attach(int cgroup_fd, int program_fd) noexcept

LOG_SIZE = 1 << 16


def compile_rules(rules):
    """Return the program, 8 bytes an instruction, of (allow, kinds, access, major, minor) in order; the last match wins.

    kinds: 1 block, 2 character; access: 1 mknod, 2 read, 4 write; major and minor: -1 is any.
    """
    cdef size_t count = len(rules), room, made, i
    cdef capsule_devbpf_rule *table
    cdef uint64_t *out
    room = count * CAPSULE_DEVBPF_PER_RULE + CAPSULE_DEVBPF_AROUND + 1
    table = <capsule_devbpf_rule *>malloc((count + 1) * sizeof(capsule_devbpf_rule))
    out = <uint64_t *>malloc(room * sizeof(uint64_t))
    try:
        if not table or not out:
            raise MemoryError
        for i in range(count):
            table[i].allow, table[i].kinds, table[i].access, table[i].major, table[i].minor = rules[i]
        made = capsule_devbpf_compile(table, count, out)
        return (<char *>out)[:made * sizeof(uint64_t)]
    finally:
        free(table)
        free(out)


def load(bytes program not None):
    """Return the fd of a loaded program; OSError whose filename is the verifier's log, "" without one."""
    cdef size_t size = LOG_SIZE
    cdef char *log = <char *>malloc(size)
    cdef int fd
    if not log:
        raise MemoryError
    try:
        fd = capsule_devbpf_load(<const uint64_t *><const char *>program, len(program) // sizeof(uint64_t), log, size)
        if fd < 0:
            raise OSError(-fd, f"bpf: {posix.strerror(-fd).lower()}", (<bytes>log).decode("utf-8", "replace"))
        return fd
    finally:
        free(log)


def attach(int cgroup_fd, int program_fd):
    """Attach a program in place of an earlier one of capsule's; return how many others are attached.

    OSError EEXIST: one of others that suffers no second.
    """
    cdef int result = capsule_devbpf_attach(cgroup_fd, program_fd)
    if result < 0:
        raise OSError(-result, f"bpf: {posix.strerror(-result).lower()}")
    return result
