"""Finding args[0] on the container's PATH."""

from __future__ import annotations

import os

import pytest

from capsule.errors import CapsuleError
from capsule.rootfs.lookup import find_executable


@pytest.fixture
def root(tmp_path):
    for name in ("bin", "usr/bin", "work"):
        (tmp_path / name).mkdir(parents=True)
    for name, mode in (("bin/plain", 0o644), ("usr/bin/plain", 0o755), ("usr/bin/sh", 0o711), ("work/here", 0o755)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    (tmp_path / "bin/dir").mkdir()
    (tmp_path / "bin/link").symlink_to("/usr/bin/sh")
    (tmp_path / "bin/outside").symlink_to("/bin/busybox-of-the-host")
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("name", "path", "found"),
    [
        ("sh", "/bin:/usr/bin", "/usr/bin/sh"), ("plain", "/bin:/usr/bin", "/usr/bin/plain"),
        ("link", "/bin", "/bin/link"), ("here", ".", "./here"), ("here", "", None), ("here", ":/bin", "./here"),
        ("here", "/nowhere:", "./here"), ("dir", "/bin", None), ("outside", "/bin", None), ("sh", None, None),
        ("", "/bin", None), ("missing", "/bin", None), ("./here", None, "./here"),
        ("/usr/bin/sh", "/bin", "/usr/bin/sh"),
    ],
)  # fmt: skip
def test_find_executable(root, name, path, found):
    if found:
        assert find_executable(root, name, path, "/work") == found
        return
    with pytest.raises(CapsuleError) as caught:
        find_executable(root, name, path, "/work")
    assert str(caught.value) == f'exec: "{name}": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/none", 'exec: "/none": stat /none: no such file or directory'),
        ("./none", 'exec: "./none": stat ./none: no such file or directory'),
        ("/usr/bin/sh/x", 'exec: "/usr/bin/sh/x": stat /usr/bin/sh/x: not a directory'),
        ("/bin/plain", 'exec: "/bin/plain": permission denied'),
        ("/bin/dir", 'exec: "/bin/dir": is a directory: permission denied'),
    ],
)
def test_a_path_is_checked_in_the_words_that_engines_match(root, name, words):
    with pytest.raises(CapsuleError) as caught:
        find_executable(root, name, "/bin", "/work")
    assert str(caught.value) == words


def test_without_a_root_fd_the_callers_own_root_is_searched():
    assert find_executable(None, "sh", "/usr/bin:/bin", "/").endswith("/sh")
