"""podman: no daemon; conmon watches each container. Storage, networks and locks are the enclosure's."""

from __future__ import annotations

import re
from typing import ClassVar

from .engine import Engine

CONFIGURATION = """\
[containers]
# podman's defaults need CAP_SYS_RESOURCE, which not every root has
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
init_path = "/usr/bin/tini-static"
log_size_max = -1
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
image_copy_tmp_dir = "{directory}"
stop_timeout = 5
runtime_supports_json = ["capsule", "runc", "crun"]
[engine.runtimes]
{runtimes}
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "/run/storage"
"""


class Podman(Engine):
    """podman commands on one storage."""

    NAME = "podman"
    NEEDS: ClassVar = (*Engine.NEEDS, "podman", "tini")
    KEEPS: ClassVar = re.compile(r"network link: cni-podman\d+|mount: \S+ on (/run/netns|\S+/storage/overlay)$")

    def open(self) -> None:
        self._used: set[str] = set()  # the nouns of the scenario, so that only those are cleaned up
        runtimes = "\n".join(f'{name} = ["{path}"]' for name, path in self.runtimes.items())
        (self.directory / "containers.conf").write_text(
            CONFIGURATION.format(directory=self.directory, runtimes=runtimes))
        (self.directory / "storage.conf").write_text(STORAGE.format(directory=self.directory))
        self.box.make_groups("libpod_parent")  # podman makes these once and leaves them
        self.box.make_groups("libpod_parent/conmon")
        self.call("load", "--quiet", "--input", str(self.archive))

    def environment(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self.directory / "containers.conf"),
                "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf")}

    def argv(self, *words: str) -> list[str]:
        return ["podman", "--log-level", "error", *(["--runtime", self.runtime] if self.runtime else []), *words]

    def call(self, *words: str, **how):
        self._used.add(words[0])
        return super().call(*words, **how)

    def clean(self) -> None:
        if "pod" in self._used:
            self.call("pod", "rm", "--all", "--force", "--time", "0")
        self.call("rm", "--all", "--force", "--time", "0", "--volumes")
        if "volume" in self._used:
            self.call("volume", "prune", "--force")
        if "network" in self._used:
            self.call("network", "prune", "--force")
        self._used.clear()

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
        """Return one fact of `podman inspect`, a Go template without its braces."""
        return self.call("inspect", "--format", f"{{{{{template}}}}}", name).word
