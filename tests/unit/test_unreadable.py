"""What of a tree others may not read (capsule/_ext/unreadable): what a sandbox's veil hides."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from helpers.requires import requires

from capsule._ext import unreadable
from capsule.rootfs.overlay import DIRECTORY, _fill_veil


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, mode in {"open": 0o755, "open/deep": 0o711, "shut": 0o750, "unlisted": 0o751}.items():
        (tmp_path / name).mkdir(mode)
    for name, mode in {"open/public": 0o644, "open/key": 0o640, "shut/key": 0o600, "odd\udcff": 0o600}.items():
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("shut/key")
    (tmp_path / "way").symlink_to("shut")
    os.mkfifo(tmp_path / "pipe", 0o600)
    return tmp_path


def names(tree: Path, depth: int) -> list[str]:
    return sorted(path.removeprefix(f"{tree}/") for path, *_ in unreadable.search(str(tree), depth))


def test_files_and_directories_that_others_may_not_read_are_found(tree) -> None:
    assert names(tree, 8) == ["odd\udcff", "open/deep", "open/key", "pipe", "shut", "unlisted"]


def test_no_deeper_than_asked(tree) -> None:
    assert names(tree, 1) == ["odd\udcff", "pipe", "shut", "unlisted"]


def test_deeper_than_is_sure_only_so_many_below_each_entry(tmp_path) -> None:
    for name in ("few", "many"):
        (tmp_path / name / "deep").mkdir(parents=True)
        for number in range(2 if name == "few" else 50):
            (tmp_path / name / "deep" / f"{number}").touch(0o600)
    found = unreadable.search(str(tmp_path), 3, 2, 10)
    assert len(found) == 12 and len(unreadable.search(str(tmp_path), 3)) == 52


def test_each_comes_with_its_mode_and_owner(tree) -> None:
    info = os.stat(tree / "shut")
    assert (str(tree / "shut"), info.st_mode, info.st_uid, info.st_gid) in unreadable.search(f"{tree}/", 1)


def test_nothing_is_found_where_nothing_is(tmp_path) -> None:
    (tmp_path / "file").touch()
    assert unreadable.search(str(tmp_path / "none"), 3) == unreadable.search(str(tmp_path / "file"), 3) == []


def test_many_entries_are_all_seen(tmp_path) -> None:
    for number in range(700):
        (tmp_path / f"{'n' * 60}{number}").touch(0o600)
    assert len(unreadable.search(str(tmp_path), 1)) == 700


def test_a_path_that_is_too_long_is_an_error_and_not_left_out(tmp_path) -> None:
    here = os.open(tmp_path, os.O_PATH)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        here, last = os.open("d" * 250, os.O_PATH, dir_fd=here), here
        os.close(last)
    os.close(here)
    with pytest.raises(OSError) as caught:
        unreadable.search(str(tmp_path), 30)
    assert caught.value.errno == errno.ENAMETOOLONG


@requires("root")
def test_a_directory_of_a_veil_has_its_own_group_below_one_that_gives_its_group_on(tmp_path) -> None:
    veil = os.open(tmp_path, os.O_RDONLY)
    _fill_veil(veil, (("a", DIRECTORY, 0o2775, 0, 50), ("a/b", DIRECTORY, 0o777, 0, 0), ("c", DIRECTORY, 0o1777, 0, 0)),
               False)
    os.close(veil)

    found = {name: (os.stat(tmp_path / name).st_mode & 0o7777, os.stat(tmp_path / name).st_gid)
             for name in ("a", "a/b", "c")}
    assert found == {"a": (0o2775, 50), "a/b": (0o777, 0), "c": (0o1777, 0)}
