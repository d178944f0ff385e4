"""cp: files between a container and this machine; `-` is a tar on standard input or output."""

from __future__ import annotations

import contextlib
import os
import sys

from capsule.bundle import copying
from capsule.bundle.containers import Containers
from capsule.cli.cmd_life import places_of
from capsule.cli.paths import absolute
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound


def run(invocation: Invocation) -> int:
    """Copy. Raises CapsuleError."""
    source, target = invocation.positionals
    keep_owner = invocation.options["archive"]
    if source == "-" and target == "-" or (":" not in source and ":" not in target):
        raise CapsuleError("cp", f"{source} {target}", "one of the two is in a container: NAME:PATH")
    with contextlib.ExitStack() as stack:
        files = _open(invocation, stack, [source, target])
        if source == "-":
            copying.copy_in(sys.stdin.buffer, _tree(files, stack, target), keep_owner=keep_owner)
            return 0
        here = _tree(files, stack, source)
        if target == "-":
            if sys.stdout.isatty():
                raise CapsuleError("cp", "-", "standard output is a terminal, which a tar would upset")
            copying.copy_out(here, sys.stdout.buffer)
            return 0
        copying.copy(here, _tree(files, stack, target), keep_owner=keep_owner)
    return 0


def _container(word: str) -> str:
    """Return the container that a word names, "" for this machine."""
    container, colon, _ = word.partition(":")
    return container if colon and not word.startswith(("/", ".")) else ""


def _open(invocation: Invocation, stack: contextlib.ExitStack, words: list[str]) -> dict[str, copying.Files]:
    """Open the containers that are named, each once and in one order for all: one that stands still is locked."""
    places = places_of(invocation)
    ids = {}
    for container in filter(None, map(_container, words)):
        try:
            ids[container] = Containers(places.containers).find(container)
        except NotFound:
            ids[container] = container  # of another caller of the runtime's
    opened = {}
    for id in sorted(set(ids.values())):
        opened[id] = copying.Files(places, id)
        stack.callback(opened[id].close)
    return {container: opened[id] for container, id in ids.items()}


def _tree(files: dict[str, copying.Files], stack: contextlib.ExitStack, word: str) -> copying.Tree:
    """Return the place that a word names."""
    container = _container(word)
    if container:
        return copying.Tree(files[container].root_fd, "/" + word.partition(":")[2].removeprefix("/"),
                            f"container {container}", is_readonly=files[container].is_readonly)
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, root_fd)
    # A trailing "/" or "/." says how to copy; absolute() folds it.
    ending = "/." if word.endswith("/.") or word == "." else "/" if word.endswith("/") else ""
    return copying.Tree(root_fd, absolute(word).rstrip("/") + ending, "this machine")
