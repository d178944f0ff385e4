"""The passwd and group files of a root, which its image wrote."""

from __future__ import annotations

import os

import pytest

from capsule.errors import CapsuleError
from capsule.linux import users

STRANGE = ["1", "1:", "1:2", "0x1", "1e3", "+1", "-1", " 1", "1 ", "٣", "4294967295", "4294967296", "2147483648",
           "18446744073709551616", "01", "root", "1000:grp"]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """Return (path, fd) of a root with a passwd that calls every strange word root."""
    (tmp_path / "etc").mkdir()
    lines = ["root:x:0:0:root:/root:/bin/sh", "app:x:2000:3000::/home/app:/bin/sh", "bad", "odd:x:99999999999:0::/:/"]
    lines += [f"{word}:x:0:0::/root:/bin/sh" for word in STRANGE]
    (tmp_path / "etc/passwd").write_text("\n".join(lines) + "\n")
    (tmp_path / "etc/group").write_text("root:x:0:\ngrp:x:7:app,other\nwheel:x:8:app\n1:x:0:\n")
    fd = os.open(tmp_path, os.O_PATH)
    yield tmp_path, fd
    os.close(fd)


def test_lookup_finds_a_user_by_number(root):
    assert users.lookup(root[1], 2000) == ("app", 3000, "/home/app")
    assert users.lookup(root[1], 4321) is None


def test_groups_are_those_that_list_the_user(root):
    assert users.groups_of(root[1], "app") == [7, 8]
    assert users.groups_of(root[1], "root") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", (1, None)), ("01", (1, None)), ("1:2", (1, 2)), ("2147483648", (2147483648, None)),
        ("4294967294", (4294967294, None)), ("root", (0, 0)), ("app", (2000, 3000)), ("app:grp", (2000, 7)),
        ("1000:grp", (1000, 7)), ("app:1", (2000, 1)), ("0:0", (0, 0)),
    ],
)  # fmt: skip
def test_digits_are_a_number_and_never_a_name(root, text, expected):
    assert users.parse_user(root[1], text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":", "1:", ":1", "0x1", "1e3", "+1", "-1", " 1", "1 ", "٣", "4294967295", "4294967296", "18446744073709551616",
     "nobody", "app:nogroup", "odd", "a/b", "root\n", "root:0:0", "1:4294967295"],
)  # fmt: skip
def test_whatever_is_neither_a_number_in_range_nor_a_known_name_is_refused(root, text):
    with pytest.raises(CapsuleError):
        users.parse_user(root[1], text)


def test_a_passwd_that_is_no_regular_file_is_none(root):
    path, fd = root
    passwd = path / "etc/passwd"
    for make in (os.mkfifo, os.mkdir, lambda name: os.symlink("/etc/passwd", name)):
        passwd.unlink()
        make(passwd)
        assert users.lookup(fd, 0) is None
        if passwd.is_dir():
            passwd.rmdir()
            passwd.touch()


def test_a_passwd_link_is_followed_inside_the_root_only(root):
    path, fd = root
    (path / "etc/real").write_text("inside:x:5:5::/:/\n")
    (path / "etc/passwd").unlink()
    (path / "etc/passwd").symlink_to("/../../etc/real")
    assert users.lookup(fd, 5) == ("inside", 5, "/")


def test_a_huge_passwd_is_none(root):
    path, fd = root
    with open(path / "etc/passwd", "ab") as file:
        file.truncate((1 << 20) + 1)
    assert users.lookup(fd, 0) is None


def test_very_long_lines_are_read(root):
    path, fd = root
    (path / "etc/group").write_text("big:x:9:" + ",".join(f"u{n}" for n in range(20000)) + ",app\n")
    assert users.groups_of(fd, "app") == [9]


def test_bytes_that_are_not_utf8_are_no_obstacle(root):
    path, fd = root
    (path / "etc/passwd").write_bytes(b"\xff\xfe:x:1:1::/:/\napp:x:2:2::/h:/\n")
    assert users.lookup(fd, 2) == ("app", 2, "/h")
