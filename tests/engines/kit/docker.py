"""Docker: one dockerd that knows every runtime; it starts its own containerd."""

from __future__ import annotations

import json
import re
import subprocess
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.wait import wait_until

from .enclosure import PATH, Done
from .words import DockerWords

SOCKET = "/run/docker.sock"


class Docker(DockerWords):
    """docker commands on one daemon. Its `runc` is the scenario's runtime too: builds cannot name one."""

    NAME = "docker"
    NEEDS: ClassVar = (*DockerWords.NEEDS, "docker", "iptables")
    KEEPS: ClassVar = re.compile(r"network link: docker0|mount: \S+ on /run/docker/netns/default$")
    EXEC_MISSING: ClassVar = 126  # 127 from Docker 23 on
    # What containerd's shim gives with --root: a directory for each runtime's class, one namespace below.
    STATES: ClassVar = ("/run/docker/runtime-runc/moby",)

    def open(self) -> None:
        self._used: set[str] = set()
        self.buildkit = "0"
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
        self.box.make_groups("docker/buildkit")  # of every step of a build
        self.log = self.directory / "dockerd.log"
        self._daemon = self.box.daemon(["dockerd", "--config-file", str(self.directory / "daemon.json")], self.log,
                                       {"PATH": f"{self.first()}:{PATH}"})
        wait_until(self._answers, 3 * DEADLINE, f"dockerd; see {self.log}")
        self.call("load", "--quiet", "--input", str(self.archive))
        self._used.clear()

    def _answers(self) -> bool:
        assert self._daemon.poll() is None, self.log.read_text()[-3000:]
        return self.box.path(SOCKET).exists() and self.call("version", rc=None).rc == 0

    def argv(self, *words: str) -> list[str]:
        return ["docker", "--host", f"unix://{SOCKET}", *words]

    def environment(self) -> dict[str, str]:
        return {"DOCKER_BUILDKIT": self.buildkit}

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
