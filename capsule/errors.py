"""The exception tree: operation, subject, cause. One failure is one record and one line.

Nothing here prints; `capsule.cli.output` does. Messages are lower case, without a final stop.
"""

from __future__ import annotations

import posix


def errno_text(errno: int | None) -> str:
    """Return the C library's words for an errno, lower case; errno(3)."""
    return posix.strerror(errno or 0).lower()


class CapsuleError(Exception):
    """A failed operation: `operation subject: cause`. `errno` is 0 where no system call failed.

    `details` holds what is too long for one line, under names of its own: "hook_output".
    """

    exit_status = 1

    def __init__(self, operation: str, subject: str = "", cause: str = "", *, errno: int | None = 0) -> None:
        if errno and not cause:
            cause = errno_text(errno)
        self.operation = operation
        self.subject = subject
        self.cause = cause
        self.errno = errno or 0
        self.details: dict = {}
        Exception.__init__(self, operation, subject, cause)

    def __str__(self) -> str:
        head = f"{self.operation} {self.subject}" if self.subject else self.operation
        return f"{head}: {self.cause}" if self.cause else head


class SpecError(CapsuleError):
    """config.json or process.json is not acceptable; `subject` is the JSON path."""


class StateError(CapsuleError):
    """The container's state does not permit the operation."""


class NotFound(StateError):
    """No container of that id: `container "ID" does not exist`."""


class AlreadyExists(StateError):
    """The id is in use."""


class BadTransition(StateError):
    """The verb is refused in the container's present status."""


class CorruptRecord(StateError):
    """A record on disk cannot be read as what it should be."""


class KernelError(CapsuleError):
    """A system call failed; `errno` says how."""


class MountError(KernelError):
    pass


class CgroupError(KernelError):
    pass


class SecurityError(KernelError):
    pass


class NetworkError(KernelError):
    pass


class ChildError(CapsuleError):
    """S1, S2 or T failed: `stage` and `step` say where."""

    stage = ""
    step = ""


class HookError(CapsuleError):
    """A hook failed: `error running NAME hook #INDEX: cause`."""


class ImageError(CapsuleError):
    pass


class VolumeError(CapsuleError):
    pass


class Unsupported(CapsuleError):
    """A feature that this build or this machine does not have; `cause` says what is needed."""
