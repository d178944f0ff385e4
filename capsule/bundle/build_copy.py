"""COPY and ADD of a build: from a context into a tree; and an account of what was copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from capsule.bundle import build_words
from capsule.bundle.build_tree import Account, Context, Copier
from capsule.errors import ImageError, Unsupported
from capsule.image import instructions, layers, words
from capsule.image.dockerfile import Instruction


def sources(one: Instruction, values: Mapping[str, str], escape: str) -> tuple[list[str], str]:
    """Return the sources and the target of an instruction. Raises ImageError, Unsupported."""
    if one.rest.startswith("["):
        found = [words.expand(word, values, escape) for word in instructions.json_words(one.rest, str(one))]
    else:
        found = words.split(one.rest, values, escape)
    if len(found) < 2:
        raise ImageError("copy", "", "expected SOURCE... TARGET")
    if one.word == "ADD" and any("://" in word or word.startswith("git@") for word in found[:-1]):
        raise Unsupported("add", found[0], "fetching is not built; fetch it first, or in a RUN")
    return found[:-1], found[-1]


def copy(context: Context, paths: list[str], copier: Copier, target: str, *, is_directory: bool,
         unpack_in: Callable[[], str] | None) -> list[str]:
    """Copy each path; returns what its Account says. unpack_in: names a new directory for what is in a tar (ADD).

    Raises OSError, ImageError.
    """
    into = is_directory or copier.is_directory(target)
    told = []
    for path in paths:
        copier.account = Account()
        if context.is_directory(path):
            copier.directory(target)
            copier.tree(context.below(path), target)
        else:
            _file(context, path, copier, target, into=into, unpack_in=unpack_in)
        told.append(copier.account.digest())
    return told


def _file(context: Context, path: str, copier: Copier, target: str, *, into: bool,
          unpack_in: Callable[[], str] | None) -> None:
    fd = context.open_file(path)
    try:
        if unpack_in is not None and build_words.is_tar(fd):
            _unpack(fd, copier, target, unpack_in())
        else:
            copier.file(fd, f"{target.rstrip('/')}/{path.rpartition('/')[2]}" if into else target)
    finally:
        os.close(fd)


def _unpack(fd: int, copier: Copier, target: str, place: str) -> None:
    """Unpack a tar as a layer is unpacked, apart, then copy it: nothing in it reaches further than a layer may."""
    os.mkdir(place, 0o700)
    os.lseek(fd, 0, os.SEEK_SET)
    with open(os.dup(fd), "rb", buffering=0) as file:
        copier.account.add_file("", fd, layers.take(file, place).digest.removeprefix("sha256:"))
    place_fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copier.directory(target)
        keeps = Copier(copier.root_fd, None if copier.owner == (0, 0) else copier.owner, copier.mode)
        keeps.tree(Context(place_fd).below(""), target)
    finally:
        os.close(place_fd)
