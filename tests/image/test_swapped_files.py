"""A program that swaps a file for a device, a fifo or a link while it is read: nothing of these is opened."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule.bundle import build_tree, copying
from capsule.errors import CapsuleError
from capsule.image import layertar
from capsule.linux import trees

pytestmark = requires("root")


@pytest.fixture
def swap(memory: Path, monkeypatch):
    """Return (a tree of two files, a function that has `b` swapped once it has been listed)."""
    tree = memory / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).write_text("text")
    opened = trees.open_listed

    def plan(kind: int) -> None:
        def first(name: str, parent_fd: int, info) -> int:
            if name == "b":
                os.unlink(tree / "b")
                if kind == stat.S_IFLNK:
                    os.symlink("/dev/zero", tree / "b")
                elif kind:
                    os.mknod(tree / "b", kind | 0o600, os.makedev(1, 5))
            return opened(name, parent_fd, info)

        monkeypatch.setattr(trees, "open_listed", first)

    return tree, plan


KINDS = [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFLNK]


def _layer(tree: Path) -> list[str]:
    fd = os.open(tree, os.O_RDONLY)
    made = io.BytesIO()
    try:
        layertar.write(fd, made, root=False)
    finally:
        os.close(fd)
    made.seek(0)
    return tarfile.open(fileobj=made).getnames()


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_has_nothing_of_what_took_a_files_place(kind, swap) -> None:
    tree, plan = swap
    plan(kind)
    with pytest.raises(OSError, match="took its place"):
        _layer(tree)


@pytest.mark.parametrize("kind", KINDS)
def test_cp_has_nothing_of_what_took_a_files_place(kind, swap) -> None:
    tree, plan = swap
    plan(kind)
    fd = os.open(tree, os.O_RDONLY)
    try:
        with pytest.raises(CapsuleError, match="took its place"):
            copying.copy_out(copying.Tree(fd, "/.", "here"), io.BytesIO())
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_has_nothing_of_what_took_a_files_place(kind, swap) -> None:
    tree, plan = swap
    plan(kind)
    fd = os.open(tree, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="took its place"):
            build_tree.Context(fd).digest("")
    finally:
        os.close(fd)


def test_what_has_gone_is_left_out(swap) -> None:
    tree, plan = swap
    plan(0)
    assert _layer(tree) == ["a"]
