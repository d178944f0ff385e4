"""buildah: working containers without a daemon; each `run` is a container of the runtime."""

from __future__ import annotations

import re
from typing import ClassVar

from .enclosure import Done
from .engine import Engine
from .podman import STORAGE


class Buildah(Engine):
    """buildah commands on one storage, with OCI isolation."""

    NAME = "buildah"
    NEEDS: ClassVar = (*Engine.NEEDS, "buildah")
    KEEPS: ClassVar = re.compile(r"mount: \S+ on \S+/storage/overlay$")

    def open(self) -> None:
        (self.directory / "storage.conf").write_text(STORAGE.format(directory=self.directory))
        (self.directory / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')
        # The archive is an OCI layout in a tar; its image becomes the one that scenarios start from.
        name = self.call("pull", f"oci-archive:{self.archive}").lines[-1]
        self.call("tag", name, self.IMAGE)

    def environment(self) -> dict[str, str]:
        return {"CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"), "BUILDAH_ISOLATION": "oci",
                "CONTAINERS_CONF": str(self.directory / "containers.conf")}

    def argv(self, *words: str) -> list[str]:
        if words[0] in ("run", "build"):
            words = (words[0], "--runtime", str(self.runtimes[self.runtime]), "--network", "none", *words[1:])
        return ["buildah", *words]

    def clean(self) -> None:
        self.call("rm", "--all")

    # Shorter words for scenarios

    def working(self) -> str:
        """Make a working container from the image and return its name."""
        return self.call("from", self.IMAGE).word

    def run(self, name: str, *words: str, options: tuple[str, ...] = (), **how) -> Done:
        """Run a program in a working container."""
        return self.call("run", *options, name, "--", *words, **how)
