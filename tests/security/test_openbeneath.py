"""In-root resolution, by the kernel and by the walker: both must give the same answers, and never leave the root."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import stat
from pathlib import Path

import pytest

from capsule._ext import openbeneath as ob

RESOLVERS = {"openat2": ob.open_in_root, "walker": ob.walk_in_root}


@pytest.fixture
def tree(tmp_path):
    """Make a root with every kind of link, and a secret beside it."""
    root = tmp_path / "root"
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/file").write_text("inside")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    for name, target in {
        "abs": "/a/b", "rel": "a/b", "up": "../../../../a/file", "a/up": "../../secret", "a/b/top": "../../etc",
        "dangling": "/no/where", "loop1": "loop2", "loop2": "loop1", "self": "self", "slash": "a/b/", "dot": ".",
        "escape": "../secret", "hostetc": "/etc/passwd", "tofile": "a/file", "filedir": "a/file/",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    for index in range(50):
        (root / f"chain{index}").symlink_to(f"chain{index + 1}" if index < 49 else "a")
    return root


def answer(resolve, root_fd: int, path: str, flags: int = ob.O_PATH, how: int = ob.RESOLVE_IN_ROOT):
    """Return (inode, type) of what is opened, or the errno."""
    try:
        fd = resolve(root_fd, path, flags, how)
    except OSError as err:
        return err.errno
    try:
        assert os.get_inheritable(fd) is False
        st = os.fstat(fd)
        return st.st_ino, stat.S_IFMT(st.st_mode)
    finally:
        os.close(fd)


PATHS = [
    "", "/", ".", "..", "a", "/a", "a/", "a//b/./c", "a/../a/b", "../../..", "a/b/c/../../../../..", "abs", "abs/c",
    "rel/c", "up", "a/up", "a/b/top", "a/b/top/passwd", "dangling", "dangling/x", "loop1", "self", "slash", "slash/c",
    "dot/dot/dot/a", "escape", "hostetc", "a/file", "a/file/", "a/file/x", "a/file/..", "tofile", "tofile/", "filedir",
    "fifo", "chain10", "chain9", "chain0", "missing", "missing/..", "missing/x", "x" * 255, "x" * 256,
    "a/" * 2040 + "a", "./" * 1000 + "a", "a/" * 3000, "abs/../../..", "abs/../file", "rel/../../etc/passwd",
    "fifo/", "fifo/x",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30] or "empty")
@pytest.mark.parametrize(
    ("flags", "how"),
    [
        (ob.O_PATH, ob.RESOLVE_IN_ROOT), (ob.O_PATH | ob.O_NOFOLLOW, ob.RESOLVE_IN_ROOT),
        (ob.O_PATH | ob.O_DIRECTORY, ob.RESOLVE_IN_ROOT), (os.O_RDONLY | os.O_NONBLOCK, ob.RESOLVE_IN_ROOT),
        (ob.O_PATH, ob.RESOLVE_IN_ROOT | ob.RESOLVE_NO_SYMLINKS), (ob.O_PATH, ob.RESOLVE_BENEATH),
    ],
    ids=["path", "nofollow", "directory", "read", "nosymlinks", "beneath"],
)  # fmt: skip
def test_the_walker_answers_as_the_kernel_does(tree, path, flags, how):
    fd = os.open(tree, os.O_PATH)
    try:
        kernel = answer(ob.open_in_root, fd, path, flags, how)
        assert answer(ob.walk_in_root, fd, path, flags, how) == kernel
    finally:
        os.close(fd)


def test_random_trees_and_paths_never_leave_the_root_and_agree(tmp_path):
    """A differential fuzz of a few thousand paths over a tree of links that point everywhere."""
    choose = random.Random(20261123)
    root = tmp_path / "root"
    root.mkdir()
    words = ["a", "b", "c", "..", ".", "l0", "l1", "l2", "l3", ""]
    for parent in (root, root / "a", root / "a/b", root / "b"):
        parent.mkdir(exist_ok=True)
        for index in range(4):
            lead = "/" if choose.random() < 0.4 else ""
            target = lead + "/".join(choose.choice(words) for _ in range(choose.randint(1, 5)))
            os.symlink(target or ".", parent / f"l{index}")
    (root / "c").write_text("")
    inside = {os.stat(root).st_ino} | {
        os.lstat(os.path.join(where, name)).st_ino for where, dirs, files in os.walk(root) for name in dirs + files
    }
    fd = os.open(root, os.O_PATH)
    try:
        for _ in range(3000):
            path = "/".join(choose.choice(words) for _ in range(choose.randint(1, 7)))
            kernel = answer(ob.open_in_root, fd, path)
            assert answer(ob.walk_in_root, fd, path) == kernel, path
            assert isinstance(kernel, int) or kernel[0] in inside, path
    finally:
        os.close(fd)


@pytest.mark.parametrize("resolve", RESOLVERS.values(), ids=RESOLVERS)
def test_magic_links_are_refused(resolve):
    """A link of procfs leads to an object, wherever that is; ordinary links there work."""
    fd = os.open("/proc", os.O_PATH)
    try:
        for path in ("self/exe", "self/root", "self/cwd/x", f"self/fd/{fd}", "self/ns/mnt"):
            with pytest.raises(OSError) as caught:
                resolve(fd, path)
            assert caught.value.errno == errno.ELOOP, path
        os.close(resolve(fd, "self/status"))
        os.close(resolve(fd, "mounts"))
    finally:
        os.close(fd)


@pytest.mark.parametrize("resolve", RESOLVERS.values(), ids=RESOLVERS)
def test_no_xdev_stays_on_one_file_system(resolve):
    fd = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            resolve(fd, "proc/self", ob.O_PATH, ob.RESOLVE_IN_ROOT | ob.RESOLVE_NO_XDEV)
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(fd)


def made(tree: Path, make, path: str, *arguments):
    fd = os.open(tree, os.O_PATH)
    try:
        result, created = make(fd, path, *arguments)
        st = os.fstat(result)
        os.close(result)
        return st, created
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("new/deep/dir", "new/deep/dir"), ("a/b/new", "a/b/new"), ("abs/new", "a/b/new"), ("rel/x/y", "a/b/x/y"),
        ("dangling", "no/where"), ("dangling/more", "no/where/more"), ("escape/d", None), ("up2/in", "outer/in"),
        ("abs/../n", "a/n"), ("n/../m", "m"), ("a/b/../../../../z", "z"), ("/", ""), ("dot/new", "new"),
    ],
)  # fmt: skip
def test_directories_are_made_inside_the_root(tree, path, where):
    (tree / "up2").symlink_to("../../../outer")
    (tree / "escape").unlink()
    (tree / "escape").symlink_to("../outer2")
    before = sorted(os.listdir(tree.parent))
    st, _ = made(tree, ob.ensure_dir, path)
    expected = tree / (where if where is not None else "outer2/d")
    assert st.st_ino == expected.stat().st_ino
    assert sorted(os.listdir(tree.parent)) == before


def test_made_directories_have_exact_modes(tree):
    old = os.umask(0o077)
    try:
        assert stat.S_IMODE(made(tree, ob.ensure_dir, "p/q/r", 0o1777)[0].st_mode) == 0o1777
        assert stat.S_IMODE((tree / "p/q").stat().st_mode) == 0o755
        assert stat.S_IMODE(made(tree, ob.ensure_file, "p/file", 0o644)[0].st_mode) == 0o644
    finally:
        assert os.umask(old) == 0o077


def test_set_group_id_is_inherited_by_made_directories(tree):
    (tree / "sg").mkdir()
    (tree / "sg").chmod(0o7755)
    made(tree, ob.ensure_dir, "sg/new/dir")
    assert stat.S_IMODE((tree / "sg/new").stat().st_mode) == 0o2755


def test_what_is_there_is_not_made_again(tree):
    assert made(tree, ob.ensure_dir, "a/b") == ((tree / "a/b").stat(), False)
    assert made(tree, ob.ensure_dir, "new")[1]
    assert not made(tree, ob.ensure_file, "a/file")[1]
    assert made(tree, ob.ensure_file, "new/file")[1]
    assert not made(tree, ob.ensure_file, "fifo")[1]


@pytest.mark.parametrize(
    ("make", "path", "expected"),
    [
        (ob.ensure_dir, "a/file", errno.ENOTDIR), (ob.ensure_dir, "a/file/x", errno.ENOTDIR),
        (ob.ensure_dir, "loop1/x", errno.ELOOP), (ob.ensure_dir, "fifo", errno.ENOTDIR),
        (ob.ensure_file, "a", errno.EISDIR), (ob.ensure_file, "abs", errno.EISDIR), (ob.ensure_file, "/", errno.EISDIR),
        (ob.ensure_dir, "x" * 256, errno.ENAMETOOLONG), (ob.ensure_dir, "", errno.ENOENT),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_an_error(tree, make, path, expected):
    with pytest.raises(OSError) as caught:
        made(tree, make, path)
    assert caught.value.errno == expected


def test_without_links_nothing_is_made_through_one(tree):
    for path in ("dangling", "abs/new", "escape"):
        with pytest.raises(OSError) as caught:
            made(tree, ob.ensure_dir, path, 0o755, ob.RESOLVE_NO_SYMLINKS)
        assert caught.value.errno == errno.ELOOP
    assert not (tree / "no").exists()


def test_a_null_byte_is_refused(tree):
    with pytest.raises(OSError):
        made(tree, ob.ensure_dir, "a\0b")


def test_a_path_of_many_steps_up_and_down_ends(tree):
    """Quadratic work is bounded: the walk gives up instead of keeping the CPU for minutes."""
    (tree / "deep").mkdir()
    (tree / "deep" / ("d/" * 400)).mkdir(parents=True)
    (tree / "deep" / ("d/" * 399) / "l").symlink_to("/deep/" + "d/" * 399 + "../d/" * 400 + "l")
    fd = os.open(tree, os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            ob.walk_in_root(fd, "deep/" + "d/" * 399 + "l")
        assert caught.value.errno in (errno.ELOOP, errno.ENAMETOOLONG)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "x/"])
def test_single_components_only(tree, name):
    fd = os.open(tree, os.O_PATH)
    try:
        for call in (
            lambda: ob.symlink(fd, name, "t"), lambda: ob.unlink(fd, name), lambda: ob.readlink(fd, name),
            lambda: ob.mknod(fd, name, stat.S_IFIFO | 0o600, 0, 0, 0, 0),
        ):  # fmt: skip
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)


def test_a_node_that_is_there_is_left_as_it_is(tree):
    fd = os.open(tree, os.O_PATH)
    try:
        before = (tree / "fifo").stat()
        assert ob.mknod(fd, "fifo", stat.S_IFIFO | 0o600, 0, 0, 7, 7) is False
        assert (tree / "fifo").stat() == before
        assert ob.mknod(fd, "fifo2", stat.S_IFIFO | 0o666, 0, 0, 0, 0) is True
        assert stat.S_IMODE((tree / "fifo2").stat().st_mode) == 0o666
        for name in ("tofile", "a", "dangling"):
            with pytest.raises(OSError) as caught:
                ob.mknod(fd, name, stat.S_IFIFO | 0o600, 0, 0, 0, 0)
            assert caught.value.errno == errno.EEXIST
    finally:
        os.close(fd)


def test_read_file_opens_nothing_but_files(tree):
    """Opening a device is an act: an image could have the host's watchdog as its /etc/passwd."""
    in_nonblock, in_open = 0o4000, 0x20  # sys/inotify.h
    libc = ctypes.CDLL(None, use_errno=True)
    watch_fd = libc.inotify_init1(in_nonblock)
    fd = os.open(tree, os.O_PATH)
    try:
        for name in ("fifo", "a/file"):
            assert libc.inotify_add_watch(watch_fd, os.fsencode(tree / name), in_open) > 0
        with pytest.raises(OSError):
            ob.read_file(fd, "fifo", 9)
        with pytest.raises(BlockingIOError):
            os.read(watch_fd, 4096)
        ob.read_file(fd, "a/file", 9)
        assert os.read(watch_fd, 4096)
    finally:
        os.close(fd)
        os.close(watch_fd)


def test_read_file_takes_regular_files_of_limited_size(tree):
    fd = os.open(tree, os.O_PATH)
    try:
        assert ob.read_file(fd, "hostetc", 100) == b"inside"
        assert ob.read_file(fd, "a/file", 6) == b"inside"
        assert ob.read_file(fd, "missing", 6) is None
        for path, limit, expected in (("a/file", 5, errno.EFBIG), ("fifo", 9, errno.EINVAL), ("a", 9, errno.EINVAL)):
            with pytest.raises(OSError) as caught:
                ob.read_file(fd, path, limit)
            assert caught.value.errno == expected
    finally:
        os.close(fd)
