"""/dev of good and hostile roots: nodes, links, the console. Nothing outside the root may ever change."""

from __future__ import annotations

import os
import stat

import pytest
from helpers.requires import requires
from helpers.rootfs import DEV, IN_MOUNT_NS, IN_USER_NS, KERNELS, PROC, PTS, WITH_DEVPTS, bundle_with_decoy

pytestmark = [requires("root")]

NODES = """
found = {name: os.lstat("/dev/" + name) for name in os.listdir("/dev")}
answer["dev"] = {name: [st.st_mode, st.st_rdev] for name, st in found.items()}
"""
LINKS = 'answer["links"] = {n: os.readlink("/dev/" + n) for n in os.listdir("/dev") if os.path.islink("/dev/" + n)}\n'
DEFAULTS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


@pytest.fixture
def bundle():
    with bundle_with_decoy() as made:
        yield made


@pytest.fixture(params=[KERNELS["modern"], KERNELS["legacy"]], ids=["modern", "legacy"])
def missing(request):
    return request.param


@pytest.mark.parametrize("within", [IN_MOUNT_NS, IN_USER_NS], ids=["root", "userns"])
@pytest.mark.parametrize("mounts", [[PROC, DEV, PTS], [PROC]], ids=["tmpfs", "image"])
@pytest.mark.row(58, 59)
def test_default_devices_and_links(bundle, missing, within, mounts):
    bundle.give_away(0 if within else 100000)
    answer = bundle.run(mounts, NODES + LINKS, within=within, in_userns=not within, missing=missing)
    for name, (major, minor) in DEFAULTS.items():
        assert answer["dev"][name] == [stat.S_IFCHR | 0o666, os.makedev(major, minor)]
    links = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
             "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip
    if os.path.exists("/proc/kcore"):
        links["core"] = "/proc/kcore"
    assert answer["links"] == links
    assert answer["leaked"] == []


@pytest.mark.row(57)
def test_modes_and_owners_are_exact_whatever_the_umask(bundle, missing):
    devices = [
        {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/loop77", "type": "b", "major": 7, "minor": 77, "fileMode": 0o660},
        {"path": "/dev/net/tun", "type": "u", "major": 10, "minor": 200},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
    ]
    probe = """for name in ("kmsg", "loop77", "net/tun", "pipe", "net"):
    st = os.lstat("/dev/" + name)
    answer[name] = [st.st_mode, st.st_rdev, st.st_uid, st.st_gid]
"""
    old = os.umask(0o077)
    try:
        answer = bundle.run([PROC, DEV], probe, linux={"devices": devices}, missing=missing)
    finally:
        os.umask(old)
    assert answer["kmsg"] == [stat.S_IFCHR | 0o640, os.makedev(1, 11), 5, 6]
    assert answer["loop77"] == [stat.S_IFBLK | 0o660, os.makedev(7, 77), 0, 0]
    assert answer["net/tun"] == [stat.S_IFCHR | 0o666, os.makedev(10, 200), 0, 0]
    assert answer["pipe"] == [stat.S_IFIFO | 0o622, 0, 0, 0]
    assert answer["net"][0] == stat.S_IFDIR | 0o755


@pytest.mark.row(57)
def test_a_right_node_is_not_made_again(bundle, missing):
    os.mknod(bundle.rootfs / "dev/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    before = (bundle.rootfs / "dev/null").stat()
    assert "error" not in bundle.run([PROC], missing=missing)
    assert (bundle.rootfs / "dev/null").stat() == before


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "fifo", "other", "dir"])
@pytest.mark.parametrize("within", [IN_MOUNT_NS, IN_USER_NS], ids=["root", "userns"])
@pytest.mark.row(57)
def test_a_wrong_node_is_an_error_and_stays(bundle, missing, kind, within):
    null = bundle.rootfs / "dev/null"
    if kind == "file":
        null.write_text("mine")
    elif kind in ("link", "dangling"):
        null.symlink_to(bundle.decoy / ("null" if kind == "link" else "new"))
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "other":
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        null.mkdir()
    bundle.give_away(0 if within else 100000)
    before = null.lstat()
    answer = bundle.run([PROC], NODES, within=within, in_userns=not within, missing=missing)
    if not within and kind in ("file", "fifo", "other"):
        # A bind hides what is there, whatever it is; the root's own file stays as it was.
        assert answer["dev"]["null"] == [stat.S_IFCHR | 0o666, os.makedev(1, 3)]
    else:
        assert "/dev/null" in answer["error"]
    assert (null.lstat().st_ino, null.lstat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("target", ["DECOY", "../../decoy", "/etc", "etc", "/", ".", "dangling", "/proc/self/cwd"])
@pytest.mark.parametrize("console", [False, True], ids=["", "console"])
@pytest.mark.parametrize("within", [IN_MOUNT_NS, IN_USER_NS], ids=["root", "userns"])
@pytest.mark.row(57)
def test_a_linked_dev_is_refused(bundle, missing, target, console, within):
    """No /dev mount, and the image's /dev leads elsewhere (CVE-2026-41579, CVE-2026-47766)."""
    bundle.replace("dev", str(bundle.decoy) if target == "DECOY" else target)
    bundle.give_away(0 if within else 100000)
    devices = [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}]
    answer = bundle.run(
        [PROC], within=within, in_userns=not within, console=console, linux={"devices": devices}, missing=missing
    )
    assert "/dev" in answer["error"] and "ordinary directory" in answer["error"] or "console" in answer["error"]
    assert sorted(os.listdir(bundle.rootfs / "etc")) == []


@pytest.mark.parametrize("path", ["/dev/net/tun", "/opt/node"])
@pytest.mark.row(57)
def test_a_link_on_the_way_to_a_device_is_refused(bundle, missing, path):
    (bundle.rootfs / os.path.dirname(path).lstrip("/")).symlink_to(bundle.decoy)
    devices = [{"path": path, "type": "c", "major": 10, "minor": 200}]
    assert path in bundle.run([PROC], linux={"devices": devices}, missing=missing)["error"]


@pytest.mark.parametrize("kind", ["link", "file", "node", "right"])
@pytest.mark.row(58)
def test_ptmx_always_leads_to_the_containers_devpts(bundle, missing, kind):
    ptmx = bundle.rootfs / "dev/ptmx"
    if kind == "link":
        ptmx.symlink_to(bundle.decoy / "ptmx")
    elif kind == "file":
        ptmx.write_text("")
    elif kind == "node":
        os.mknod(ptmx, stat.S_IFCHR | 0o666, os.makedev(5, 2))
    else:
        ptmx.symlink_to("pts/ptmx")
    assert bundle.run([PROC, PTS], LINKS, missing=missing)["links"]["ptmx"] == "pts/ptmx"


def test_links_of_the_image_are_kept(bundle, missing):
    (bundle.rootfs / "dev/fd").symlink_to(bundle.decoy / "fd")
    assert bundle.run([PROC], LINKS, missing=missing)["links"]["fd"] == str(bundle.decoy / "fd")


def test_a_bound_dev_is_left_alone(bundle, missing):
    (bundle.path / "mydev").mkdir()
    mounts = [PROC, {"destination": "/dev", "source": "mydev", "options": ["bind"]}]
    assert bundle.run(mounts, NODES, missing=missing)["dev"] == {}


def test_a_missing_dev_is_made(bundle, missing):
    bundle.replace("dev")
    assert "null" in bundle.run([PROC], NODES, missing=missing)["dev"]


TERMINAL = """
st = os.fstat(ctx.console_slave)
answer["same"] = os.stat("/dev/console").st_rdev == st.st_rdev
answer["owner"] = [st.st_uid, os.stat("/dev/console").st_uid]
answer["onlcr"] = termios.tcgetattr(ctx.console_slave)[1] & termios.ONLCR
answer["size"] = struct.unpack("HHHH", fcntl.ioctl(ctx.console_master, termios.TIOCGWINSZ, bytes(8)))[:2]
os.write(ctx.console_slave, b"a\\nb")
answer["text"] = os.read(ctx.console_master, 10).decode()
if os.fork() == 0:
    os.setsid()
    fcntl.ioctl(ctx.console_slave, termios.TIOCSCTTY, 0)
    terminal = os.open("/dev/tty", os.O_RDWR)
    os.write(terminal, b"!")
    os._exit(0)
os.wait()
answer["tty"] = os.read(ctx.console_master, 10).decode()
"""


@pytest.mark.parametrize("host", WITH_DEVPTS)
@pytest.mark.parametrize("userns", [False, True], ids=["root", "userns"])
@pytest.mark.parametrize("mounts", [[PROC, DEV, PTS], [PROC, DEV], [PROC]], ids=["pts", "host-pts", "image"])
@pytest.mark.row(58)
def test_the_console_is_a_terminal(bundle, missing, host, userns, mounts):
    bundle.give_away(100000 if userns else 0)
    process = {"terminal": True, "consoleSize": {"height": 11, "width": 222}, "user": {"uid": 7, "gid": 8}}
    answer = bundle.run(
        mounts, TERMINAL, console=True, process=process, userns=userns, in_userns=userns, missing=missing,
        within=[*WITH_DEVPTS[host], *([] if userns else IN_MOUNT_NS)],
        top={"root": {"path": "rootfs", "readonly": True}},
    )  # fmt: skip
    assert answer.get("error") is None
    # Who owns a pair of the group tty, which the user namespace does not have, stays root; the user's are fds 0 to 2.
    owner = 0 if host == "debian" and userns and PTS not in mounts else 7
    assert answer["same"] and answer["owner"] == [owner, owner] and not answer["onlcr"]
    assert answer["size"] == [11, 222]
    assert (answer["text"], answer["tty"]) == ("a\nb", "!")


@pytest.mark.parametrize("target", ["DECOY/console", "DECOY/new", "/etc/new", "null", "loop"])
def test_a_linked_console_is_refused(bundle, missing, target):
    """No /dev mount, and the image's /dev/console leads elsewhere (CVE-2026-88264)."""
    console = bundle.rootfs / "dev/console"
    console.symlink_to("console" if target == "loop" else target.replace("DECOY", str(bundle.decoy)))
    answer = bundle.run([PROC, PTS], console=True, missing=missing)
    assert "/dev/console: it is a symbolic link" in answer["error"]
    assert os.listdir(bundle.rootfs / "etc") == []


@pytest.mark.parametrize("kind", ["file", "link", "other", "fifo", "tmpfs"])
def test_a_devpts_that_is_none_is_refused(bundle, missing, kind):
    """The ptmx must be devpts's own (CVE-2025-52565)."""
    fake = bundle.path / "fake"
    fake.mkdir()
    if kind == "file":
        (fake / "ptmx").write_text("")
    elif kind == "link":
        (fake / "ptmx").symlink_to("/dev/ptmx")
    elif kind == "fifo":
        os.mkfifo(fake / "ptmx")
    else:
        os.mknod(fake / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2) if kind == "tmpfs" else os.makedev(1, 3))
    mounts = [PROC, DEV, {"destination": "/dev/pts", "source": "fake", "options": ["bind"]}]
    assert "open console dev/pts/ptmx" in bundle.run(mounts, console=True, missing=missing)["error"]
