"""Trees that a hostile program has made are removed, however they look."""

from __future__ import annotations

import os
import resource
import stat

import pytest

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


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFLNK, stat.S_IFDIR])
def test_what_takes_the_place_of_a_listed_file_is_not_opened(kind, tmp_path) -> None:
    (tmp_path / "file").write_text("text")
    info = os.lstat(tmp_path / "file")
    (tmp_path / "file").unlink()
    if kind == stat.S_IFLNK:
        (tmp_path / "file").symlink_to("/dev/zero")
    elif kind == stat.S_IFDIR:
        (tmp_path / "file").mkdir()
    else:
        os.mkfifo(tmp_path / "file")
    fd = os.open(tmp_path, os.O_RDONLY)
    before = os.listdir("/proc/self/fd")
    try:
        with pytest.raises(OSError, match="took its place"):
            trees.open_listed("file", fd, info)
    finally:
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1


def test_a_listed_file_is_opened_by_whatever_file_has_its_name_now(tmp_path) -> None:
    (tmp_path / "file").write_text("text")
    info = os.lstat(tmp_path / "file")
    (tmp_path / "new").write_text("other")
    (tmp_path / "new").rename(tmp_path / "file")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with open(trees.open_listed("file", fd, info)) as file:
            assert file.read() == "other"
    finally:
        os.close(fd)
