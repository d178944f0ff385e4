"""start: speak to the waiting tail over the start socket, then run poststart hooks."""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import fdpass, proc
from capsule.errors import BadTransition, CapsuleError, ChildError, HookError, StateError
from capsule.linux import proc_stat
from capsule.protocol import messages
from capsule.runtime import destruction, hooks, status as statuses, tail_error
from capsule.state import store as stores

_LOOK_MS = 1000  # after which silence of a tail, runs of its hooks mostly, is looked into
_DEATH_MS = 1000  # how long a tail that reported its failure may take to go


def start(container) -> None:
    """Have the tail execute the program; returns when execve(2) has happened.

    Raises BadTransition, ChildError, Interrupted, HookError: startContainer's, or poststart's after the container was
    destroyed. The container's entry is locked by the caller.
    """
    extra = container.record.extra
    if not extra.get("has_process", True):
        raise StateError("start", container.id, "its config has no process to start")
    try:
        fd = fdpass.connect_seqpacket(container.entry.dir_fd, stores.START_SOCKET)
    except OSError as err:
        container.behavior().start()
        # The status permits start, the socket does not: it changed in between.
        raise BadTransition("start", container.id, "container not created", errno=err.errno or 0) from err
    try:
        # One that this very run created cannot have been paused yet.
        if container.process is None:
            if container.is_frozen():
                statuses.PausedStatusBehavior(container.id).start()
            _refuse_stopped(container, "SIGCONT lets it go on")
        if b"NOTIFY_SOCKET" in posix.environ:
            _listen(container)
        failure = _execute(container, fd)
    finally:
        posix.close(fd)
    if failure is not None:
        # It waited for that close, so that what it failed at could be looked at.
        container.init_process().wait(_DEATH_MS)
        raise failure
    if "poststart" in extra.get("hooks", []):
        _poststart(container)


def _listen(container) -> None:
    """Make the socket on which the program says that it is ready, where create has provided for it."""
    if not container.record.extra.get("notify"):
        return
    if container.notify is None:
        from capsule.runtime import notify_socket

        container.notify = notify_socket.take()
    if container.notify is not None:
        container.notify.listen(container.entry, container.record.init_process_pid)


def _refuse_stopped(container, advice: str) -> None:
    """Refuse to wait for a first process that a signal or a tracer has stopped. Raises StateError."""
    seen = proc_stat.read(container.record.init_process_pid)
    if seen is not None and seen[0] in "Tt":
        raise StateError("start", container.id, f"its first process is stopped by a signal; {advice}")


def _execute(container, fd: int) -> CapsuleError | None:
    """Say START; returns what the tail failed at, None when it has executed. Raises ChildError."""
    try:
        messages.send(fd, messages.START)
        if container.process is None:
            # What stops it now would keep us here for as long: nobody else's signal may block a verb.
            while not proc.poll([(fd, proc.POLLIN)], _LOOK_MS):
                _refuse_stopped(container, "it starts when SIGCONT lets it go on")
        elif _waits_for_others(container.config):
            _await_or_signal(fd)
        kind, payload, _ = messages.receive(fd)
    except OSError as err:
        raise ChildError("start", container.id, "its first process died", errno=0) from err
    if kind == messages.ERROR:
        init = container.init_process()
        pid = init.pid if init.is_alive() else 0
        return tail_error.from_payload(payload, container.config.process, pid)
    if kind != 0:
        raise ChildError("start", container.id, f"unexpected message {kind} of its first process")
    return None


def _waits_for_others(config) -> bool:
    """Tell whether a hook, or an agent that answers system calls, may keep the tail from executing the program."""
    return "startContainer" in config.hooks or (config.seccomp is not None and "listenerPath" in config.seccomp)


def _await_or_signal(fd: int) -> None:
    """Wait for the tail's word in the run that created it, where signals are kept for the relay.

    Raises Interrupted for one of those that end a create.
    """
    from capsule.runtime import parent_process

    signal_fd = proc.signalfd(parent_process.ABORTING)
    try:
        ready = [ready_fd for ready_fd, _ in proc.poll([(fd, proc.POLLIN), (signal_fd, proc.POLLIN)], -1)]
        if fd not in ready:
            raise parent_process.Interrupted(proc.read_signal(signal_fd))
    finally:
        posix.close(signal_fd)


def _poststart(container) -> None:
    config = container.config
    try:
        hooks.run(container, "poststart", config, "running", container.record.init_process_pid)
    except HookError:
        # runtime-spec runtime.md#lifecycle step 9: an error, the container is stopped and goes on to its end.
        try:
            destruction.kill_all(container, container.manager())
            if container.process is not None:
                container.process.wait()
            destruction.remove(container, container.manager(), config)
        except CapsuleError as err:
            log.warning(f"clean up after a failed poststart hook: {err}")
        raise
