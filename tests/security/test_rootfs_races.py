"""A neighbour swaps a directory of a shared volume for a link while paths through it are resolved and made."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capsule._ext import openbeneath as ob

#: renameat2(RENAME_EXCHANGE) as fast as it goes, until its stdin closes.
RACER = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
a, b = (os.fsencode(path) for path in sys.argv[1:])
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print("racing", flush=True)
while True:
    for _ in range(100):
        libc.renameat2(-100, a, -100, b, 2)
"""
ROUNDS = 2000
TOLERATED = {errno.EAGAIN, errno.ELOOP, errno.ENOENT, errno.ENOTDIR}


@contextlib.contextmanager
def racing(one: Path, other: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", RACER, one, other], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as racer:
        assert racer.stdout is not None and racer.stdout.readline() == b"racing\n"
        yield
        assert racer.poll() is None, "the racer gave up"
        racer.communicate()


@pytest.fixture
def root(tmp_path):
    for name in ("decoy/deep/er", "root/v/real/deep/er"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root/v/link").symlink_to(tmp_path / "decoy")
    yield tmp_path / "root"
    assert sorted(str(path.relative_to(tmp_path / "decoy")) for path in (tmp_path / "decoy").rglob("*")) == [
        "deep", "deep/er"
    ]  # fmt: skip


def inside(root: Path, fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").startswith(f"{root}/")


@pytest.mark.parametrize("resolve", [ob.open_in_root, ob.walk_in_root], ids=["openat2", "walker"])
@pytest.mark.parametrize("path", ["v/real/deep/er", "v/real/deep/../deep/er", "v/real/../real/deep"])
@pytest.mark.row(41)
def test_a_swapped_directory_never_leads_out(root, resolve, path):
    root_fd = os.open(root, os.O_PATH)
    with racing(root / "v/real", root / "v/link"):
        for _ in range(ROUNDS):
            try:
                fd = resolve(root_fd, path)
            except OSError as err:
                assert err.errno in TOLERATED
                continue
            assert inside(root, fd)
            os.close(fd)
    os.close(root_fd)


@pytest.mark.parametrize("make", [ob.ensure_dir, ob.ensure_file])
def test_nothing_is_made_through_a_swapped_directory(root, make):
    root_fd = os.open(root, os.O_PATH)
    with racing(root / "v/real", root / "v/link"):
        for number in range(ROUNDS):
            try:
                fd, _ = make(root_fd, f"v/real/deep/{number % 7}/{number}")
            except OSError as err:
                assert err.errno in TOLERATED
                continue
            assert inside(root, fd)
            os.close(fd)
    os.close(root_fd)
