"""Trees that a hostile program has made are removed, however they look."""

from __future__ import annotations

import os
import resource

from capsule.linux import trees


def test_a_tree_deeper_than_descriptors_and_recursion_is_removed(tmp_path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("tree", dir_fd=fd)
        inner = os.open("tree", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
        os.close(fd)
        fd = inner
    os.close(fd)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        trees.remove(str(tmp_path / "tree"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path) -> None:
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "file").write_text("stays")
    top = tmp_path / "top"
    for name in ("a/b/c", "d/e", "empty"):
        (top / name).mkdir(parents=True)
    (top / "a" / "link").symlink_to(decoy)
    (top / "a" / "b" / "up").symlink_to("../..")
    trees.remove(str(top))
    trees.remove(str(top))

    assert os.listdir(tmp_path) == ["decoy"] and (decoy / "file").read_text() == "stays"
