"""podman: no daemon; conmon watches each container. Storage, networks and locks are the enclosure's."""

from __future__ import annotations

import re
from typing import ClassVar

from helpers.runtime import DEADLINE
from helpers.wait import wait_until

from .words import DockerWords

CONFIGURATION = """\
[containers]
# podman's defaults need CAP_SYS_RESOURCE, which not every root has
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
init_path = "/usr/bin/tini-static"
log_size_max = -1
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
image_copy_tmp_dir = "{directory}"
stop_timeout = 5
infra_image = "localhost/infra"
runtime_supports_json = ["capsule", "runc", "crun"]
[engine.runtimes]
{runtimes}
"""
INFRA = f"""\
FROM {DockerWords.IMAGE}
ENTRYPOINT ["/payload", "trap"]
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "/run/storage"
"""


class Podman(DockerWords):
    """podman commands on one storage."""

    NAME = "podman"
    NEEDS: ClassVar = (*DockerWords.NEEDS, "podman", "tini", "cni", "iptables")
    KEEPS: ClassVar = re.compile(
        r"network link: cni-podman\d+|mount: \S+ on (/run/netns|\S+/storage/overlay)$"
        r"|cgroup: (systemd|unified): /libpod_parent/[0-9a-f]{64}$")  # a pod's, where no controller is

    def open(self) -> None:
        self._used: set[str] = set()  # the nouns of the scenario, so that only those are cleaned up
        runtimes = "\n".join(f'{name} = ["{path}"]' for name, path in self.runtimes.items())
        (self.directory / "containers.conf").write_text(
            CONFIGURATION.format(directory=self.directory, runtimes=runtimes))
        (self.directory / "storage.conf").write_text(STORAGE.format(directory=self.directory))
        self.box.make_groups("libpod_parent")  # podman makes these once and leaves them
        self.box.make_groups("libpod_parent/conmon")
        self.call("load", "--quiet", "--input", str(self.archive))
        self.call("build", "--quiet", "--tag", "localhost/infra", "-", data=INFRA.encode())

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
        remove = ("rm", "--all", "--force", "--time", "0", "--volumes")
        wait_until(lambda: self.call(*remove, rc=None).rc == 0, DEADLINE, "podman's removal of all containers")
        if "volume" in self._used:
            self.call("volume", "prune", "--force")
        if "network" in self._used:
            self.call("network", "prune", "--force")
        self._used.clear()
