"""What an upper layer changed: capsule.bundle.changes."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from capsule.bundle import applying, changes
from capsule.linux import trees

DEPTH = 5000


def scan(upper: Path, lower: Path) -> list[tuple[str, str]]:
    found = changes.scan(str(upper.parent), {"stacks": [(str(lower), [])], "mounts": []})
    return [(change.kind, change.path.removeprefix(str(lower))) for change in found]


def dig(top: Path, depth: int) -> None:
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)


@pytest.fixture
def layers(tmp_path):
    for name in ("upper0", "lower"):
        (tmp_path / name).mkdir()
    yield tmp_path / "upper0", tmp_path / "lower"
    for name in ("upper0", "lower"):
        trees.remove(str(tmp_path / name))


def test_every_kind_of_change_is_found_in_order(layers) -> None:
    upper, lower = layers
    for name in ("same", "other", "gone/deep", "kept/inner/file", "was-directory/file"):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).write_text("text")
    for name, text in (("same", "text"), ("other", "new!"), ("kept/inner/more", ""), ("made/file", ""),
                       ("was-directory", "")):
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text(text)
    os.mknod(upper / "gone", 0o020000)
    (lower / "was-file").write_text("")
    (upper / "was-file").mkdir()
    (upper / "kept").chmod(0o700)
    assert scan(upper, lower) == [
        ("D", "/gone"), ("C", "/kept"), ("A", "/kept/inner/more"), ("A", "/made"), ("A", "/made/file"), ("C", "/other"),
        ("D", "/was-directory"), ("A", "/was-directory"), ("D", "/was-file"), ("A", "/was-file")]


def test_a_tree_of_any_depth_takes_a_few_descriptors(layers) -> None:
    upper, lower = layers
    dig(upper, DEPTH)
    dig(lower, DEPTH // 2)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        found = scan(upper, lower)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(found) == DEPTH // 2 + 1 and {kind for kind, _ in found} == {"A"}


def test_a_path_that_no_call_takes_is_refused_before_anything_is_made(layers) -> None:
    upper, lower = layers
    dig(upper, 2100)
    place_fd = os.open(upper.parent, os.O_RDONLY | os.O_DIRECTORY)
    host = applying.Host()
    meta = {"id": "box", "stacks": [(str(lower), [])], "mounts": [], "began_ns": 0}
    try:
        with pytest.raises(applying.StateError, match="its path is longer than the kernel takes"):
            applying._checked(str(upper.parent), place_fd, meta, host)
    finally:
        os.close(place_fd)
        os.close(host.root_fd)
    assert os.listdir(lower) == []
