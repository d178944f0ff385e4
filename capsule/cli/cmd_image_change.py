"""image tag, delete, prune: names of images come and go."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, ImageError
from capsule.image import cache, lookup, views
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Do what was asked for. Raises CapsuleError."""
    store = Store(storage_root(invocation))
    return {"image tag": _tag, "image delete": _delete, "image prune": _prune}[invocation.command](store, invocation)


def _tag(store: Store, invocation: Invocation) -> int:
    store.tag(*invocation.positionals)
    return 0


def _delete(store: Store, invocation: Invocation) -> int:
    """Remove each that can be removed; the first failure is the command's."""
    force = invocation.options["force"]
    first: CapsuleError | None = None
    for ref in invocation.positionals:
        try:
            if force and not _is_here(store, ref):
                continue
            untagged, removed = store.remove(ref, force=force)
        except ImageError as err:
            first = first or err
            continue
        lines = [f"untagged {name}" for name in untagged] + ([f"deleted {removed}"] if removed else [])
        output.print_out("".join(f"{line}\n" for line in lines))
    if first is not None:
        raise first
    return 0


def _is_here(store: Store, ref: str) -> bool:
    entries = lookup.read_index(store.root)
    try:
        lookup.select(entries, ref)
    except ImageError as err:
        return "ambiguous" in err.cause
    return True


def _prune(store: Store, invocation: Invocation) -> int:
    if not lookup.read_index(store.root):
        return 0
    if invocation.options["all"]:
        cache.clear(store.root)
    removed, freed = store.prune(all_unused=invocation.options["all"])
    output.print_out("".join(f"deleted {id}\n" for id in removed) + f"freed {views.size_text(freed)}\n")
    return 0
