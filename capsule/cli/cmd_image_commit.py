"""image commit: what a container has changed becomes a layer upon its image."""

from __future__ import annotations

from capsule.bundle import committing
from capsule.bundle.containers import Containers
from capsule.cli import grammar, output
from capsule.cli.paths import containers_root, runtime_root, storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Make an image and print its id. Raises CapsuleError."""
    options = invocation.options
    word, name = [*invocation.positionals, ""][:2]
    pause = grammar.read_flag(options["pause"] or "true")
    if pause is None:
        raise CapsuleError("commit", f"--pause {options['pause']}", "expected true or false")
    image = committing.commit(
        Store(storage_root(invocation)), Containers(containers_root(invocation)), word, name,
        runtime_root=runtime_root(invocation), changes=options["change"], message=options["message"],
        author=options["author"], pause=pause,
    )
    output.print_out(f"{image.id}\n")
    return 0
