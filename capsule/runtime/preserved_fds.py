"""--preserve-fds: descriptors from 3 on that the caller opened for the program of a container."""

from __future__ import annotations

import posix

from capsule.errors import CapsuleError


def check(count: int) -> None:
    """Refuse to preserve what the caller did not open: that number is, or will be, one of ours.

    A descriptor of ours inside the container, such as the one of the state directory, is a way out of it. All
    of ours close on execve; what came through the execve that started us does not.

    Raises CapsuleError.
    """
    for fd in range(3, 3 + count):
        try:
            passed = posix.get_inheritable(fd)
        except OSError:
            passed = False
        if not passed:
            raise CapsuleError("preserve descriptors", f"3 to {2 + count}", f"descriptor {fd} is not open")
