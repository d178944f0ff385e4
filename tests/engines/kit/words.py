"""The words that podman and Docker share: run, exec, logs, inspect and what scenarios ask with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.wait import wait_until

from .enclosure import Done
from .engine import Engine

NETWORKS = ("--network", "--net", "--publish", "-p", "--pod")


class DockerWords(Engine):
    """Commands of an engine whose command line is Docker's."""

    EXEC_MISSING: ClassVar[int] = 127  # exit status of an exec whose program is not there
    OFFLINE: ClassVar[tuple[str, ...]] = ("--network", "none")  # for containers that ask for no network

    def _options(self, options: Sequence[str]) -> list[str]:
        asked = any(word.split("=")[0] in NETWORKS for word in options)
        return [*options, *(() if asked else self.OFFLINE)]

    def run(self, *words: str, options: Sequence[str] = (), **how) -> str:
        """Run a program of the image in a container that is removed at its end; return what it printed."""
        return self.call("run", "--rm", *self._options(options), self.IMAGE, *words, **how).out

    def sh(self, script: str, *options: str, **how) -> str:
        """Run a shell script in a container that is removed at its end; return what it printed."""
        return self.run("sh", "-c", script, options=options, **how)

    def probe(self, *options: str) -> dict:
        """Return what the payload finds in a container that is removed at its end."""
        return json.loads(self.run("/payload", "probe", options=options))

    def denied(self, *tries: str, options: Sequence[str] = ()) -> list[int]:
        """Return the errno of each OPERATION PATH pair that the payload tries (0 = it works)."""
        out = self.run("/payload", "try", *tries, options=options)
        return [entry["errno"] for entry in json.loads(out)]

    def create(self, *words: str, options: Sequence[str] = ()) -> str:
        """Create a container and return its name."""
        return self.call("create", *self._options(options), self.IMAGE, *words).word

    def detached(self, *words: str, options: Sequence[str] = ()) -> str:
        """Start a container in the background (`sleep 1000` unless told) and return its name."""
        return self.call("run", "--detach", *self._options(options), self.IMAGE, *(words or ("sleep", "1000"))).word

    def trapping(self, *options: str) -> str:
        """Start a container that prints the signals it gets and ends with 42 at SIGTERM; it is ready on return."""
        name = self.detached("/payload", "trap", options=options)
        self.wait_log(name, "ready")
        return name

    def exec(self, name: str, *words: str, options: Sequence[str] = (), **how) -> Done:
        """Run a program in a running container."""
        return self.call("exec", *options, name, *words, **how)

    def inspect(self, name: str, template: str) -> str:
        """Return one fact of `inspect`, a Go template without its braces."""
        return self.call("inspect", "--format", f"{{{{{template}}}}}", name).word

    def status(self, name: str) -> str:
        return self.inspect(name, ".State.Status")

    def wait_status(self, name: str, status: str) -> None:
        wait_until(lambda: self.status(name) == status, DEADLINE, f"status {status}")

    def wait_log(self, name: str, text: str) -> None:
        wait_until(lambda: text in self.call("logs", name).out, DEADLINE, f"{text!r} in the log")

    # What the kernel says

    def pid(self, name: str) -> int:
        """Return the pid of the container's first process, as the enclosure counts."""
        return int(self.inspect(name, ".State.Pid"))

    def proc(self, name: str, file: str) -> str:
        """Return a file of /proc/PID of the container's first process."""
        return self.box.path(f"/proc/{self.pid(name)}/{file}").read_text(encoding="utf-8", errors="surrogateescape")

    def knob(self, name: str, controller: str, file: str) -> str:
        """Return a file of the container's cgroup of a version 1 controller."""
        return (self.group(name, controller) / file).read_text(encoding="ascii").strip()

    def group(self, name: str, controller: str) -> Path:
        """Return the container's cgroup of a version 1 controller, as a path of the host."""
        return self.box.mount_point(controller) / self.box.group_of(self.pid(name), controller)
