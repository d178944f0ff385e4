"""The four statuses, and for each the verbs it permits (original: ContainerStatusBehavior)."""

from __future__ import annotations

from capsule.errors import BadTransition

CREATED, RUNNING, STOPPED, PAUSED = 0, 1, 2, 3
NAMES = ("created", "running", "stopped", "paused")


class ContainerStatusBehavior:
    """One method a verb: returns when the status permits it, raises BadTransition when not."""

    __slots__ = ("id",)
    status = -1

    def __init__(self, container_id: str) -> None:
        self.id = container_id

    def start(self) -> None:
        raise BadTransition("start", self.id, f"cannot start a container that is {NAMES[self.status]}")

    def kill(self) -> None:
        pass

    def delete(self) -> None:
        raise BadTransition(f"cannot delete container {self.id} that is not stopped", "", NAMES[self.status])

    def exec(self, *, ignore_paused: bool = False) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        raise BadTransition("resume", self.id, "container not paused")


class CreatedStatusBehavior(ContainerStatusBehavior):
    """The tail waits for start; deleting it kills the tail, as runc does."""

    __slots__ = ()
    status = CREATED

    def start(self) -> None:
        pass

    def delete(self) -> None:
        pass


class RunningStatusBehavior(ContainerStatusBehavior):
    """The program runs."""

    __slots__ = ()
    status = RUNNING

    def start(self) -> None:
        raise BadTransition("start", self.id, "cannot start an already running container")


class StoppedStatusBehavior(ContainerStatusBehavior):
    """The first process has gone; only the record is left."""

    __slots__ = ()
    status = STOPPED

    def start(self) -> None:
        raise BadTransition("start", self.id, "cannot start a container that has stopped")

    def kill(self) -> None:
        raise not_running("kill", self.id)

    def delete(self) -> None:
        pass

    def exec(self, *, ignore_paused: bool = False) -> None:
        raise BadTransition("exec", self.id, "cannot exec in a stopped container")

    def pause(self) -> None:
        raise not_running("pause", self.id)


class PausedStatusBehavior(ContainerStatusBehavior):
    """The cgroup is frozen."""

    __slots__ = ()
    status = PAUSED

    def exec(self, *, ignore_paused: bool = False) -> None:
        if not ignore_paused:
            raise BadTransition("exec", self.id,
                                "cannot exec in a paused container (use --ignore-paused to override)")

    def pause(self) -> None:
        raise BadTransition("pause", self.id, "container is already paused")

    def resume(self) -> None:
        pass


def not_running(verb: str, container_id: str) -> BadTransition:
    """Build the refusal of a verb that needs a first process, in the words that engines look for."""
    return BadTransition(verb, container_id, "container not running")


_BEHAVIORS = (CreatedStatusBehavior, RunningStatusBehavior, StoppedStatusBehavior, PausedStatusBehavior)


def new_container_status_behavior(status: int, container_id: str) -> ContainerStatusBehavior:
    """Build the behaviour of a status."""
    return _BEHAVIORS[status](container_id)
