"""image load, save: archives of images."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from capsule.cli import output
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, ImageError
from capsule.image import archive, names
from capsule.image.lookup import Image
from capsule.image.progress import Progress
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Load or save. Raises CapsuleError."""
    store = Store(storage_root(invocation))
    return _load(store, invocation) if invocation.command == "image load" else _save(store, invocation)


def _load(store: Store, invocation: Invocation) -> int:
    path = invocation.options["input"]
    progress = Progress(quiet=invocation.options["quiet"])
    with _open(path, "rb") if path else sys.stdin.buffer as file:
        found = archive.load(store, file, progress, invocation.options["platform"])
    lines = [f"{name} {image.id}\n".lstrip(" ") for image in found for name in image.names or [""]]
    output.print_out("".join(dict.fromkeys(lines)))
    return 0


def _save(store: Store, invocation: Invocation) -> int:
    path, form = invocation.options["output"], invocation.options["format"] or archive.FORMATS[0]
    if form not in archive.FORMATS:
        raise CapsuleError("save as", repr(form), f"the formats are {' and '.join(archive.FORMATS)}")
    images = _named(store, invocation.positionals)
    if not path and os.isatty(output.STDOUT):
        raise CapsuleError("save", "to a terminal", "use -o FILE, or redirect")
    try:
        if not path:
            archive.save(store, images, sys.stdout.buffer, form)
            return 0
        with _open(f"{path}.new", "wb") as file:
            archive.save(store, images, file, form)
        os.rename(f"{path}.new", path)
    except OSError as err:
        if path and os.path.exists(f"{path}.new"):
            os.unlink(f"{path}.new")
        raise CapsuleError("write", path or "standard output", errno=err.errno) from err
    return 0


def _named(store: Store, refs: list[str]) -> list[archive.Named]:
    """Return each image that is named, with the names that were said; an id says all of its image's."""
    found: dict[str, archive.Named] = {}
    for ref in refs:
        image = store.find(ref)
        _, said = found.setdefault(image.id, (image, []))
        said += [name for name in _said(image, ref) if name not in said]
    return list(found.values())


def _said(image: Image, ref: str) -> list[str]:
    try:
        return [next(name for name in names.spellings(names.parse(ref)) if name in image.names)]
    except (ImageError, StopIteration):
        return image.names


def _open(path: str, mode: str) -> BinaryIO:
    try:
        return open(path, mode)  # type: ignore[return-value]
    except OSError as err:
        raise CapsuleError("open", path, errno=err.errno) from err
