"""Mounts into good and hostile roots: every kind of kernel, facts read from inside the finished container."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys

import pytest
from helpers.requires import requires
from helpers.rootfs import CHILD, DEV, IN_MOUNT_NS, IN_USER_NS, KERNELS, PROC, PTS, SYS, bundle_with_decoy

pytestmark = [requires("root")]

MOUNTS = 'answer["m"] = {e["point"]: e for e in mountinfo()}\n'


@pytest.fixture
def bundle():
    with bundle_with_decoy() as made:
        yield made


@pytest.fixture(params=list(KERNELS.values()), ids=list(KERNELS))
def missing(request):
    """The system calls that a kernel does not have."""
    return request.param


def options(answer: dict, point: str) -> list[str]:
    """Return the flags of a mount point less the two that are always there."""
    return sorted(set(answer["m"][point]["options"]) - {"rw", "relatime"})


def test_a_default_container(bundle, missing):
    answer = bundle.run([PROC, DEV, PTS, SYS], MOUNTS + 'answer["root"] = sorted(os.listdir("/"))', missing=missing)
    assert answer["leaked"] == []
    assert answer["root"] == ["dev", "etc", "proc", "sys", "tmp"]
    assert list(answer["m"]) == ["/", "/proc", "/dev", "/dev/pts", "/sys"]
    assert options(answer, "/sys") == ["nodev", "noexec", "nosuid", "ro"]
    assert {"size=65536k", "mode=755"} <= set(answer["m"]["/dev"]["super"])


def test_the_old_root_is_gone(bundle, missing):
    probe = 'answer["cwd"] = os.getcwd(); answer["up"] = os.listdir("../../..") == os.listdir("/")'
    answer = bundle.run(None, probe, missing=missing)
    assert (answer["cwd"], answer["up"]) == ("/", True)


def test_nothing_reaches_the_host(bundle, tmp_path):
    """The host's tree is shared here; a mount made in the container must not appear in it."""
    request = json.dumps(
        {"bundle": str(bundle.path), "config": {
            "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": [PROC, DEV],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], "rootfsPropagation": "%s"},
        }}
    )  # fmt: skip
    script = """
        set -e
        mount --make-rshared /
        cat /proc/self/mountinfo > before
        for word in shared rshared slave rslave private rprivate unbindable; do
            sed "s/%s/$word/" request | unshare -m -p -f --propagation unchanged "$@" > answer.$word
        done
        cat /proc/self/mountinfo > after
    """
    (tmp_path / "request").write_text(request)
    child = [sys.executable, str(CHILD)]
    subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *child], cwd=tmp_path, check=True,
        timeout=120, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
    for word in ("shared", "rslave", "private"):
        assert json.loads((tmp_path / f"answer.{word}").read_text()) == {"leaked": []}


@pytest.mark.parametrize(
    ("word", "expected"), [("shared", "shared"), ("rshared", "shared"), ("private", ""), ("unbindable", "unbindable")]
)
@pytest.mark.row(63)
def test_rootfs_propagation_is_the_roots(bundle, missing, word, expected):
    answer = bundle.run(None, MOUNTS, missing=missing, linux={"rootfsPropagation": word})
    assert [tag.partition(":")[0] for tag in answer["m"]["/"]["tags"]] == ([expected] if expected else [])


@pytest.mark.row(6)
def test_a_read_only_root(bundle, missing):
    probe = MOUNTS + "try:\n os.mkdir('/x')\nexcept OSError as err:\n answer['errno'] = err.errno\n"
    answer = bundle.run(None, probe, missing=missing, top={"root": {"path": "rootfs", "readonly": True}})
    assert "ro" in answer["m"]["/"]["options"]
    assert answer["errno"] == 30


@pytest.mark.parametrize("within", [IN_MOUNT_NS, IN_USER_NS], ids=["root", "userns"])
@pytest.mark.parametrize("kind", ["dir", "file", "symlink", "fifo", "socket", "device"])
@pytest.mark.row(46)
def test_bind_sources_of_every_kind(bundle, missing, kind, within):
    source = bundle.path / "source"
    if kind == "dir":
        source.mkdir()
        (source / "inner").touch()
    elif kind == "file":
        source.write_text("x")
    elif kind == "symlink":
        (bundle.path / "real").write_text("x")
        source.symlink_to("real")
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(source))
    else:
        os.mknod(source, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    expected = source.stat()
    if not within:
        bundle.give_away()
    answer = bundle.run(
        [PROC, {"destination": "/new/target", "type": "bind", "source": "source", "options": ["rbind", "ro"]}],
        MOUNTS + 'st = os.stat("/new/target"); answer["st"] = [st.st_ino, st.st_mode, st.st_rdev]', missing=missing,
        within=within, in_userns=not within,
    )  # fmt: skip
    assert answer["st"] == [expected.st_ino, expected.st_mode, expected.st_rdev]
    assert options(answer, "/new/target") == ["ro"]


@pytest.mark.parametrize("missing", [KERNELS["modern"], KERNELS["no-openat2"]], ids=["modern", "no-openat2"])
def test_a_user_namespace_is_given_what_it_may_not_reach(bundle, missing):
    """The way to the root and to a source is closed to it; the process outside makes the mounts."""
    (bundle.path / "closed/source").mkdir(parents=True)
    (bundle.path / "closed/source/inner").touch()
    os.chmod(bundle.path / "closed", 0o700)
    os.chmod(bundle.path, 0o700)
    bundle.give_away()
    mounts = [PROC, DEV, PTS, {"destination": "/m", "source": "closed/source", "options": ["bind", "ro"]}]
    answer = bundle.run(mounts, MOUNTS + 'answer["l"] = os.listdir("/m")', within=IN_USER_NS, in_userns=True,
                        missing=missing, console=True)  # fmt: skip
    assert answer["l"] == ["inner"] and options(answer, "/m") == ["ro"]
    assert answer["leaked"] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["nodev", "nosuid"]), (("ro",), ["ro"]), (("nosuid",), ["nosuid"]), (("exec",), []),
        (("noatime",), ["noatime"]), (("nodiratime", "nodev"), ["nodev", "nodiratime"]),
        (("nosymfollow",), ["nosymfollow"]), (("remount", "ro"), None),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.row(32)
def test_flags_of_a_bind(bundle, missing, words, expected):
    """No flag: the source's are kept. Any flag: those not named are cleared."""
    mounts = [
        PROC,
        {"destination": "/src", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
        {"destination": "/dst", "source": "rootfs/src", "options": ["bind"]},
    ]
    if expected is None:
        mounts.append({"destination": "/dst", "options": ["remount", "bind", "ro"], "source": "x"})
        expected = ["nodev", "nosuid", "ro"]
    else:
        mounts[2]["options"] += words
    assert options(bundle.run(mounts, MOUNTS, missing=missing), "/dst") == expected


@pytest.mark.parametrize("missing", [KERNELS["modern"], KERNELS["no-openat2"]], ids=["modern", "no-openat2"])
@pytest.mark.parametrize(
    ("word", "expected"),
    [("rro", ["ro"]), ("rnosuid", ["nosuid"]), ("rnodev", ["nodev"]), ("rnoexec", ["noexec"]),
     ("rnoatime", ["noatime"]), ("rnosymfollow", ["nosymfollow"]), ("rnodiratime", ["nodiratime"])],
)  # fmt: skip
@pytest.mark.row(34)
def test_recursive_words_reach_the_whole_tree(bundle, missing, word, expected):
    mounts = [
        PROC, {"destination": "/src", "type": "tmpfs", "source": "t"},
        {"destination": "/src/sub", "type": "tmpfs", "source": "t"},
        {"destination": "/dst", "source": "rootfs/src", "options": ["rbind", word]},
    ]  # fmt: skip
    answer = bundle.run(mounts, MOUNTS, missing=missing)
    assert options(answer, "/dst") == options(answer, "/dst/sub") == expected


@pytest.mark.row(34)
def test_recursive_words_are_an_error_where_the_kernel_has_none(bundle):
    mounts = [PROC, {"destination": "/dst", "source": "rootfs/tmp", "options": ["rbind", "rro"]}]
    assert "mount_setattr" in bundle.run(mounts, missing=KERNELS["no-setattr"])["error"]


@pytest.mark.parametrize(
    ("words", "tags"), [(["private"], []), (["rshared"], ["shared"]), (["slave"], []), (["unbindable"], ["unbindable"])]
)
@pytest.mark.row(32)
def test_propagation_of_a_mount(bundle, missing, words, tags):
    answer = bundle.run([PROC, {"destination": "/t", "type": "tmpfs", "source": "t", "options": words}], MOUNTS,
                        missing=missing)  # fmt: skip
    assert [tag.partition(":")[0] for tag in answer["m"]["/t"]["tags"]] == tags


@pytest.mark.parametrize(
    "words", [["async"], ["dirsync"], ["iversion"], ["noiversion"], ["lazytime"], ["loud"], ["silent"], ["sync"],
              ["mand"], ["defaults"], ["strictatime"], ["norelatime"], ["nolazytime"], ["nomand"], ["symfollow"]],
    ids=str,
)  # fmt: skip
def test_every_word_is_accepted_by_a_tmpfs(bundle, missing, words):
    answer = bundle.run([PROC, {"destination": "/t", "type": "tmpfs", "source": "t", "options": words}], MOUNTS,
                        missing=missing)  # fmt: skip
    assert answer["m"]["/t"]["type"] == "tmpfs", answer


def test_tmpfs_takes_the_mode_of_the_directory(bundle, missing):
    (bundle.rootfs / "t").mkdir()
    (bundle.rootfs / "t").chmod(0o3710)
    mounts = [{"destination": f"/{name}", "type": "tmpfs", "source": "t", "options": words}
              for name, words in (("t", []), ("new", []), ("tmp", ["mode=0700"]))]  # fmt: skip
    (bundle.rootfs / "tmp").chmod(0o755)
    probe = 'answer["modes"] = [oct(os.stat(p).st_mode & 0o7777) for p in ("/t", "/new", "/tmp")]'
    assert bundle.run([PROC, *mounts], probe, missing=missing)["modes"] == ["0o3710", "0o1777", "0o700"]
    assert stat.S_IMODE((bundle.rootfs / "tmp").stat().st_mode) == 0o755


def test_a_read_only_tmpfs_can_hold_mount_points(bundle, missing):
    mounts = [PROC, {**DEV, "options": ["ro", "mode=755"]},
              {"destination": "/dev/sub", "type": "tmpfs", "source": "t"}]  # fmt: skip
    answer = bundle.run(mounts, MOUNTS + 'answer["null"] = os.path.exists("/dev/null")', missing=missing)
    assert "ro" in answer["m"]["/dev"]["options"]
    assert answer["null"] and "/dev/sub" in answer["m"]


@pytest.mark.row(30)
def test_order_is_kept_and_sources_may_be_mounts_made_before(bundle, missing):
    mounts = [
        PROC, {"destination": "/a", "type": "tmpfs", "source": "t"},
        {"destination": "/a/b", "type": "tmpfs", "source": "t", "options": ["mode=711"]},
        {"destination": "/c", "source": "rootfs/a/b", "options": ["bind"]},
    ]  # fmt: skip
    answer = bundle.run(mounts, 'answer["same"] = os.path.samefile("/c", "/a/b")', missing=missing)
    assert answer["same"]


@pytest.mark.parametrize(
    ("link", "target", "lands"),
    [
        ("conf", "/etc", "etc"), ("conf", "etc", "etc"), ("conf", "../../../etc", "etc"),
        ("conf", "/made/here", "made/here"), ("conf", "made", "made"), ("conf", "/DECOY", None),
        ("tmp/x", "../etc/deep", "etc/deep"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["dir", "file"])
@pytest.mark.row(41)
def test_a_destination_through_a_link_lies_inside_the_root(bundle, missing, link, target, lands, kind):
    if lands is None:
        target, lands = f"{bundle.decoy}/dir", f"{bundle.decoy}/dir".lstrip("/")
    if kind == "file" and lands == "etc":
        target, lands = target + "/f", "etc/f"
    (bundle.rootfs / link).symlink_to(target)
    source = bundle.path / "source"
    source.mkdir() if kind == "dir" else source.touch()
    mounts = [PROC, {"destination": f"/{link}", "source": "source", "options": ["bind"]}]
    answer = bundle.run(mounts, MOUNTS, missing=missing)
    assert f"/{lands}" in answer["m"], answer


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/tmp", "tmp", "../decoy", "/DECOY", "/dangling"])
@pytest.mark.row(42)
def test_a_linked_proc_or_sys_is_refused(bundle, missing, name, target):
    bundle.replace(name, str(bundle.decoy) if target == "/DECOY" else target)
    answer = bundle.run([PROC, DEV, SYS], missing=missing)
    assert "must be mounted on ordinary directory" in answer["error"]


@pytest.mark.row(42)
def test_a_proc_that_is_a_file_is_refused(bundle, missing):
    bundle.replace("proc").write_text("")
    assert "must be mounted on ordinary directory" in bundle.run([PROC], missing=missing)["error"]


@pytest.mark.parametrize("target", ["/proc", "proc/sys", "/proc/self", "../../proc/1"])
@pytest.mark.row(42)
def test_a_link_does_not_lead_a_mount_into_proc(bundle, missing, target):
    (bundle.rootfs / "innocent").symlink_to(target)
    mount = {"destination": "/innocent", "type": "tmpfs", "source": "t"}
    assert "inside /proc" in bundle.run([PROC, mount], missing=missing)["error"]
    mount = {"destination": "/innocent", "source": "/tmp", "options": ["bind"]}
    assert "inside /proc" in bundle.run([PROC, mount], missing=missing)["error"]


@pytest.mark.row(42)
def test_only_a_real_procfs_is_bound_on_proc(bundle, missing):
    (bundle.path / "fake").mkdir()
    mount = {"destination": "/proc", "source": "fake", "options": ["bind"]}
    assert "only a procfs" in bundle.run([mount], missing=missing)["error"]
    assert "only a procfs" in bundle.run([{**mount, "source": "/proc/sys"}], missing=missing)["error"]
    assert "error" not in bundle.run([{**mount, "source": "/proc", "options": ["rbind"]}], missing=missing)


@pytest.mark.row(42)
def test_files_that_lxcfs_emulates_may_be_bound(bundle, missing):
    (bundle.path / "meminfo").write_text("fake\n")
    mounts = [PROC, {"destination": "/proc/meminfo", "source": "meminfo", "options": ["bind", "ro"]}]
    assert bundle.run(mounts, 'answer["t"] = open("/proc/meminfo").read()', missing=missing)["t"] == "fake\n"


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"destination": "/m", "type": "nosuchfs", "source": "x"}, "no such device"),
        ({"destination": "/m", "source": "/no/such/source", "options": ["bind"]}, "no such file or directory"),
        ({"destination": "/m", "type": "tmpfs", "source": "t", "options": ["size=potato"]}, "invalid argument"),
        ({"destination": "/etc/passwd/x", "type": "tmpfs", "source": "t"}, "not a directory"),
        ({"destination": "/etc", "source": "/etc/passwd", "options": ["bind"]}, "is a directory"),
        ({"destination": "/m", "options": ["remount", "ro"]}, "no such file or directory"),
        ({"destination": "/tmp", "options": ["remount", "ro"]}, "invalid argument"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_goes_wrong_is_said_with_its_destination(bundle, missing, mount, message):
    (bundle.rootfs / "etc/passwd").touch()
    error = bundle.run([PROC, mount], missing=missing)["error"]
    assert message in error.lower() and (mount["destination"] in error or mount["source"] in error)


@pytest.mark.row(40)
def test_the_kernels_own_words_are_in_the_error(bundle):
    mounts = [PROC, {"destination": "/m", "type": "tmpfs", "source": "t", "options": ["size=potato"]}]
    assert "Bad value for 'size'" in bundle.run(mounts)["error"]


@pytest.mark.row(40)
def test_long_options_go_another_way(bundle):
    """fsconfig takes 255 bytes of a value; overlay's lowerdir is often longer."""
    lower = []
    for index in range(12):
        name = f"layer-{index}-" + "x" * 20
        (bundle.path / name).mkdir()
        (bundle.path / name / f"f{index}").touch()
        lower.append(str(bundle.path / name))
    mounts = [PROC, {"destination": "/o", "type": "overlay", "source": "overlay",
                     "options": ["lowerdir=" + ":".join(lower), "ro"]}]  # fmt: skip
    answer = bundle.run(mounts, MOUNTS + 'answer["n"] = len(os.listdir("/o"))')
    assert answer["n"] == 12 and "ro" in answer["m"]["/o"]["options"]


@pytest.mark.row(43)
def test_locked_flags_are_kept_in_a_user_namespace_and_cannot_be_cleared(bundle, missing):
    locked = next((row for row in host_mounts() if row[1] == "tmpfs" and "nosuid" in row[2]), None)
    if locked is None:
        pytest.skip("the host has no tmpfs with locked flags")
    bundle.give_away()
    user = {"within": IN_USER_NS, "in_userns": True, "missing": missing}
    mount = {"destination": "/dst", "source": locked[0], "options": ["rbind", "noexec"]}
    kept = set(bundle.run([PROC, mount], MOUNTS, **user)["m"]["/dst"]["options"])
    assert {"nosuid", "noexec"} <= kept
    mount["options"] = ["rbind", "suid"]
    assert "operation not permitted" in bundle.run([PROC, mount], **user)["error"]


def host_mounts() -> list[tuple[str, str, list[str]]]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split(" - ") for line in file]
    return [(head.split()[4], tail.split()[0], head.split()[5].split(",")) for head, tail in rows]


@pytest.mark.row(45)
def test_sysfs_of_the_hosts_network_in_a_user_namespace_is_the_hosts_read_only(bundle, missing):
    bundle.give_away()
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    answer = bundle.run(
        [PROC, SYS], MOUNTS, within=IN_USER_NS, in_userns=True, missing=missing, keep_network=True,
        linux={"namespaces": [{"type": word} for word in ("user", "mount", "pid")], "uidMappings": maps,
               "gidMappings": maps},
    )  # fmt: skip
    if missing and "mount_setattr" in missing:
        assert "mount_setattr" in answer["error"]  # there is no safe way without it
        return
    below = [point for point in answer["m"] if point == "/sys" or point.startswith("/sys/")]
    assert len(below) > 1
    for point in below:
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(answer["m"][point]["options"])


def test_a_moved_root_leaves_no_way_back(bundle, missing):
    probe = MOUNTS + 'answer["up"] = os.listdir("/..") == os.listdir("/")'
    answer = bundle.run([PROC, DEV, PTS, SYS], probe, missing=missing, no_pivot=True)
    assert answer["up"] and list(answer["m"]) == ["/", "/proc", "/dev", "/dev/pts", "/sys"]


def test_without_a_mount_namespace_the_hosts_propagation_stays(bundle):
    """The mounts lie below the root's own, so that one lazy unmount removes them."""
    probe = "from capsule.rootfs import pivot\n"
    answer = bundle.run(None, MOUNTS + probe, has_mount_ns=False)
    assert list(answer["m"]) == ["/", "/proc", "/dev", "/dev/pts"]


@pytest.mark.parametrize("own", [True, False], ids=["cgroupns", "host"])
@pytest.mark.parametrize("words", [["ro"], []], ids=["ro", "rw"])
@pytest.mark.row(44)
def test_cgroup_v1_is_one_directory_a_hierarchy(bundle, missing, own, words):
    rows = [(name, name, f"/sys/fs/cgroup/{name}") for name in ("memory", "pids") if
            os.path.isdir(f"/sys/fs/cgroup/{name}")]  # fmt: skip
    if not rows:
        pytest.skip("no cgroup v1 hierarchies")
    kinds = ["pid", "mount", "ipc", "network"] + (["cgroup"] if own else [])
    answer = bundle.run(
        [PROC, SYS, {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": words}],
        MOUNTS + 'answer["tasks"] = os.path.exists("/sys/fs/cgroup/pids/tasks")', cgroup_mounts=rows, missing=missing,
        linux={"namespaces": [{"type": kind} for kind in kinds]},
        within=[*IN_MOUNT_NS, "--cgroup"] if own else IN_MOUNT_NS,
    )  # fmt: skip
    assert answer["tasks"], answer
    for point in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"):
        assert ("ro" in answer["m"][point]["options"]) == bool(words)


@pytest.mark.row(44)
def test_links_name_each_of_several_controllers(bundle):
    rows = [("cpu,cpuacct", "cpu", "/sys/fs/cgroup/cpu"), ("unified", "", "/sys/fs/cgroup/unified")]
    if not all(os.path.isdir(row[2]) for row in rows):
        pytest.skip("no cgroup v1 hierarchies")
    probe = 'answer["l"] = {n: os.readlink("/c/" + n) for n in os.listdir("/c") if os.path.islink("/c/" + n)}'
    answer = bundle.run([PROC, {"destination": "/c", "type": "cgroup", "source": "c"}], probe, cgroup_mounts=rows)
    assert answer["l"] == {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}


@pytest.mark.row(44)
def test_cgroup_v2_alone_is_mounted_itself(bundle, missing):
    if not os.path.isdir("/sys/fs/cgroup/unified"):
        pytest.skip("no unified hierarchy")
    rows = [("", "", "/sys/fs/cgroup/unified")]
    mount = {"destination": "/c", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    answer = bundle.run([PROC, mount], MOUNTS, cgroup_mounts=rows, missing=missing)
    assert answer["m"]["/c"]["type"] == "cgroup2" and "ro" in answer["m"]["/c"]["options"]


def test_without_a_mount_namespace_one_unmount_leaves_the_host_as_it_was(bundle, tmp_path):
    """The tree is shared, as systemd leaves it: its propagation must not change either."""
    config = {"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": True}, "mounts": [PROC, DEV, PTS],
              "linux": {"namespaces": [{"type": "pid"}]}}  # fmt: skip
    (tmp_path / "request").write_text(
        json.dumps({"bundle": str(bundle.path), "config": config, "has_mount_ns": False})
    )
    script = """
        set -e
        mount --make-rshared /
        cat /proc/self/mountinfo > before
        "$1" -c "$4; print(*host_tree.before(sys.argv[1]))" "$3" > place
        unshare -p -f "$1" "$2" < request > answer
        cat /proc/self/mountinfo > between
        "$1" -c "$4; host_tree.restore(sys.argv[1], int(sys.argv[2]))" $(cat place)
        cat /proc/self/mountinfo > after
    """
    subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, str(CHILD),
         str(bundle.rootfs), "import sys; from capsule.rootfs import host_tree"],
        cwd=tmp_path, check=True, timeout=60, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert json.loads((tmp_path / "answer").read_text()) == {"leaked": []}
    between = (tmp_path / "between").read_text()
    assert between.startswith((tmp_path / "before").read_text()) and f"{bundle.rootfs}/dev/pts" in between
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
