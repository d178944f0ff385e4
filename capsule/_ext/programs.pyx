# distutils: sources = csrc/sealed.c build/generated/embedded_programs.c
# cython: language_level=3
"""The freestanding programs that are embedded in this build: the tail, the relay, the monitor, the attendant."""

import posix

cdef extern from "<fcntl.h>" nogil:
    enum: AT_EMPTY_PATH

cdef extern from "<unistd.h>" nogil:
    int execveat(int dir_fd, const char *path, char *const *argv, char *const *envp, int flags) noexcept

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "sealed.h" nogil:
    int capsule_sealed_program(const char *name, const void *image, size_t size, const char *fallback) noexcept

cdef extern from *:
    """
    extern const unsigned char capsule_tail_image[], capsule_relay_image[], capsule_monitor_image[],
        capsule_attend_image[];
    extern const size_t capsule_tail_size, capsule_relay_size, capsule_monitor_size, capsule_attend_size;
    """
    const unsigned char *capsule_tail_image
    const unsigned char *capsule_relay_image
    const unsigned char *capsule_monitor_image
    const unsigned char *capsule_attend_image
    size_t capsule_tail_size
    size_t capsule_relay_size
    size_t capsule_monitor_size
    size_t capsule_attend_size


cdef int check(int fd, operation) except -1:
    if fd < 0:
        raise OSError(-fd, f"{operation}: {posix.strerror(-fd).lower()}")
    return fd


def tail():
    """Open a sealed, executable copy of the tail."""
    return check(capsule_sealed_program("capsule-tail", capsule_tail_image, capsule_tail_size, "/run"), "seal tail")


def relay():
    """Open a sealed, executable copy of the relay."""
    return check(capsule_sealed_program("capsule-relay", capsule_relay_image, capsule_relay_size, "/run"), "seal relay")


def monitor():
    """Open a sealed, executable copy of the monitor."""
    return check(capsule_sealed_program("capsule-monitor", capsule_monitor_image, capsule_monitor_size, "/run"),
                 "seal monitor")


def attend():
    """Open a sealed, executable copy of the attendant."""
    return check(capsule_sealed_program("capsule-attend", capsule_attend_image, capsule_attend_size, "/run"),
                 "seal attendant")


def become(int program_fd, bytes name, bytes argument):
    """Replace this process by a program, with two arguments and an empty environment."""
    cdef char *argv[3]
    cdef char *envp[1]
    argv[0], argv[1], argv[2] = name, argument, NULL
    envp[0] = NULL
    execveat(program_fd, "", argv, envp, AT_EMPTY_PATH)
    check(-errno, "execveat relay")
