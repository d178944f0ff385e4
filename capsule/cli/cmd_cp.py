"""cp: files between a container and this machine; `-` is a tar on standard input or output."""

from __future__ import annotations

import os
import sys

from capsule.bundle import copying
from capsule.bundle.containers import Containers
from capsule.cli.paths import absolute, containers_root, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound


def run(invocation: Invocation) -> int:
    """Copy. Raises CapsuleError."""
    source, target = invocation.positionals
    keep_owner = invocation.options["archive"]
    if source == "-" and target == "-" or (":" not in source and ":" not in target):
        raise CapsuleError("cp", f"{source} {target}", "one of the two is in a container: NAME:PATH")
    if source == "-":
        with _tree(invocation, target) as there:
            copying.copy_in(sys.stdin.buffer, there, keep_owner=keep_owner)
        return 0
    with _tree(invocation, source) as here:
        if target == "-":
            if sys.stdout.isatty():
                raise CapsuleError("cp", "-", "standard output is a terminal, which a tar would upset")
            copying.copy_out(here, sys.stdout.buffer)
            return 0
        with _tree(invocation, target) as there:
            copying.copy(here, there, keep_owner=keep_owner)
    return 0


class _tree:
    """A place that a word names, open for the time of a `with`."""

    def __init__(self, invocation: Invocation, word: str) -> None:
        container, colon, path = word.partition(":")
        if not colon or word.startswith(("/", ".")):
            # A trailing "/" or "/." says how to copy; absolute() folds it.
            ending = "/." if word.endswith("/.") or word == "." else "/" if word.endswith("/") else ""
            self.tree = copying.Tree(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
                                     absolute(word).rstrip("/") + ending, "this machine")
            return
        if not path.startswith("/"):
            path = "/" + path
        root_fd = copying.open_root(runtime_root(invocation), _id(invocation, container))
        self.tree = copying.Tree(root_fd, path, f"container {container}")

    def __enter__(self) -> copying.Tree:
        return self.tree

    def __exit__(self, *_exc_info: object) -> None:
        os.close(self.tree.root_fd)


def _id(invocation: Invocation, word: str) -> str:
    try:
        return Containers(containers_root(invocation)).find(word)
    except NotFound:
        return word
