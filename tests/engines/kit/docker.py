"""Docker: one dockerd that knows every runtime; it starts its own containerd."""

from __future__ import annotations

import json
import re
import subprocess
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.wait import wait_until

from .enclosure import Done
from .engine import Engine

SOCKET = "/run/docker.sock"


class Docker(Engine):
    """docker commands on one daemon."""

    NAME = "docker"
    NEEDS: ClassVar = (*Engine.NEEDS, "docker", "iptables")
    KEEPS: ClassVar = re.compile(r"network link: docker0|mount: \S+ on /run/docker/netns/default$")
    # What containerd's shim gives with --root: a directory for each runtime's class, one namespace below.
    STATES: ClassVar = ("/run/docker/runtime-runc/moby",)

    def open(self) -> None:
        self._used: set[str] = set()
        configuration = {
            "hosts": [f"unix://{SOCKET}"],
            "data-root": str(self.directory / "data"),
            "exec-root": "/run/docker",
            "pidfile": "/run/docker.pid",
            "runtimes": {name: {"path": str(path)} for name, path in self.runtimes.items() if name != "runc"},
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "storage-driver": "overlay2",
            "shutdown-timeout": 1,
            # Docker's defaults need CAP_SYS_RESOURCE, which not every root has.
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 1024}},
        }
        (self.directory / "daemon.json").write_text(json.dumps(configuration))
        self.box.make_groups("docker")  # the parent of every container, made once and left
        self.log = self.directory / "dockerd.log"
        with self.log.open("wb") as out:
            self._daemon = self.box.start(["dockerd", "--config-file", str(self.directory / "daemon.json")],
                                          stdout=out, stderr=out)
        wait_until(self._answers, 3 * DEADLINE, f"dockerd; see {self.log}")
        self.call("load", "--quiet", "--input", str(self.archive))
        self._used.clear()

    def _answers(self) -> bool:
        assert self._daemon.poll() is None, self.log.read_text()[-3000:]
        return self.box.path(SOCKET).exists() and self.call("version", rc=None).rc == 0

    def argv(self, *words: str) -> list[str]:
        return ["docker", "--host", f"unix://{SOCKET}", *words]

    def call(self, *words: str, **how) -> Done:
        self._used.add(words[0])
        return super().call(*self._on_runtime(*words), **how)

    def start(self, *words: str, **how: object) -> subprocess.Popen:
        return super().start(*self._on_runtime(*words), **how)

    def _on_runtime(self, *words: str) -> tuple[str, ...]:
        """Add the scenario's runtime to the two commands that choose one."""
        if words[0] in ("run", "create"):
            return (words[0], "--runtime", self.runtime, *words[1:])
        return words

    def clean(self) -> None:
        names = self.call("ps", "--all", "--quiet").lines
        if names:
            self.call("rm", "--force", "--volumes", *names)
        for noun in ("volume", "network"):
            if noun in self._used:
                self.call(noun, "prune", "--force")
        self._used.clear()

    def shut(self) -> None:
        pid = (self.box.path("/run/docker.pid")).read_text().strip()
        self.box.call("kill", "-TERM", pid)
        self.box.finish(self._daemon, ["dockerd"])

    # Shorter words for scenarios

    def run(self, *words: str, options: tuple[str, ...] = (), **how) -> str:
        """Run a program of the image in a container that is removed at its end; return what it printed."""
        return self.call("run", "--rm", *options, self.IMAGE, *words, **how).out

    def sh(self, script: str, *options: str, **how) -> str:
        """Run a shell script in a container that is removed at its end; return what it printed."""
        return self.run("sh", "-c", script, options=options, **how)

    def detached(self, *words: str, options: tuple[str, ...] = ()) -> str:
        """Start a container in the background and return its name."""
        return self.call("run", "--detach", *options, self.IMAGE, *(words or ("sleep", "1000"))).word

    def inspect(self, name: str, template: str) -> str:
        """Return one fact of `docker inspect`, a Go template without its braces."""
        return self.call("inspect", "--format", f"{{{{{template}}}}}", name).word
