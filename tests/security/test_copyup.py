"""tmpcopyup: a tmpfs begins as a copy of what the image has, whatever that is and whoever changes it meanwhile."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.requires import requires
from helpers.rootfs import IN_USER_NS, KERNELS, PROC, bundle_with_decoy

pytestmark = [requires("root")]

#: Describe a tree: name → [mode, owner, group, modification time, number, link text or content].
WALK = """
def look(path):
    st = os.lstat(path)
    kind = st.st_mode & 0o170000
    content = os.readlink(path) if kind == 0o120000 else ""
    if kind == 0o100000:
        with open(path) as file:
            content = file.read()
    return [st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns if kind != 0o120000 else 0, st.st_rdev, content]

def walk(top):
    names = [os.path.join(parent, name) for parent, dirs, files in os.walk(top) for name in [*dirs, *files]]
    return {os.path.relpath(name, top): look(name) for name in names}
"""
#: Turns directories into links to the decoy and back, as fast as it goes, until its stdin closes.
RACER = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
pairs = [(os.fsencode(f"{sys.argv[1]}/{n}"), os.fsencode(f"{sys.argv[1]}/link-{n}")) for n in range(8)]
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print("racing", flush=True)
while True:
    for a, b in pairs:
        libc.renameat2(-100, a, -100, b, 2)
"""


@pytest.fixture
def bundle():
    with bundle_with_decoy() as made:
        (made.rootfs / "data").mkdir()
        yield made


@pytest.fixture(params=list(KERNELS.values()), ids=list(KERNELS))
def missing(request):
    """The system calls that a kernel does not have."""
    return request.param


def tmpfs(*options: str, destination: str = "/data") -> dict:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", *options]}


def copied(bundle, probe: str, *options: str, **request) -> dict:
    return bundle.run([PROC, tmpfs(*options)], WALK + probe, **request)


def described(top: Path) -> dict:
    names: dict = {"os": os}
    exec(WALK, names)
    return names["walk"](top)


def furnish(top: Path) -> None:
    """Make one of every kind of file, with everything that a copy could lose."""
    (top / "dir/empty").mkdir(parents=True)
    (top / "dir/file").write_text("text")
    (top / "dir/link").symlink_to("../../etc")
    os.mkfifo(top / "dir/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "dir/socket"))
    os.mknod(top / "dir/null", stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top / "dir/disk", stat.S_IFBLK, os.makedev(7, 200))
    (top / ("n" * 255)).write_text("long")
    (top / "line\nbreak").write_text("")
    (top / os.fsdecode(b"\xff\xfe")).write_text("not UTF-8")
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        os.chown(path, 10 + number, 20 + number, follow_symlinks=False)
        if not path.is_symlink():
            os.chmod(path, 0o4711 if path.name == "file" else 0o2750 + number % 8)
        os.utime(path, ns=(10**18 + number, 10**18 + 7 * number), follow_symlinks=False)


@pytest.mark.row(38)
def test_everything_is_as_it_was(bundle, missing):
    furnish(bundle.rootfs / "data")
    expected = described(bundle.rootfs / "data")
    answer = copied(bundle, 'answer["tree"] = walk("/data")', missing=missing)
    assert answer["tree"] == expected
    assert answer["leaked"] == []
    assert described(bundle.rootfs / "data") == expected


@pytest.mark.row(38)
def test_it_is_a_copy(bundle):
    (bundle.rootfs / "data/file").write_text("before")
    copied(bundle, 'os.truncate("/data/file", 0); os.mkdir("/data/new")')
    assert os.listdir(bundle.rootfs / "data") == ["file"]
    assert (bundle.rootfs / "data/file").read_text() == "before"


ROOT = 'st = os.stat("/data"); answer["root"] = [st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns]'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [0o750, 5, 6, 10**18]), (("mode=711",), [0o711, 5, 6, 10**18]),
        (("uid=8",), [0o750, 8, 6, 10**18]), (("gid=9",), [0o750, 5, 9, 10**18]),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.row(38)
def test_the_destination_itself_unless_told(bundle, missing, options, expected):
    data = bundle.rootfs / "data"
    (data / "file").touch()
    os.chown(data, 5, 6)
    os.chmod(data, 0o750)
    os.utime(data, ns=(10**18, 10**18))
    assert copied(bundle, ROOT, *options, missing=missing)["root"] == expected


def test_a_missing_destination_is_made_and_empty(bundle):
    answer = bundle.run([PROC, tmpfs(destination="/new/one")], 'answer["names"] = os.listdir("/new/one")')
    assert answer["names"] == []
    assert (bundle.rootfs / "new/one").is_dir()


@pytest.mark.row(38)
def test_read_only_comes_after_the_copy(bundle, missing):
    (bundle.rootfs / "data/file").touch()
    probe = """
answer["names"] = os.listdir("/data")
try:
    os.mkdir("/data/x")
except OSError as err:
    answer["errno"] = err.errno
"""
    answer = copied(bundle, probe, "ro", missing=missing)
    assert answer["names"] == ["file"]
    assert answer["errno"] == 30


@pytest.mark.row(38)
def test_links_stay_links_and_holes_stay_holes(bundle):
    data = bundle.rootfs / "data"
    (data / "a/b").mkdir(parents=True)
    (data / "a/b/one").write_text("shared")
    os.link(data / "a/b/one", data / "two")
    os.link(data / "a/b/one", data / "a/three")
    with open(data / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)
    probe = """
answer["inodes"] = len({os.stat("/data/" + name).st_ino for name in ("a/b/one", "two", "a/three")})
answer["links"] = os.stat("/data/two").st_nlink
st = os.stat("/data/sparse")
answer["sparse"] = [st.st_size, st.st_blocks < 4096]
with open("/data/sparse", "rb") as file:
    file.seek((1 << 30) - 1)
    answer["middle"] = file.read(8).decode()
"""
    answer = copied(bundle, probe, "size=1m")
    assert (answer["inodes"], answer["links"]) == (1, 3)
    assert answer["sparse"] == [1 << 40, True]
    assert answer["middle"] == "\0middle\0"


def acl(group: int, other: int) -> bytes:
    """Encode an access list whose mask says more than its group: owner rw, user 4 r, group, mask rw, other."""
    rows = [(0x01, 6, -1), (0x02, 4, 4), (0x04, group, -1), (0x10, 6, -1), (0x20, other, -1)]
    return b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, bits, who in rows
    )


@pytest.mark.row(38)
def test_extended_attributes(bundle):
    data = bundle.rootfs / "data"
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    (data / "dir").mkdir()
    (data / "dir/file").touch()
    try:
        os.setxattr(data / "dir/file", "security.capability", capability)
        os.setxattr(data / "dir", "trusted.note", b"kept")
        os.setxattr(data / "dir/file", "system.posix_acl_access", acl(0, 0))
    except OSError:
        pytest.skip("no extended attributes here")
    probe = """
answer["x"] = [os.getxattr("/data/dir/file", "security.capability").hex(),
               os.getxattr("/data/dir", "trusted.note").hex(),
               os.getxattr("/data/dir/file", "system.posix_acl_access").hex(),
               os.stat("/data/dir/file").st_mode & 0o777]
"""
    answer = copied(bundle, probe)
    assert answer["x"] == [capability.hex(), b"kept".hex(), acl(0, 0).hex(), 0o660]


@pytest.mark.row(38)
def test_what_is_mounted_below_is_not_copied(bundle, missing):
    (bundle.rootfs / "data/dir").mkdir()
    (bundle.path / "volume").mkdir()
    (bundle.path / "volume/secret").touch()
    (bundle.path / "single").write_text("single")
    mounts = [
        PROC, {"destination": "/data/dir", "source": "volume", "options": ["bind"]},
        {"destination": "/data/proc", "source": "/proc", "options": ["rbind"]},
        {"destination": "/data/file", "source": "single", "options": ["bind"]}, tmpfs(),
    ]  # fmt: skip
    answer = bundle.run(mounts, WALK + 'answer["names"] = sorted(walk("/data"))', missing=missing)
    assert answer["names"] == ["dir", "proc"]


def test_the_source_may_be_a_mount_itself(bundle, missing):
    (bundle.path / "volume/deep").mkdir(parents=True)
    (bundle.path / "volume/deep/file").touch()
    mounts = [PROC, {"destination": "/data", "source": "volume", "options": ["bind", "ro"]}, tmpfs()]
    answer = bundle.run(mounts, WALK + 'answer["names"] = sorted(walk("/data"))', missing=missing)
    assert answer["names"] == ["deep", "deep/file"]


@pytest.mark.parametrize("option", ["size=64k", "nr_inodes=20"])
@pytest.mark.row(38)
def test_too_little_room_is_said(bundle, missing, option):
    for number in range(40):
        (bundle.rootfs / f"data/{number}").write_bytes(b"x" * 8192)
    error = copied(bundle, "", option, missing=missing)["error"]
    assert error.startswith('error mounting "tmpfs" to rootfs at /data: no space left on device (tmpcopyup: ')


def test_a_name_in_a_message_is_one_line(bundle):
    (bundle.rootfs / "data/a\nb\x1b[31m").write_bytes(b"x" * 100000)
    assert copied(bundle, "", "size=4k")["error"].endswith("(tmpcopyup: a?b?[31m)")


@pytest.mark.row(38)
def test_links_are_copied_and_not_followed(bundle):
    data = bundle.rootfs / "data"
    (data / "absolute").symlink_to(bundle.decoy)
    (data / "up").symlink_to("../" * 20 + str(bundle.decoy)[1:])
    (data / "loop").symlink_to("loop")
    (data / "long").symlink_to("x" * 4095)
    expected = described(data)
    assert copied(bundle, 'answer["tree"] = walk("/data")')["tree"] == expected


@pytest.fixture
def dig(bundle):
    """Make directories inside each other, further than a path can name them; Python cannot remove them."""
    script = "import os, sys\nfor _ in range(int(sys.argv[1])):\n os.mkdir('d')\n os.chdir('d')\nos.mknod('end')"

    def make(levels: int) -> None:
        subprocess.run([sys.executable, "-c", script, str(levels)], cwd=bundle.rootfs / "data", check=True)

    yield make
    subprocess.run(["rm", "-rf", bundle.rootfs / "data"], check=True)


def test_a_deep_tree_needs_few_descriptors(bundle, dig):
    dig(2000)
    probe = """
level = os.open("/data", os.O_RDONLY)
for count in range(2000):
    below = os.open("d", os.O_RDONLY, dir_fd=level)
    os.close(level)
    level = below
answer["end"] = os.listdir(level)
os.close(level)
"""
    within = ["prlimit", "--nofile=32:32", "unshare", "--mount", "--pid", "--fork", "--ipc", "--net",
              "--propagation", "private"]  # fmt: skip
    assert copied(bundle, probe, within=within)["end"] == ["end"]


def test_a_tree_deeper_than_any_path_is_refused(bundle, dig):
    dig(5000)
    assert "file name too long (tmpcopyup: d/d/" in copied(bundle, "")["error"]


@pytest.mark.row(38)
def test_a_neighbour_who_swaps_directories_for_links(bundle):
    """Either a directory is copied as it is or not at all; what the links lead to never is."""
    data = bundle.rootfs / "data"
    for number in range(8):
        for name in range(30):
            (data / f"{number}/{name}").mkdir(parents=True)
            (data / f"{number}/{name}/file").write_text("ours")
        (data / f"link-{number}").symlink_to(bundle.decoy)
    with subprocess.Popen([sys.executable, "-c", RACER, data], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as racer:
        assert racer.stdout is not None and racer.stdout.readline() == b"racing\n"
        for _ in range(20):
            answer = copied(bundle, 'answer["tree"] = walk("/data")')
            files = {row[5] for row in answer["tree"].values() if stat.S_ISREG(row[0])}
            assert files <= {"ours"}
            assert answer["leaked"] == []
        assert racer.poll() is None, "the racer gave up"
        racer.communicate()


@pytest.mark.row(38)
def test_a_user_namespace_copies_what_it_owns_as_it_is(bundle, missing):
    furnish(bundle.rootfs / "data")
    for device in ("null", "disk"):
        (bundle.rootfs / "data/dir" / device).unlink()
    bundle.give_away()
    os.chmod(bundle.rootfs / "data/dir/file", 0o4755)
    answer = copied(bundle, 'answer["tree"] = walk("/data")', missing=missing, within=IN_USER_NS, in_userns=True)
    expected = described(bundle.rootfs / "data")
    assert answer["tree"] == {name: [row[0], 0, 0, *row[3:]] for name, row in expected.items()}


def test_in_a_user_namespace_foreign_owners_and_devices_give_nothing_away(bundle):
    """Without its owner a set-id bit would be the container root's, without its list a mode says more than it did."""
    data = bundle.rootfs / "data"
    bundle.give_away()
    (data / "suid").write_text("foreign")
    os.chmod(data / "suid", 0o6755)
    (data / "listed").touch()
    os.setxattr(data / "listed", "system.posix_acl_access", acl(4, 4))
    os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    probe = 'answer["tree"] = walk("/data")'
    answer = copied(bundle, probe, within=IN_USER_NS, in_userns=True, ids=1000)
    found = {name: (row[0] & 0o7777, *row[1:3], row[5]) for name, row in answer["tree"].items()}
    assert found == {"suid": (0o755, 0, 0, "foreign"), "listed": (0o604, 0, 0, "")}


def test_in_a_user_namespace_what_may_not_be_read_is_said(bundle):
    bundle.give_away()
    (bundle.rootfs / "data/secret").touch(0o600)
    error = copied(bundle, "", within=IN_USER_NS, in_userns=True)["error"]
    assert error.endswith("at /data: permission denied (tmpcopyup: secret)")
