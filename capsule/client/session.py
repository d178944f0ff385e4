"""One request to the launcher and its answer; for a process that is waited for, also its end."""

from __future__ import annotations

import os
import select
import threading
import time

from capsule import log
from capsule.client.launcher import Launched, start
from capsule.client.process import Process
from capsule.errors import CapsuleError, ChildError
from capsule.protocol import messages, request


def call(verb: str, root: str, id: str, **fields: object) -> object:
    """Have the launcher execute a request that needs no process of its own; return the answer.

    Raises CapsuleError.
    """
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        launched = start((null_fd, null_fd, null_fd))
    finally:
        os.close(null_fd)
    value = _exchange(launched, {"verb": verb, "root": root, "id": id, **fields})
    launched.reap()
    return value


def call_with_process(verb: str, root: str, id: str, process: Process, **fields: object) -> ProcessHandle:
    """Have the launcher execute a request that starts a process; return a handle on it.

    Raises CapsuleError.
    """
    fields["process"] = process.to_request()
    launched = start((process.stdin, process.stdout, process.stderr), process.preserve_fds)
    value = _exchange(launched, {"verb": verb, "root": root, "id": id, **fields})
    if not isinstance(value, dict) or type(value.get("pid")) is not int:
        raise request.BadRecord("its answer has no pid")
    if process.detach:
        launched.reap()
        return ProcessHandle(value["pid"], None)
    return ProcessHandle(value["pid"], launched)


class ProcessHandle:
    """A process that was started in a container. Several threads may wait for it."""

    __slots__ = ("pid", "_launched", "_exit_status", "_lock")

    def __init__(self, pid: int, launched: Launched | None) -> None:
        self.pid = pid  # in the caller's pid namespace
        self._launched = launched  # its relay; None for a detached process, which is not ours to wait for
        self._exit_status: int | None = None
        self._lock = threading.Lock()

    @property
    def is_detached(self) -> bool:
        """Whether nobody stays to tell its exit status."""
        return self._launched is None

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process has ended, for an event loop.

        Raises CapsuleError for a detached process.
        """
        return self._relay().socket_fd

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status, 128 + signal where a signal ended it.

        Raises TimeoutError after `timeout` seconds, CapsuleError for a detached process, ChildError where the relay
        was killed before it could tell.
        """
        launched = self._relay()
        _wait_readable(launched.socket_fd, timeout)
        with self._lock:
            if self._exit_status is None:
                self._exit_status = _read_end(launched)
            return self._exit_status

    def _relay(self) -> Launched:
        if self._launched is None:
            raise CapsuleError("wait", f"process {self.pid}", "it is detached: nobody learns its exit status")
        return self._launched


def _read_end(launched: Launched) -> int:
    """Read the relay's report and reap it; at end of file its own exit status is the process's."""
    kind, payload, _fds = messages.receive(launched.socket_fd)
    own_status = launched.reap()
    if kind == messages.EXITED and len(payload) == 8:
        status = os.waitstatus_to_exitcode(messages.words(payload)[1])
        return status if status >= 0 else 128 - status
    raise ChildError("wait", f"relay {launched.pid}", f"it ended without a report, exit status {own_status}")


def _exchange(launched: Launched, document: dict[str, object]) -> object:
    """Send the request and read the answer; replay its log records here.

    Raises the error that the answer carries, ChildError where the launcher ends without an answer.
    """
    answer = None
    try:
        request.send(launched.socket_fd, document)
        _wait_readable(launched.socket_fd, None)
        answer = request.receive(launched.socket_fd)
    except (BrokenPipeError, ConnectionResetError):
        # It ended before it had read the request; the exit status says more than the broken socket.
        pass
    if answer is None:
        status = launched.reap()
        raise ChildError(str(document["verb"]), str(document["id"]), f"launcher ended with status {status}, no answer")
    for level, message in answer.get("log", []):
        _replay(level, message)
    if "error" in answer:
        launched.reap()
        raise request.error_from(answer["error"])
    return answer.get("ok")


def _replay(level: str, message: str) -> None:
    if level == "debug":
        log.debug(message)
    elif level == "info":
        log.info(message)
    else:
        log.warning(message)


def _wait_readable(fd: int, timeout: float | None) -> None:
    """Wait until a descriptor is readable or at its end; Python's poll lets the caller's signal handlers run.

    Raises TimeoutError.
    """
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left_ms = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        if poller.poll(left_ms):
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError("the process still runs")
