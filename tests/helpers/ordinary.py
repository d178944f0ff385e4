"""An ordinary user made for a test: an id that nobody has, known in a mount namespace of the call's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from .bundle import Bundle
from .runtime import ENVIRONMENT, Running, Runtime

UID = 64250  # nobody's on Debian: between the last of adduser and the first that systemd hands out
NAME = "capsule-test"
SUBIDS = (7_000_000, 65536)
FILES = ("passwd", "group", "subuid", "subgid")

_SETPRIV = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all", "--"]


def let_in(path: Path) -> None:
    """Let every user search a temporary directory, and what pytest made above it for root alone."""
    while path.parent != path and path != Path("/tmp"):
        path.chmod(0o755)
        path = path.parent


class User:
    """The user's files below `place` (a directory that others may search) and the words that make a call its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.runtime_dir = place / "run"
        self.runtime_dir.mkdir()
        self.runtime_dir.chmod(0o700)
        os.chown(self.runtime_dir, UID, UID)
        self.covers: dict[str, Path] = {}  # what a call finds at a path, instead of the machine's
        for name in FILES:
            self.cover(f"/etc/{name}", Path(f"/etc/{name}").read_text(encoding="utf-8"))
        self._append("passwd", f"{NAME}:x:{UID}:{UID}::{place}:/bin/sh\n")
        self._append("group", f"{NAME}:x:{UID}:\n")

    def cover(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        """Have calls find a file of these contents at a path of the machine."""
        own = self.place / f"cover{len(self.covers)}-{os.path.basename(path)}"
        own.write_bytes(text.encode() if isinstance(text, str) else text)
        own.chmod(mode)
        self.covers[path] = own
        return own

    def _append(self, name: str, text: str) -> None:
        with open(self.covers[f"/etc/{name}"], "a", encoding="utf-8") as file:
            file.write(text)

    def grant(self, first: int = SUBIDS[0], size: int = SUBIDS[1]) -> None:
        """Give the user a row in /etc/subuid and /etc/subgid."""
        for name in ("subuid", "subgid"):
            self._append(name, f"{NAME}:{first}:{size}\n")

    def scene(self, *before: str, drop: Sequence[str] = ()) -> list[str]:
        """Return the words before a command of this user; `before` are shell lines that root runs first."""
        # A directory for what is covered must exist; the machine's own mounts are never touched.
        lines = [f"mount --bind {own} {path}" for path, own in self.covers.items()]
        script = " && ".join([*lines, *before, 'exec "$@"'])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *_SETPRIV[:-1], *drop, "--"]

    def own(self, path: Path) -> None:
        """Give a tree to the user."""
        os.chown(path, UID, UID, follow_symlinks=False)
        for parent, directories, files in os.walk(path):
            for name in (*directories, *files):
                os.chown(os.path.join(parent, name), UID, UID, follow_symlinks=False)


class UserRuntime(Runtime):
    """The runtime under test as the user calls it. Its program lies where the user can reach it."""

    def __init__(self, argv: Sequence[str], user: User, workdir: Path) -> None:
        program = workdir / os.path.basename(argv[0])
        shutil.copy(shutil.which(argv[0]) or argv[0], program)
        super().__init__([str(program), *argv[1:]], user.runtime_dir / "capsule", workdir / "calls")
        self.user = user
        self.before: tuple[str, ...] = ()  # shell lines that root runs before each call
        self.drop: tuple[str, ...] = ()  # further words of setpriv

    def spawn(self, *words: str | Path, env: Mapping[str, str] | None = None, scene: Sequence[str] = (),
              root: bool = False, **how: object) -> Running:  # type: ignore[override]
        if env is None or "CAPSULE_STOP" in env:
            env = {**(env or ENVIRONMENT), "XDG_RUNTIME_DIR": str(self.user.runtime_dir)}
        scene = [*self.user.scene(*self.before, drop=self.drop), *scene]
        return super().spawn(*words, env=env, scene=scene, root=root, **how)  # type: ignore[arg-type]

    def words_for(self, verb: str, bundle: Bundle, flags: Sequence[str | Path] = (),
                  name: str | None = None) -> list[str | Path]:
        words = super().words_for(verb, bundle, flags, name)
        self.user.own(bundle.path)
        return words


def single(box: Bundle) -> Bundle:
    """Map the user alone, as `spec --rootless` does: no network of its own, the host's sysfs."""
    return mapped(box, [(0, UID, 1)])


def mapped(box: Bundle, ranges: Sequence[tuple[int, int, int]]) -> Bundle:
    """Give a bundle a user namespace with these ranges (container id, host id, size) for both kinds."""
    rows = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]
    box.namespace("user")
    box.linux["uidMappings"], box.linux["gidMappings"] = list(rows), list(rows)
    return box


def many(box: Bundle) -> Bundle:
    """Map the user to root and the granted ids behind it."""
    return mapped(box, [(0, UID, 1), (1, *SUBIDS)])
