# distutils: sources = csrc/nsexec.c csrc/fdpass.c csrc/proc.c
# cython: language_level=3
"""The bootstrap's stages: csrc/nsexec.h."""

import posix

from capsule._ext.seal import seal

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

cdef extern from "nsexec.h" nogil:
    enum:
        CAPSULE_NS_MAX
        CAPSULE_CGROUPS_MAX
        CAPSULE_KEEP_MAX
    struct capsule_ns_join:
        int fd
        int type
    struct capsule_cgroup_join:
        int unified_fd
        int *tasks_fds
        unsigned int tasks_count
    struct capsule_nsexec:
        int sync_fd
        int parent_fd
        int one_stage
        unsigned int unshare
        unsigned int join_count
        capsule_ns_join *join
        capsule_cgroup_join cgroups
        int time_offsets
        int unprivileged
    struct capsule_tail_exec:
        int program_fd
        int plan_fd
        int preserve
        int *keep
        unsigned int keep_count
        int tty_fd
        int clone_first
        int sync_fd
        capsule_cgroup_join cgroups
    int capsule_nsexec_start(const capsule_nsexec *request) noexcept
    int capsule_nsexec_exec_tail(const capsule_tail_exec *request) noexcept
    int capsule_net_loopback_up() noexcept


cdef int check(long ret, operation) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}")
    return <int>ret


cdef int set_cgroups(capsule_cgroup_join *cgroups, int unified_fd, tasks_fds) except -1:
    if len(tasks_fds) > CAPSULE_CGROUPS_MAX:
        raise OSError(7, "join cgroup: too many hierarchies")
    cgroups.unified_fd = unified_fd
    cgroups.tasks_count = len(tasks_fds)
    for index, fd in enumerate(tasks_fds):
        cgroups.tasks_fds[index] = fd
    return 0


def start(int sync_fd, int parent_fd, unsigned int unshare, joins, int unified_fd, tasks_fds, bint time_offsets,
          bint one_stage, bint unprivileged=False):
    """Clone S1, or S2 itself (one_stage); returns the clone's pid in R and 0 in S2, which is sealed already.

    joins is [(namespace fd, CLONE_NEW* type)]; tasks_fds are open v1 `tasks` files; unprivileged: this is no root.
    Never releases the GIL: S2 goes on as a copy of this very thread.
    """
    cdef capsule_nsexec request
    cdef int pid
    request.sync_fd, request.parent_fd = sync_fd, parent_fd
    request.unshare, request.time_offsets, request.one_stage = unshare, time_offsets, one_stage
    request.unprivileged = unprivileged
    if len(joins) > CAPSULE_NS_MAX:
        raise OSError(7, "join namespaces: too many")
    request.join_count = len(joins)
    for index, (fd, kind) in enumerate(joins):
        request.join[index].fd = fd
        request.join[index].type = kind
    set_cgroups(&request.cgroups, unified_fd, tasks_fds)
    PyOS_BeforeFork()
    pid = capsule_nsexec_start(&request)
    if pid == 0:
        # Before any bytecode: AfterFork_Child may run Python callbacks.
        seal()
        PyOS_AfterFork_Child()
        return 0
    PyOS_AfterFork_Parent()
    return check(pid, "clone")


def exec_tail(int program_fd, int plan_fd, int preserve, keep, int tty_fd, bint clone_first, int sync_fd,
              int unified_fd, tasks_fds):
    """Become the tail (or make it and exit, with clone_first), in a new session. Returns only by raising OSError.

    tty_fd: a pty slave for stdio and as the controlling terminal, or -1.
    """
    cdef capsule_tail_exec request
    request.program_fd, request.plan_fd, request.preserve = program_fd, plan_fd, preserve
    request.clone_first, request.sync_fd, request.tty_fd = clone_first, sync_fd, tty_fd
    if len(keep) > CAPSULE_KEEP_MAX:
        raise OSError(7, "execveat tail: too many descriptors")
    request.keep_count = len(keep)
    for index, fd in enumerate(keep):
        request.keep[index] = fd
    set_cgroups(&request.cgroups, unified_fd, tasks_fds)
    check(capsule_nsexec_exec_tail(&request), "execveat tail")


def loopback_up():
    """Bring up the loopback interface of this network namespace."""
    check(capsule_net_loopback_up(), "bring up lo")
