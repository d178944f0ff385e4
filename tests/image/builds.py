"""Builds of Dockerfiles for tests: a context, a base image, what is told."""

from __future__ import annotations

from pathlib import Path

from capsule.cli import cmd_image_build, front
from capsule.errors import CapsuleError
from capsule.image.progress import Progress
from capsule.image.store import Store

from .conftest import Cli
from .tars import member, tar


class Told(Progress):
    """Keeps what is told."""

    text = ""

    def _write(self, text: str) -> None:
        self.text += text


class Kit:
    """A context, an image `base` with /etc/passwd, and builds of the one upon the other."""

    def __init__(self, cli: Cli, memory: Path) -> None:
        self.cli, self.context = cli, memory / "context"
        self.context.mkdir()
        passwd = b"root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n"
        data = tar(member("etc/", b"5", mode=0o755), member("etc/passwd", data=passwd),
                   member("etc/group", data=b"staff:x:50:\n"), member("way", b"2", link="/etc"))
        cli("image", "import", "-c", "CMD base", "-", "base", data=data)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.context / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def build(self, text: str, *flags: str, rc: int = 0) -> str:
        """Build in this process, which is quicker; `told` is what the call says."""
        (self.context / "Dockerfile").write_text(text)
        words = ["--root", str(self.cli.root), "image", "build", *flags, str(self.context)]
        invocation = front.parse("capsule", words)
        assert not isinstance(invocation, int)
        progress = Told(quiet=invocation.options["quiet"])
        try:
            image = cmd_image_build.build(invocation, progress)
        except CapsuleError as err:
            self.told = str(err)
            assert rc, err
            return ""
        self.told = progress.text
        assert not rc
        return image.id

    def files(self, store: Store, id: str) -> dict[str, Path]:
        """Return path in the image → its file in the topmost layer that has it."""
        found: dict[str, Path] = {}
        for layer in store.find(id).layers:
            found.update({str(path.relative_to(layer)): path for path in Path(layer).rglob("*")})
        return found
