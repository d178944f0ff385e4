"""Masked and read-only paths: what they hide stays hidden, whatever the image brought (CVE-2025-31133)."""

from __future__ import annotations

import os
import stat

import pytest
from helpers.requires import requires
from helpers.rootfs import DEV, IN_MOUNT_NS, IN_USER_NS, KERNELS, PROC, SYS, bundle_with_decoy

pytestmark = [requires("root")]

MOUNTS = 'answer["m"] = [[e["point"], e["type"], e["options"]] for e in mountinfo()]\n'


@pytest.fixture
def bundle():
    with bundle_with_decoy() as made:
        (made.rootfs / "etc/secret").write_text("secret")
        (made.rootfs / "etc/dir").mkdir()
        (made.rootfs / "etc/dir/inner").write_text("secret")
        (made.rootfs / "etc/dir2").mkdir()
        yield made


@pytest.fixture(params=[KERNELS["modern"], KERNELS["legacy"]], ids=["modern", "legacy"])
def missing(request):
    return request.param


@pytest.mark.parametrize("within", [IN_MOUNT_NS, IN_USER_NS], ids=["root", "userns"])
@pytest.mark.parametrize("readonly", [False, True], ids=["rw", "ro"])
@pytest.mark.row(64)
def test_masks(bundle, missing, within, readonly):
    bundle.give_away(0 if within else 100000)
    probe = MOUNTS + """
def fails(call, *arguments):
    try:
        call(*arguments)
    except OSError as err:
        return err.errno
    return 0
answer["file"] = open("/etc/secret").read()
st = os.stat("/etc/secret")
answer["node"] = [st.st_mode & 0o170000, st.st_rdev]
answer["dirs"] = [os.listdir("/etc/dir"), os.listdir("/etc/dir2")]
answer["one"] = os.stat("/etc/dir").st_dev == os.stat("/etc/dir2").st_dev
answer["errno"] = [fails(os.mkdir, "/etc/dir/x"), fails(os.utime, "/etc/secret"), fails(os.chmod, "/etc/dir", 0o777)]
"""
    paths = ["/etc/secret", "/etc/dir", "/etc/nothing", "/etc/secret/x", "/etc/dir2", "/etc//secret", "/etc/dir/"]
    answer = bundle.run(
        [PROC, DEV, SYS], probe, linux={"maskedPaths": paths}, within=within, in_userns=not within, missing=missing,
        top={"root": {"path": "rootfs", "readonly": readonly}},
    )  # fmt: skip
    assert answer["file"] == "" and answer["dirs"] == [[], []] and answer["one"]
    assert answer["node"] == [stat.S_IFCHR, os.makedev(1, 3)]
    assert answer["errno"] == [30, 30, 30]
    masks = {row[0]: set(row[2]) for row in answer["m"] if row[0].startswith("/etc/")}
    assert len([row for row in answer["m"] if row[0].startswith("/etc/")]) == len(masks) == 3
    assert {"ro", "nosuid", "noexec"} <= masks["/etc/secret"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= masks["/etc/dir"] & masks["/etc/dir2"]
    assert answer["leaked"] == []


@pytest.mark.parametrize("kind", ["missing", "file", "link", "fifo", "zero", "node-link"])
@pytest.mark.row(64)
def test_only_the_null_device_masks(bundle, missing, kind):
    """The config binds a whole /dev, so it is the attacker's; a wrong null is an error, never a mask."""
    fake = bundle.path / "fake"
    fake.mkdir()
    null = fake / "null"
    if kind == "file":
        null.write_text("attack")
    elif kind == "link":
        null.symlink_to("/proc/sys/kernel/core_pattern")
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "zero":
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "node-link":
        os.mknod(fake / "real", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.symlink_to("real")
    mounts = [PROC, {"destination": "/dev", "source": "fake", "options": ["bind"]}]
    answer = bundle.run(mounts, linux={"maskedPaths": ["/etc/secret"]}, missing=missing)
    assert "/dev/null" in answer["error"]


@pytest.mark.row(64)
def test_a_masked_link_is_resolved_in_the_root(bundle, missing):
    (bundle.rootfs / "etc/link").symlink_to("../../../etc/secret")
    (bundle.rootfs / "etc/out").symlink_to(bundle.decoy / "passwd")
    probe = MOUNTS + 'answer["t"] = open("/etc/link").read()'
    answer = bundle.run([PROC, DEV], probe, linux={"maskedPaths": ["/etc/link", "/etc/out"]}, missing=missing)
    assert answer["t"] == ""
    assert [row[0] for row in answer["m"] if row[0].startswith("/etc")] == ["/etc/secret"]


@pytest.mark.row(64)
def test_a_path_that_cannot_be_masked_is_an_error(bundle, missing):
    (bundle.rootfs / "etc/loop").symlink_to("loop")
    answer = bundle.run([PROC, DEV], linux={"maskedPaths": ["/etc/loop"]}, missing=missing)
    assert "mask /etc/loop" in answer["error"]


@pytest.mark.row(64)
def test_read_only_paths_keep_their_other_flags(bundle, missing):
    mounts = [PROC, DEV, {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["nosuid", "noatime"]}]
    probe = MOUNTS + """
try:
    open("/proc/sys/kernel/domainname", "w")
except OSError as err:
    answer["errno"] = err.errno
"""
    paths = ["/proc/sys", "/t", "/etc/secret", "/nothing", "/etc/secret/none"]
    answer = bundle.run(mounts, probe, linux={"readonlyPaths": paths}, missing=missing)
    found = {row[0]: set(row[2]) - {"relatime"} for row in answer["m"] if "ro" in row[2]}
    assert found == {"/proc/sys": {"ro"}, "/t": {"ro", "nosuid", "noatime"}, "/etc/secret": {"ro"}}
    assert answer["errno"] == 30


@pytest.mark.row(64)
def test_masks_in_procfs(bundle, missing):
    paths = [path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi") if os.path.exists(path)]
    probe = 'answer["l"] = [os.listdir(p) if os.path.isdir(p) else open(p).read(9) for p in ' + repr(paths) + "]"
    answer = bundle.run([PROC, DEV], probe, linux={"maskedPaths": paths}, missing=missing)
    assert not any(answer["l"])
