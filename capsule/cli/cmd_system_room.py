"""system df, system prune: what takes room on the disk, and what nobody needs of it."""

from __future__ import annotations

from capsule.bundle import room
from capsule.bundle.containers import Containers
from capsule.cli import output, templates
from capsule.cli.paths import containers_root, storage_root, volume_root
from capsule.cli.scanner import Invocation
from capsule.cli.tables import layout
from capsule.errors import CapsuleError
from capsule.image.store import Store
from capsule.image.views import size_text
from capsule.volume.store import Volumes


def run(invocation: Invocation) -> int:
    """Do what was asked for. Raises CapsuleError."""
    store, volumes = Store(storage_root(invocation)), Volumes(volume_root(invocation))
    if invocation.command == "system prune":
        options = invocation.options
        gone, freed = room.prune(store, volumes, all_images=options["all"], with_volumes=options["volumes"])
        output.print_out("".join(f"deleted {what}\n" for what in gone) + f"freed {size_text(freed)}\n")
    else:
        _print_room(invocation, room.kinds(store, Containers(containers_root(invocation)), volumes))
    return 0


def _print_room(invocation: Invocation, kinds: list[room.Kind]) -> None:
    options = invocation.options
    if templates.kind("system df", options["format"]) == "template":
        raise CapsuleError("system df", f"--format {options['format']}", "expected table or json")
    if options["json"] or options["format"] == "json":
        output.print_json([{**kind.to_data(), **({"items": kind.rows} if options["verbose"] else {})}
                           for kind in kinds], pretty=True)
        return
    sums = [kind.to_data() for kind in kinds]
    rows = [[one["type"], str(one["total"]), str(one["active"]), size_text(one["size"]), size_text(one["reclaimable"])]
            for one in sums]
    output.print_out(layout([["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], *rows]))
    if options["verbose"]:
        items = [[kind.name, row["name"], size_text(row["size"]), "yes" if row["used"] else "no"]
                 for kind in kinds for row in kind.rows]
        output.print_out("\n" + layout([["TYPE", "NAME", "SIZE", "USED"], *items]))
