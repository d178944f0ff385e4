"""image create, import: a tar becomes an image."""

from __future__ import annotations

import sys
from typing import BinaryIO

from capsule.cli import output
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.image import importing
from capsule.image.progress import Progress
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Bring an image in and print its id. Raises CapsuleError."""
    store = Store(storage_root(invocation))
    if invocation.command == "image create":
        name, path = invocation.positionals
        changes, message = [], ""
    else:
        path, name = [*invocation.positionals, ""][:2]
        changes, message = invocation.options["change"], invocation.options["message"]
    with _open(path) as file:
        image = importing.from_tar(store, file, name, changes=changes, message=message, progress=Progress())
    output.print_out(f"{image.id}\n")
    return 0


def _open(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    try:
        return open(path, "rb", buffering=0)
    except OSError as err:
        raise CapsuleError("open", path, errno=err.errno) from err
