# distutils: sources = csrc/seccomp_build.c csrc/blake2b.c
# distutils: libraries = dl
# cython: language_level=3
"""Names of system calls, filter flags, and the digest of cached filters: csrc/seccomp_build.h, csrc/blake2b.h."""

import posix

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "blake2b.h" nogil:
    enum:
        CAPSULE_BLAKE2B_SIZE
    void capsule_blake2b_digest(const void *data, size_t size, uint8_t *digest) noexcept

cdef extern from "seccomp_build.h" nogil:
    struct capsule_seccomp_names:
        void *library
    uint32_t capsule_seccomp_native_arch() noexcept
    int capsule_seccomp_flags_known(unsigned int flags) noexcept
    int capsule_seccomp_open(capsule_seccomp_names *names) noexcept
    void capsule_seccomp_close(capsule_seccomp_names *names) noexcept
    const char *capsule_seccomp_library(const capsule_seccomp_names *names) noexcept
    int capsule_seccomp_resolve(const capsule_seccomp_names *names, uint32_t arch, const char *name) noexcept


cdef int check(int ret, operation, subject=None) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", subject)
    return ret


def digest(bytes data not None):
    """Return the BLAKE2b-256 digest of data."""
    cdef uint8_t out[CAPSULE_BLAKE2B_SIZE]
    capsule_blake2b_digest(<const char *>data, len(data), out)
    return out[:CAPSULE_BLAKE2B_SIZE]


def native_arch():
    """Return the AUDIT_ARCH_* number of this program."""
    return capsule_seccomp_native_arch()


def flags_known(unsigned int flags):
    """Tell whether the kernel knows these filter flags together; ENOSYS without seccomp."""
    return check(capsule_seccomp_flags_known(flags), "seccomp") != 0


cdef class Names:
    """libseccomp's table of system calls, loaded until close(); OSError ELIBACC when it is not installed."""

    cdef capsule_seccomp_names names

    def __cinit__(self):
        self.names.library = NULL
        check(capsule_seccomp_open(&self.names), "dlopen", "libseccomp.so.2")

    def __dealloc__(self):
        capsule_seccomp_close(&self.names)

    cdef const capsule_seccomp_names *alive(self) except NULL:
        if not self.names.library:
            raise ValueError("names are closed")
        return &self.names

    def close(self):
        """Unload libseccomp."""
        capsule_seccomp_close(&self.names)

    def library(self):
        """Return the path that libseccomp was loaded from."""
        return capsule_seccomp_library(self.alive()).decode("utf-8", "surrogateescape")

    def resolve(self, uint32_t arch, bytes name not None):
        """Return a call's number: -1 for an unknown name, below for a call that arch has not as its own."""
        return capsule_seccomp_resolve(self.alive(), arch, name)
