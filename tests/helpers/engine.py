"""Containers of the engine as tests see them: the record, the monitor, what the kernel says of both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

from . import process
from .runtime import FAILS, Result, Runtime
from .wait import wait_until


class Engine:
    """The engine of one state root. Its containers run programs of this machine unless another image is named."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.root = runtime.root / ".containers"

    def detach(self, script: str, *flags: str | Path, image: str = "host", **how: object) -> str:
        """Run a shell script in the background; returns the id."""
        result = self.runtime.call("image", "run", "-d", *flags, image, "/bin/sh", "-c", script, **how)  # type: ignore[arg-type]
        return result.out.strip()

    def call(self, *words: str | Path, **how: object) -> Result:
        """Call the runtime."""
        return self.runtime.call(*words, **how)  # type: ignore[arg-type]

    def place(self, id: str) -> Path:
        """Return the directory of a container."""
        return self.root / id

    def record(self, id: str) -> dict:
        """Read a record."""
        return json.loads((self.place(id) / "record.json").read_text())

    def end(self, id: str) -> dict:
        """Read how the last run ended."""
        return json.loads((self.place(id) / "end.json").read_text())

    def monitor(self, id: str) -> int:
        """Return the pid of who looks after a container."""
        return int((self.place(id) / "alive").read_text().split()[0])

    def program(self, id: str) -> int:
        """Return the pid of the first process."""
        return self.call("state", id).json["pid"]  # type: ignore[call-overload]

    def wait(self, id: str) -> int:
        """Wait for the end; returns the exit status."""
        return int(self.call("wait", id).out)

    def await_log(self, id: str, text: str) -> str:
        """Wait until the log says something."""
        path = self.place(id) / "ctr.log"
        wait_until(lambda: text in path.read_text(errors="replace"), 20, f"{text!r} in {path}")
        return path.read_text(errors="replace")

    def connect(self, id: str) -> socket.socket:
        """Connect to a monitor; the path may be longer than an address can be."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = os.open(self.place(id), os.O_PATH | os.O_DIRECTORY)
        try:
            client.connect(f"/proc/self/fd/{place}/attach.sock")
        finally:
            os.close(place)
        return client

    def kill_monitor(self, id: str) -> None:
        """End the monitor as an accident would; returns when it and the container have gone."""
        pids = [self.monitor(id), self.program(id)]
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: not any(process.is_alive(pid) for pid in pids), 20, "the end of monitor and container")
        process.reap_orphans()

    def is_gone(self, id: str) -> bool:
        """Tell whether nothing of a container is left."""
        return not self.place(id).exists() and not (self.runtime.root / id).exists()

    def clean(self) -> None:
        """Remove every container; fails where one does not go."""
        for path in list(self.root.glob("[0-9a-f]*")):
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
                pid = self.monitor(path.name)
                if process.state(pid) == "T":
                    os.kill(pid, signal.SIGCONT)
            self.runtime.call("rm", "--force", path.name)
        process.reap_orphans()
        assert list(self.root.glob("[0-9a-f]*")) == []


def refused(result: Result) -> str:
    """Return the one line of an error."""
    lines = result.err.splitlines()
    assert len(lines) == 1, result
    return lines[0]


__all__ = ["FAILS", "Engine", "refused"]
