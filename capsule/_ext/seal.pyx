# distutils: sources = csrc/seal.c
# cython: language_level=3
"""The sealed interpreter: csrc/seal.h. Importing this module installs the audit hook."""


cdef extern from "seal.h":
    enum: CAPSULE_SEAL_STATUS
    int capsule_seal_install() except -1
    int capsule_seal() except -1
    int capsule_is_sealed() noexcept


STATUS = CAPSULE_SEAL_STATUS

capsule_seal_install()


def seal():
    """Empty the import machinery; from now on importing, compiling or opening ends this process."""
    capsule_seal()


def is_sealed():
    """Tell whether seal() has been called in this process."""
    return capsule_is_sealed() != 0
