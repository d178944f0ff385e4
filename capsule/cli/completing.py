"""What a shell offers behind a command: the containers, images and networks there are. Not on the hot path.

A failure offers nothing: who presses a key in the middle of a word wants no error.
"""

from __future__ import annotations

import contextlib
import os

from click.shell_completion import CompletionItem

from capsule.bundle.containers import Containers
from capsule.cli import grammar, nouns
from capsule.cli.paths import containers_root, runtime_root, storage_root, volume_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError

_MAKERS = ("create", "import", "pull", "load")  # verbs whose name is a new one


def arguments(command: tuple, global_values: dict, given: tuple, incomplete: str) -> list[CompletionItem]:
    """Offer what fits the next place of a command's arguments."""
    try:
        words = _offered(command, global_values, given)
    except (CapsuleError, OSError, ValueError):
        words = []
    return [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete) and word not in given]


def pages(_ctx, _param, incomplete: str) -> list[CompletionItem]:
    """Offer what help and man have a page of."""
    words = {command[0] for command in grammar.COMMANDS} | set(nouns.NOUNS)
    words.update(command[0] for part in nouns.ENGINE for command in nouns.table(part).COMMANDS)
    return [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete)]


def _offered(command: tuple, global_values: dict, given: tuple) -> list[str]:
    name, usage = command[0], command[4]
    invocation = Invocation(name, {**grammar.defaults(grammar.GLOBAL_OPTIONS), **global_values}, {}, [])
    if name == "sandbox":
        return _sandboxes(invocation, given)
    noun, _, verb = name.rpartition(" ")
    places = usage.replace("[", "<").replace("]", ">").replace("...", "").split()
    if not places or verb in _MAKERS:
        return []
    place = places[min(len(given), len(places) - 1)].strip("<>")
    if place.partition("|")[0] in ("container-id", "container"):
        return _containers(invocation)
    if place == "image" and noun == "image":
        return _images(storage_root(invocation))
    if place == "name" and noun == "network":
        from capsule.network.store import Networks

        return Networks(runtime_root(invocation)).names()
    if place == "name" and noun == "volume":
        from capsule.volume.store import Volumes

        return Volumes(volume_root(invocation)).names()
    return []


def _sandboxes(invocation: Invocation, given: tuple) -> list[str]:
    from capsule.cli import sandbox_ending

    if not given:
        return list(nouns.table("sandbox").WORDS)
    return os.listdir(sandbox_ending.store_of(invocation)) if given in (("apply",), ("discard",), ("kept",)) else []


def _containers(invocation: Invocation) -> list[str]:
    """Name the containers of the engine, and the ids of the others."""
    records = Containers(containers_root(invocation)).records()
    known = {record.id for record in records}
    with contextlib.suppress(FileNotFoundError), os.scandir(runtime_root(invocation)) as entries:
        others = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        return [*[record.name for record in records], *[name for name in others if name not in known]]
    return [record.name for record in records]


def _images(storage: str) -> list[str]:
    from capsule.image import lookup

    return [entry["name"] for entry in lookup.read_index(storage) if entry["name"]]
