"""image mount, umount, diff: an image's tree."""

from __future__ import annotations

from capsule.cli import output, tables
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.image import mounting
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Do what was asked for. Raises CapsuleError."""
    store = Store(storage_root(invocation))
    if invocation.command == "image diff":
        _print_difference(store, invocation)
    elif invocation.command == "image umount":
        for ref in invocation.positionals:
            mounting.unmount(store, ref)
    elif invocation.positionals:
        output.print_out(mounting.mount(store, invocation.positionals[0]) + "\n")
    else:
        rows = [[image.id[7:19], target] for image, target in mounting.mounted(store)]
        output.print_out(tables.layout([["ID", "PATH"], *rows]))
    return 0


def _print_difference(store: Store, invocation: Invocation) -> None:
    word = invocation.options["format"]
    if word not in ("", "table", "json"):
        raise CapsuleError("print as", repr(word), "table and json are the formats")
    changes = list(mounting.difference(store.find(invocation.positionals[0])))
    if word == "json":
        output.print_json([{"kind": kind, "path": f"/{path}"} for kind, path in changes], pretty=True)
    else:
        output.print_out("".join(f"{kind} {output.path_text(f'/{path}')}\n" for kind, path in changes))
