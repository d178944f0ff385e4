"""S-13, S-17, S-23..S-27, S-41: root file systems that lead out of themselves.

A decoy outside the bundle must be bit-identical afterwards, and the container either refused with
one line or running correctly confined.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.payload import mountinfo
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.terminal import ConsoleSocket

pytestmark = [requires("root", "runtime", "busybox", "gcc"),
              pytest.mark.rival(runc="1.1.5 has several of these holes", crun="1.8.1 has several of these holes",
                                strict=False)]

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


class Decoy:
    """A directory of the host that an image points at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        for name in ("ptmx", "console", "null", "passwd", "secret", "fd", "tty"):
            (path / name).write_text(f"decoy {name}\n")
        (path / "directory").mkdir()
        (path / "directory/file").write_text("inner\n")
        self._before = self._fingerprint()
        self._core = CORE_PATTERN.read_text()

    def _fingerprint(self) -> dict:
        found = {}
        for parent, directories, files in os.walk(self.path):
            for name in [".", *directories, *files]:
                place = os.path.normpath(os.path.join(parent, name))
                info = os.lstat(place)
                content = Path(place).read_bytes() if stat.S_ISREG(info.st_mode) else b""
                found[place] = (info.st_mode, info.st_uid, info.st_gid, info.st_ino, info.st_mtime_ns,
                                hashlib.sha256(content).hexdigest())
        return found

    def restore(self) -> None:
        """Undo what a runtime that failed the test let the container do to the host."""
        if CORE_PATTERN.read_text() != self._core:
            CORE_PATTERN.write_text(self._core)

    def check(self) -> None:
        assert self._fingerprint() == self._before
        assert CORE_PATTERN.read_text() == self._core


@pytest.fixture
def decoy(workdir) -> Iterator[Decoy]:
    made = Decoy(workdir / "decoy")
    yield made
    try:
        made.check()
    finally:
        made.restore()


def visible(facts, box) -> list[dict]:
    """Return the mounts of the payload that the config did not bind; none where there is no procfs."""
    bound = {entry["destination"] for entry in box.config["mounts"] if entry.get("type") == "bind"}
    mounts = mountinfo(facts) if facts["mountinfo"] else {}
    return [entry for point, entry in mounts.items() if point not in bound]


def refused_or_confined(capsule, box, decoy, **how):
    """Run the probe: refused, or confined; returns the facts of the latter."""
    result = capsule.run(box.args("/payload", "probe"), rc=None, **how)
    assert "Traceback" not in result.err
    decoy.check()
    if result.rc:
        assert not capsule.exists(box)
        return None
    facts = result.json
    assert facts["cwd"].startswith("/")
    assert not any(str(decoy.path) in entry["root"] for entry in visible(facts, box))
    return facts


def directions(decoy, place):
    """Return ways to point from a place in the image to a path of the host."""
    depth = 12
    return {"absolute": str(decoy.path / place), "relative": "../" * depth + str(decoy.path / place)[1:]}


# /proc and /sys

@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/data", "data", "/", "..", "/tmp/../data"])
@pytest.mark.row(42)
def test_proc_and_sys_may_not_be_symlinks(capsule, bundle, decoy, name, target):
    box = bundle(["/payload", "probe"]).symlink(f"/{name}", target)
    capsule.run(box, rc=FAILS)
    assert not capsule.exists(box)


@pytest.mark.row(42)
def test_only_procfs_may_sit_on_proc(capsule, bundle, decoy):
    box = bundle(["/payload", "probe"]).mount("/proc", "tmpfs", "tmpfs")
    capsule.run(box, rc=FAILS)


@pytest.mark.parametrize("destination", ["/proc/self/attr", "/proc/1", "/proc/sys", "/proc/self/fd"])
def test_no_mount_may_cover_what_the_runtime_writes(capsule, bundle, decoy, destination):
    box = bundle(["/payload", "probe"]).bind(decoy.path / "directory", destination)
    capsule.run(box, rc=FAILS)


@pytest.mark.row(42)
def test_a_plain_directory_as_proc_fools_nobody(capsule, bundle, decoy):
    box = bundle().without_mount("/proc").file("/proc/self/attr/exec", "x").file("/proc/self/fd/4", "x")
    box.file("/proc/self/status", "CapEff: 0").file("/proc/sys/kernel/domainname", "x")
    box.linux["maskedPaths"] = box.linux["readonlyPaths"] = []
    facts = refused_or_confined(capsule, box, decoy)
    if facts:
        assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
        assert facts["caps"]["effective"] == 0x20000420


# /dev

@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.row(57)
def test_dev_as_a_symlink_to_the_host(capsule, bundle, decoy, way):
    """CVE-2026-41579, CVE-2026-47766: links and nodes must not be made in the host's directory."""
    box = bundle().without_mount("/dev").symlink("/dev", directions(decoy, "")[way])
    box.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("name", ["ptmx", "console", "null", "fd", "stdin", "tty", "zero", "core"])
@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_an_entry_of_dev_as_a_symlink_to_the_host(capsule, bundle, decoy, name, way):
    box = bundle().without_mount("/dev").symlink(f"/dev/{name}", directions(decoy, name)[way])
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("target", ["console", "newfile"])
def test_the_console_as_a_symlink_to_the_host(capsule, bundle, decoy, workdir, readonly, target):
    """CVE-2026-88264: the file behind the link must be neither made nor covered."""
    box = bundle().without_mount("/dev").symlink("/dev/console", decoy.path / target).terminal()
    box.config["root"]["readonly"] = readonly
    with ConsoleSocket(workdir / "console") as console:
        capsule.create(box, "--console-socket", console.path, rc=None)
        capsule.delete(box, "--force")
    decoy.check()


def test_stdio_is_not_reopened_through_the_images_null(capsule, bundle, decoy):
    """CVE-2026-88265: /dev/null of the image leads to a file of the host that is bound inside."""
    box = bundle().without_mount("/dev").symlink("/dev/null", "/mnt/file").user(1000, 1000)
    box.bind(decoy.path / "secret", "/mnt/file", "bind")
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("kind", ["file", "fifo", "other device", "directory", "absent", "symlink"])
def test_a_false_null_device_masks_nothing_else(capsule, bundle, decoy, kind):
    """CVE-2025-31133: what is masked reads empty and is a true null device, or the run is refused."""
    box = bundle().without_mount("/dev").file("/data/secret", "secret")
    place = box.rootfs / "dev/null"
    {"file": lambda: place.write_text("not empty"), "fifo": lambda: os.mkfifo(place),
     "other device": lambda: os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
     "directory": place.mkdir, "absent": lambda: None,
     # a setting of the container's own namespace: a runtime that fails must not change the host
     "symlink": lambda: place.symlink_to("/proc/sys/kernel/domainname")}[kind]()
    box.linux["maskedPaths"] = ["/data/secret", "/proc/keys"]
    result = capsule.run(box.args("/payload", "try", "read", "/data/secret", "write", "/data/secret"), rc=None)
    if result.rc == 0:
        secret = result.json[0]
        assert (secret["text"], secret["major"], secret["minor"]) == ("", 1, 3)


@pytest.mark.parametrize("chain", ["loop", "deep", "long names"])
def test_endless_links_are_an_error_or_harmless(capsule, bundle, decoy, chain):
    box = bundle()
    if chain == "loop":
        box.symlink("/a", "/b").symlink("/b", "/a")
    elif chain == "deep":
        for number in range(60):
            box.symlink(f"/l{number}", f"/l{number + 1}")
        box.symlink("/a", "/l0")
    else:
        box.symlink("/a", "/" + "/".join(["x" * 255] * 10))
    box.mount("/a/b", "tmpfs", "tmpfs")
    refused_or_confined(capsule, box, decoy)


# Mount destinations

@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "file"])
@pytest.mark.row(41)
def test_a_destination_that_leads_to_the_host(capsule, bundle, decoy, workdir, way, kind):
    (workdir / "volume").mkdir()
    (workdir / "file").touch()
    target = directions(decoy, "secret" if kind == "file" else "directory")[way]
    box = bundle().symlink("/data/way", target)
    if kind == "tmpfs":
        box.mount("/data/way", "tmpfs", "tmpfs")
    else:
        box.bind(workdir / ("file" if kind == "file" else "volume"), "/data/way", "bind")
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.row(41)
def test_a_missing_destination_below_a_link_is_not_made_on_the_host(capsule, bundle, decoy, way):
    """CVE-2024-45310: no empty directories or files outside the root."""
    box = bundle().symlink("/data/way", directions(decoy, "")[way])
    box.mount("/data/way/made/deep", "tmpfs", "tmpfs").bind("/dev/null", "/data/way/made/file", "bind")
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("field", ["maskedPaths", "readonlyPaths"])
@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.row(64)
def test_masks_through_links_stay_in_the_root(capsule, bundle, decoy, field, way):
    box = bundle().symlink("/data/way", directions(decoy, "")[way])
    box.linux[field] = ["/data/way/secret", "/data/way/directory", "/data/way"]
    refused_or_confined(capsule, box, decoy)


@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_a_working_directory_that_leads_to_the_host(capsule, bundle, decoy, way):
    box = bundle().symlink("/data/way", directions(decoy, "made")[way])
    box.process["cwd"] = "/data/way"
    refused_or_confined(capsule, box, decoy)


@pytest.mark.row(6)
def test_a_read_only_root_is_read_only_whatever_the_image_says(capsule, bundle, decoy):
    """CVE-2026-115521: the remount must not be sent elsewhere by a /proc of the image's making."""
    box = bundle().without_mount("/proc").file("/proc/self/fd/7").symlink("/proc/self/fd/8", "/data")
    box.linux["maskedPaths"] = box.linux["readonlyPaths"] = []
    box.config["root"]["readonly"] = True
    (tried,) = capsule.attempts(box, "create", "/file")
    assert tried["errno"] == 30


@pytest.mark.row(38)
def test_tmpcopyup_follows_no_link_to_the_host(capsule, bundle, decoy):
    box = bundle().symlink("/data/link", decoy.path / "secret").symlink("/data/dir", decoy.path / "directory")
    box.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    found = capsule.run(box.args("/payload", "try", "readlink", "/data/link", "read", "/data/link"), rc=None)
    if found.rc == 0:
        assert found.json[0]["text"] == str(decoy.path / "secret")
        assert found.json[1]["errno"] == 2


# S-41: user names that look like numbers

LOOKALIKES = ["1", "01", "0x1", "1e3", "+1", "4294967296", "18446744073709551616", "2147483648", "1000:1"]


def test_a_number_is_never_looked_up_as_a_name(capsule, bundle):
    text = "".join(f"{name}:x:0:0::/root:/bin/sh\n" for name in LOOKALIKES if ":" not in name)
    box = bundle(["/payload", "pause"]).file("/etc/passwd", text)
    capsule.start_container(box)
    for name in LOOKALIKES:
        result = capsule.exec(box, "/payload", "probe", flags=["--user", name], rc=None)
        if result.rc == 0:
            assert result.json["uid"] == [int(name.split(":")[0])] * 3, name


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "huge", "symlink to the host", "loop", "binary"])
def test_a_hostile_passwd_neither_hangs_nor_leads_out(capsule, bundle, decoy, kind):
    box = bundle()
    place = box.rootfs / "etc/passwd"
    place.unlink()
    {"fifo": lambda: os.mkfifo(place), "directory": place.mkdir,
     "device": lambda: os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
     "huge": lambda: place.write_bytes(b"x" * (64 << 20)),
     "symlink to the host": lambda: place.symlink_to(decoy.path / "passwd"),
     "loop": lambda: place.symlink_to("passwd"),
     "binary": lambda: place.write_bytes(bytes(range(256)) * 100)}[kind]()
    result = capsule.run(box.args("/payload", "probe"), rc=None, timeout=10)
    assert "Traceback" not in result.err
    if result.rc == 0:
        assert "HOME=/" in result.json["env"]


def test_setuid_programs_gain_nothing_under_no_new_privileges(capsule, bundle):
    box = bundle(["/bin/gain", "probe"]).user(1000, 1000)
    shutil.copy(box.rootfs / "payload", box.rootfs / "bin/gain")
    (box.rootfs / "bin/gain").chmod(0o4755)
    assert capsule.run(box).json["uid"] == [1000] * 3
