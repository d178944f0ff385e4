"""containerd: one daemon, and ctr with `--runc-binary` for each container."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.wait import wait_until

from .enclosure import PATH, Done
from .engine import Engine

SOCKET = "/run/containerd/containerd.sock"
NAMESPACE = "scenario"
CONFIGURATION = """\
version = 2
root = "{directory}/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
"""


class Containerd(Engine):
    """ctr commands on one daemon, in one namespace of containerd's."""

    NAME = "containerd"
    NEEDS: ClassVar = (*Engine.NEEDS, "containerd")
    KEEPS: ClassVar = re.compile(r"cgroup: .*/scenario$")
    STATES: ClassVar = (f"/run/containerd/runc/{NAMESPACE}",)

    def open(self) -> None:
        self._numbers = itertools.count(1)
        configuration = self.directory / "config.toml"
        configuration.write_text(CONFIGURATION.format(directory=self.directory, socket=SOCKET))
        self.box.make_groups(NAMESPACE)  # the parent of every container, made once and left
        self.log = self.directory / "containerd.log"
        self._daemon = self.box.daemon(["containerd", "--config", str(configuration)], self.log,
                                       {"PATH": f"{self.first()}:{PATH}"})
        wait_until(self._answers, 3 * DEADLINE, f"containerd; see {self.log}")
        self.call("images", "import", str(self.archive))

    def _answers(self) -> bool:
        assert self._daemon.poll() is None, self.log.read_text()[-3000:]
        return self.box.path(SOCKET).exists() and self.call("version", rc=None).rc == 0

    def argv(self, *words: str) -> list[str]:
        return ["ctr", "--address", SOCKET, "--namespace", NAMESPACE, *words]

    def clean(self) -> None:
        for line in self.call("tasks", "list").lines[1:]:
            self.call("tasks", "kill", "--all", "--signal", "KILL", line.split()[0], rc=None)
            self.call("tasks", "delete", "--force", line.split()[0], rc=None)
        for name in self.call("containers", "list", "--quiet").lines:
            wait_until(lambda name=name: self.call("containers", "delete", name, rc=None).rc == 0, DEADLINE)
        for line in self.call("snapshots", "list").lines[1:]:
            name, *_, kind = line.split()
            if kind == "Active":
                self.call("snapshots", "remove", name, rc=None)  # the container's removal takes it along

    # Words for scenarios

    def name(self) -> str:
        """Return a name that no container of the session has had."""
        return f"c{next(self._numbers)}"

    def on_runtime(self) -> list[str]:
        """Return the flags that choose the scenario's runtime."""
        return ["--runc-binary", str(self.runtimes[self.runtime])]

    def run(self, *words: str, options: Sequence[str] = (), **how) -> Done:
        """Run a program of the image in a container that is removed at its end."""
        return self.call("run", "--rm", *self.on_runtime(), *options, self.IMAGE, self.name(), *words, **how)

    def sh(self, script: str, *options: str, **how) -> str:
        """Run a shell script in a container that is removed at its end; return what it printed."""
        return self.run("sh", "-c", script, options=options, **how).out

    def detached(self, *words: str, options: Sequence[str] = ()) -> str:
        """Start a container in the background and return its name."""
        name = self.name()
        self.call("run", "--detach", "--null-io", *self.on_runtime(), *options, self.IMAGE, name,
                  *(words or ("sleep", "1000")))
        return name

    def task(self, name: str) -> tuple[int, str]:
        """Return the pid, as the enclosure sees it, and the status of a container's task."""
        for line in self.call("tasks", "list").lines[1:]:
            words = line.split()
            if words[0] == name:
                return int(words[1]), words[2]
        return 0, "absent"

    def ended(self, name: str) -> int:
        """Wait for the end of a container's task, delete it and return its exit status."""
        wait_until(lambda: self.task(name)[1] == "STOPPED", DEADLINE)
        said = self.call("tasks", "delete", name).err
        found = re.search(r"non-zero exit code (\d+)", said)
        return int(found[1]) if found else 0

    def exec(self, name: str, *words: str, options: Sequence[str] = (), **how) -> Done:
        """Run a program beside a container's first."""
        return self.call("tasks", "exec", "--exec-id", self.name(), *options, name, *words, **how)
