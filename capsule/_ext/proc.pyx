# distutils: sources = csrc/proc.c csrc/sealed.c
# cython: language_level=3
"""Processes and descriptors: csrc/proc.h, csrc/sealed.h."""

import posix

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        _POLLIN "POLLIN"
        _POLLOUT "POLLOUT"
        _POLLERR "POLLERR"
        _POLLHUP "POLLHUP"

cdef extern from "<sys/file.h>" nogil:
    enum:
        _LOCK_SH "LOCK_SH"
        _LOCK_EX "LOCK_EX"
        _LOCK_NB "LOCK_NB"
        _LOCK_UN "LOCK_UN"

cdef extern from "<unistd.h>" nogil:
    int c_sethostname "sethostname"(const char *name, size_t size) noexcept
    int c_setdomainname "setdomainname"(const char *name, size_t size) noexcept
    int c_setsid "setsid"() noexcept

cdef extern from "<sys/inotify.h>" nogil:
    enum:
        IN_CLOEXEC
        IN_NONBLOCK
        IN_MODIFY
        IN_CREATE
        IN_MOVED_TO
    int c_inotify_init1 "inotify_init1"(int flags) noexcept
    int c_inotify_add_watch "inotify_add_watch"(int fd, const char *path, uint32_t mask) noexcept

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "sealed.h" nogil:
    int capsule_sealed_data(const char *name, const void *data, size_t size) noexcept
    int capsule_sealed_program(const char *name, const void *image, size_t size, const char *fallback) noexcept

cdef extern from "proc.h" nogil:
    struct capsule_spawn:
        const char *path
        char *const *argv
        char *const *envp
        const char *cwd
        int stdin_fd
        int stdout_fd
        int stderr_fd
    int capsule_proc_pidfd_open(int pid) noexcept
    int capsule_proc_pidfd_signal(int pidfd, int sig) noexcept
    int capsule_proc_pidfd_exited(int pidfd) noexcept
    int capsule_proc_wait(int pid, int flags, int *status) noexcept
    int capsule_proc_poll(pollfd *fds, unsigned int count, int timeout_ms) noexcept
    int capsule_proc_flock(int fd, int operation) noexcept
    int capsule_proc_set_cloexec(int fd, int on) noexcept
    int capsule_proc_close_range(unsigned int first, unsigned int last, unsigned int flags) noexcept
    int capsule_proc_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) noexcept
    int capsule_proc_prlimit(int pid, int resource, uint64_t soft, uint64_t hard) noexcept
    int capsule_proc_getrlimit(int pid, int resource, uint64_t *soft, uint64_t *hard) noexcept
    int capsule_proc_statfs_type(int fd, long *type) noexcept
    int capsule_proc_thread_count() noexcept
    int capsule_proc_namespace_type(int fd) noexcept
    int capsule_proc_signalfd(uint64_t mask) noexcept
    int capsule_proc_block_signals(uint64_t mask, uint64_t *old) noexcept
    int capsule_proc_read_signal(int fd) noexcept
    int capsule_proc_reset_affinity(int pid) noexcept
    int capsule_proc_join_session_keyring(const char *name) noexcept
    int capsule_proc_hold() noexcept
    int capsule_proc_spawn(const capsule_spawn *spawn) noexcept
    void capsule_proc_stop_point(const char *name) noexcept
    int capsule_proc_stop_wanted(const char *name) noexcept

POLLIN, POLLOUT, POLLERR, POLLHUP = _POLLIN, _POLLOUT, _POLLERR, _POLLHUP
LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN = _LOCK_SH, _LOCK_EX, _LOCK_NB, _LOCK_UN
CLOSE_RANGE_CLOEXEC = 4


cdef int check(long ret, operation, path=None) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", path)
    return <int>ret


def pidfd_open(int pid):
    """Open a pidfd of a process (pidfd_open(2)); ESRCH when there is none."""
    return check(capsule_proc_pidfd_open(pid), "pidfd_open", str(pid))


def pidfd_send_signal(int pidfd, int sig):
    """Send a signal; ESRCH when the process has gone."""
    check(capsule_proc_pidfd_signal(pidfd, sig), "pidfd_send_signal")


def pidfd_exited(int pidfd):
    """Tell whether the process of a pidfd has exited."""
    return check(capsule_proc_pidfd_exited(pidfd), "poll") != 0


def wait_pid(int pid, int flags=0):
    """Wait for a child; returns (pid, wait status), pid 0 with WNOHANG when it still runs."""
    cdef int status = 0
    cdef int got
    with nogil:
        got = capsule_proc_wait(pid, flags, &status)
    return check(got, "waitpid", str(pid)), status


def poll(entries, int timeout_ms):
    """Wait for [(fd, events)]; returns the ready [(fd, revents)], [] after timeout_ms (-1 = never)."""
    cdef unsigned int count = len(entries)
    cdef int ret
    cdef pollfd *fds = <pollfd *>malloc((count + 1) * sizeof(pollfd))
    if not fds:
        raise MemoryError
    try:
        for index, (fd, events) in enumerate(entries):
            fds[index].fd = fd
            fds[index].events = events
            fds[index].revents = 0
        with nogil:
            ret = capsule_proc_poll(fds, count, timeout_ms)
        check(ret, "poll")
        return [(fds[i].fd, fds[i].revents) for i in range(count) if fds[i].revents]
    finally:
        free(fds)


def flock(int fd, int operation):
    """Lock or unlock an open file (flock(2)); EWOULDBLOCK with LOCK_NB when it is held."""
    cdef int ret
    with nogil:
        ret = capsule_proc_flock(fd, operation)
    check(ret, "flock")


def set_cloexec(int fd, bint on):
    """Set or clear close-on-exec."""
    check(capsule_proc_set_cloexec(fd, on), "fcntl F_SETFD")


def close_range(unsigned int first, unsigned int last, unsigned int flags=0):
    """Close, or mark close-on-exec, every descriptor from first to last (close_range(2))."""
    check(capsule_proc_close_range(first, last, flags), "close_range")


def prctl(int option, unsigned long arg2=0, unsigned long arg3=0, unsigned long arg4=0, unsigned long arg5=0):
    """Call prctl(2)."""
    return check(capsule_proc_prctl(option, arg2, arg3, arg4, arg5), f"prctl {option}")


def prlimit(int pid, int resource, uint64_t soft, uint64_t hard):
    """Set a resource limit of a process; 2**64-1 is RLIM_INFINITY."""
    check(capsule_proc_prlimit(pid, resource, soft, hard), "prlimit", str(pid))


def getrlimit(int pid, int resource):
    """Read a resource limit of a process as (soft, hard)."""
    cdef uint64_t soft = 0
    cdef uint64_t hard = 0
    check(capsule_proc_getrlimit(pid, resource, &soft, &hard), "prlimit", str(pid))
    return soft, hard


def statfs_type(int fd):
    """Tell the f_type magic of the file system a descriptor is on (statfs(2))."""
    cdef long kind = 0
    check(capsule_proc_statfs_type(fd, &kind), "fstatfs")
    return kind


def thread_count():
    """Count the threads of this process."""
    return check(capsule_proc_thread_count(), "stat /proc/self/task")


def namespace_type(int fd):
    """Tell the CLONE_NEW* flag of an open namespace file; ENOTTY for any other file."""
    return check(capsule_proc_namespace_type(fd), "ioctl NS_GET_NSTYPE")


def signalfd(uint64_t mask):
    """Block the signals of mask (bit n-1 is signal n) and open a descriptor that reads them."""
    return check(capsule_proc_signalfd(mask), "signalfd")


def watch_directory(str path):
    """Open a descriptor that is readable when a file of a directory is written, made or moved there; man 7 inotify."""
    cdef bytes encoded = path.encode("utf-8", "surrogateescape")
    cdef int fd = c_inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
    if fd < 0:
        check(-errno, "inotify_init1")
    if c_inotify_add_watch(fd, encoded, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0:
        error = errno
        posix.close(fd)
        check(-error, "inotify_add_watch")
    return fd


def block_signals(uint64_t mask):
    """Block the signals of mask; returns the mask that was blocked before."""
    cdef uint64_t old = 0
    check(capsule_proc_block_signals(mask, &old), "sigprocmask")
    return old


def read_signal(int fd):
    """Take the next pending signal of a signalfd, 0 when there is none."""
    return check(capsule_proc_read_signal(fd), "read signalfd")


def sched_reset_affinity(int pid):
    """Let a process run on every CPU that its cpuset allows."""
    check(capsule_proc_reset_affinity(pid), "sched_setaffinity", str(pid))


def keyctl_join_session(bytes name):
    """Join a new session keyring of that name (keyctl(2)); returns its serial."""
    return check(capsule_proc_join_session_keyring(name), "keyctl JOIN_SESSION_KEYRING")


def hold():
    """Start a child that holds nothing and does nothing until it is killed; returns its pid. It ends with us."""
    return check(capsule_proc_hold(), "clone")


def sethostname(bytes name):
    """Set the host name of this UTS namespace."""
    check(-errno if c_sethostname(name, len(name)) < 0 else 0, "sethostname")


def setdomainname(bytes name):
    """Set the NIS domain name of this UTS namespace."""
    check(-errno if c_setdomainname(name, len(name)) < 0 else 0, "setdomainname")


def setsid():
    """Start a new session."""
    return check(-errno if c_setsid() < 0 else 0, "setsid")


def memfd(str name, bytes data, bint executable=False):
    """Hold `data` in a sealed memfd; `executable` gives it mode 0111 and MFD_EXEC."""
    cdef bytes encoded = name.encode()
    cdef const char *text = encoded
    cdef const char *start = data
    cdef int fd
    if executable:
        fd = capsule_sealed_program(text, start, len(data), b"/run")
    else:
        fd = capsule_sealed_data(text, start, len(data))
    return check(fd, "memfd_create", name)


cdef char **to_vector(list items) except NULL:
    cdef char **vector = <char **>malloc((len(items) + 1) * sizeof(char *))
    if not vector:
        raise MemoryError
    for index in range(len(items)):
        vector[index] = <bytes>items[index]
    vector[len(items)] = NULL
    return vector


def spawn(bytes path, list argv, list env, int stdin_fd, int stdout_fd, int stderr_fd, *, bytes cwd=None):
    """Start a program with default signals and descriptors 0-2 only; returns its pid.

    Raises OSError of chdir(2) or execve(2).
    """
    cdef capsule_spawn request
    cdef int pid
    request.path = path
    request.cwd = NULL
    if cwd is not None:
        request.cwd = cwd
    request.stdin_fd, request.stdout_fd, request.stderr_fd = stdin_fd, stdout_fd, stderr_fd
    cdef char **c_argv = to_vector(argv)
    cdef char **c_env = NULL
    try:
        c_env = to_vector(env)
        request.argv = c_argv
        request.envp = c_env
        pid = capsule_proc_spawn(&request)
    finally:
        free(c_argv)
        free(c_env)
    return check(pid, "execve", path.decode("utf-8", "surrogateescape"))


def stop_point(str name):
    """Stop here for a test that asks for it by $CAPSULE_STOP; nothing in a normal build."""
    capsule_proc_stop_point(name.encode())


def stop_wanted(str name):
    """Tell whether a test asks this process to stop at a point; never in a normal build."""
    return capsule_proc_stop_wanted(name.encode()) != 0
