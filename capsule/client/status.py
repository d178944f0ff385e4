"""ContainerStatus: what a container is doing, asked of the kernel each time."""

from __future__ import annotations

from enum import IntEnum


class ContainerStatus(IntEnum):
    """The status of a container; `str()` is the word that `capsule state` prints."""

    CREATED = 0
    RUNNING = 1
    STOPPED = 2
    PAUSED = 3

    def __str__(self) -> str:
        return self.name.lower()
