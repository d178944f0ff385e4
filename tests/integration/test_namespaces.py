"""Namespaces, new and joined, id maps and time offsets, as the payload and the host see them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.payload import mountinfo
from helpers.requires import requires
from helpers.rootfs import KERNELS, without
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc")

WORDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt",
         "cgroup": "cgroup", "user": "user", "time": "time"}


def ours(name: str) -> int:
    return os.stat(f"/proc/self/ns/{name}").st_ino


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup"])
@pytest.mark.row(50)
def test_a_namespace_that_is_listed_is_new(capsule, bundle, kind):
    facts = capsule.probe(bundle().namespace(kind))
    assert facts["ns"][WORDS[kind]] != ours(WORDS[kind])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user", "time"])
@pytest.mark.row(53)
def test_a_namespace_that_is_not_listed_is_the_callers(capsule, bundle, kind):
    box = bundle().without_namespace(kind)
    if kind == "uts":
        del box.config["hostname"]
    if kind == "network":
        box.without_mount("/sys")
    if kind == "ipc":
        box.without_mount("/dev/mqueue")
    facts = capsule.probe(box)
    assert facts["ns"][WORDS[kind]] == ours(WORDS[kind])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
@pytest.mark.row(50, 52)
def test_a_namespace_by_path_is_joined(capsule, bundle, kind):
    first = bundle(["/payload", "pause"]).namespace(kind)
    pid = capsule.start_container(first)
    path = f"/proc/{pid}/ns/{WORDS[kind]}"
    wanted = os.stat(path).st_ino
    second = bundle().namespace(kind, path)
    if kind == "uts":
        del second.config["hostname"]
    assert capsule.probe(second)["ns"][WORDS[kind]] == wanted
    assert capsule.status(first) == "running"


@pytest.mark.row(52)
def test_several_namespaces_of_another_container(capsule, bundle):
    first = bundle(["/payload", "pause"])
    pid = capsule.start_container(first)
    second = bundle()
    del second.config["hostname"]
    wanted = {}
    for kind in ("pid", "network", "ipc", "uts"):
        path = f"/proc/{pid}/ns/{WORDS[kind]}"
        wanted[WORDS[kind]] = os.stat(path).st_ino
        second.namespace(kind, path)
    facts = capsule.probe(second)
    assert {name: facts["ns"][name] for name in wanted} == wanted
    assert facts["hostname"] == "box"


@pytest.mark.parametrize("missing", KERNELS.values(), ids=KERNELS)
@pytest.mark.row(52)
def test_proc_shows_the_processes_of_a_joined_pid_namespace(capsule, bundle, missing):
    """A procfs shows its maker's: made outside, it would tell the container all about the host's processes."""
    first = bundle(["/payload", "pause"])
    pid = capsule.start_container(first)
    second = bundle(["/bin/sh", "-c", "cat /proc/1/cmdline; echo; cd /proc; echo [0-9]*; readlink self"])
    second.namespace("pid", f"/proc/{pid}/ns/pid")
    first_program, numbers, own = capsule.run(second, scene=without(missing)).lines
    assert first_program == "/payload\0pause\0"
    assert len(numbers.split()) == 2, numbers
    assert int(own) > 1


def test_killing_a_guest_of_a_pid_namespace_leaves_its_host(capsule, bundle):
    first = bundle(["/payload", "pause"])
    pid = capsule.start_container(first)
    second = bundle(["/payload", "pause"]).namespace("pid", f"/proc/{pid}/ns/pid")
    capsule.start_container(second)
    capsule.kill(second, "9")
    capsule.wait_status(second, "stopped")
    assert capsule.status(first) == "running"


@requires("ip")
@pytest.mark.row(52, 175)
def test_a_named_network_namespace_is_joined_and_stays(capsule, bundle, workdir):
    path = workdir / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        wanted = os.stat(path).st_ino
        assert capsule.probe(bundle().namespace("network", str(path)))["ns"]["net"] == wanted
        assert os.stat(path).st_ino == wanted
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.row(50)
def test_the_first_process_is_pid_1_of_a_new_pid_namespace(capsule, bundle):
    facts = capsule.probe(bundle())
    assert (facts["pid"], facts["ppid"]) == (1, 0)


def test_a_new_network_namespace_has_loopback_up(capsule, bundle):
    box = bundle().shell("ip -o link; ip -o addr show lo")
    lines = capsule.run(box).lines
    assert len([line for line in lines if "link/" in line]) == 1
    assert any("127.0.0.1/8" in line for line in lines)


def test_the_hostname_of_the_host_is_untouched(capsule, bundle):
    before = os.uname().nodename
    capsule.probe(bundle())
    assert os.uname().nodename == before


@pytest.mark.row(52)
@pytest.mark.parametrize(("kind", "file"), [("ipc", "net"), ("network", "uts"), ("pid", "ipc")])
def test_a_path_of_another_kind_is_refused(capsule, bundle, kind, file):
    box = bundle().namespace(kind, f"/proc/self/ns/{file}").edit(lambda c: c.pop("hostname", None))
    err = capsule.run(box, rc=FAILS).err
    if capsule.name == "capsule":
        found = {"net": "network"}.get(file, file)
        assert f"expected a {kind} namespace at /proc/self/ns/{file}: it is a {found} namespace" in err
    assert not capsule.exists(box)


@pytest.mark.row(52)
@pytest.mark.parametrize(("path", "words"), [
    ("/nowhere", "linux.namespaces[4].path: /nowhere: no such file or directory"),
    ("/etc/hostname", "expected a network namespace at /etc/hostname: it is no namespace"),
    ("/", "expected a network namespace at /: it is no namespace"),
    ("relative", "expected an absolute path")])
def test_a_path_that_is_no_namespace_is_refused(capsule, bundle, path, words):
    box = bundle().namespace("network", path)
    err = capsule.run(box, rc=FAILS).err
    assert words in err or capsule.name != "capsule"
    assert not capsule.exists(box)


@pytest.mark.row(51)
def test_the_same_namespace_twice_is_refused(capsule, bundle):
    box = bundle()
    box.linux["namespaces"].append({"type": "pid"})
    err = capsule.run(box, rc=FAILS).err
    assert "is given twice" in err or capsule.name != "capsule"


def test_an_unknown_namespace_is_refused(capsule, bundle):
    box = bundle()
    box.linux["namespaces"].append({"type": "flavour"})
    capsule.run(box, rc=FAILS)


def test_a_hostname_without_a_uts_namespace_is_refused(capsule, bundle):
    capsule.run(bundle().without_namespace("uts"), rc=FAILS)


# User namespaces

@requires("userns")
@pytest.mark.row(50, 54)
def test_a_user_namespace_maps_ids_as_listed(capsule, bundle):
    box = bundle().user_namespace()
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000},
                                {"containerID": 1000, "hostID": 300000, "size": 10}]
    box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 5000}]
    facts = capsule.probe(box)
    assert [line.split() for line in facts["uid_map"].splitlines()] == [
        ["0", "100000", "1000"], ["1000", "300000", "10"]]
    assert [line.split() for line in facts["gid_map"].splitlines()] == [["0", "100000", "5000"]]
    assert facts["ns"]["user"] != ours("user")
    assert (facts["uid"], facts["gid"]) == ([0] * 3, [0] * 3)


@requires("userns")
@pytest.mark.row(54)
def test_the_host_sees_the_mapped_user(capsule, bundle):
    box = bundle(["/payload", "pause"]).user_namespace().user(7, 8, 9)
    pid = capsule.start_container(box)
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Uid"].split()[0] == "100007"
    assert status["Gid"].split()[0] == "100008"
    assert status["Groups"].split() == ["100009"]


@requires("userns")
@pytest.mark.row(58)
def test_a_user_namespace_has_every_mount_and_device(capsule, bundle):
    facts = capsule.probe(bundle().user_namespace())
    points = mountinfo(facts)
    assert {"/", "/proc", "/dev", "/dev/pts", "/sys", "/dev/null", "/dev/zero"} <= set(points)


@requires("userns")
def test_capabilities_of_container_root_are_those_listed(capsule, bundle):
    facts = capsule.probe(bundle().user_namespace().capabilities("CAP_KILL"))
    assert (facts["caps"]["effective"], facts["caps"]["bounding"]) == (1 << 5, 1 << 5)


@requires("userns")
def test_root_of_a_user_namespace_may_be_unmapped(capsule, bundle):
    box = bundle().user_namespace().user(5, 5)
    box.linux["uidMappings"] = [{"containerID": 5, "hostID": 100000, "size": 1}]
    box.linux["gidMappings"] = [{"containerID": 5, "hostID": 100000, "size": 1}]
    facts = capsule.run(box, rc=None)
    if facts.rc == 0:
        assert facts.json["uid"] == [5, 5, 5]


@requires("userns")
@pytest.mark.rival(runc="1.1.5 wants the maps again")
@pytest.mark.row(52, 54)
def test_a_user_namespace_by_path(capsule, bundle):
    first = bundle(["/payload", "pause"]).user_namespace()
    pid = capsule.start_container(first)
    second = bundle().own_rootfs(100000)
    second.namespace("user", f"/proc/{pid}/ns/user")
    facts = capsule.probe(second)
    assert facts["ns"]["user"] == os.stat(f"/proc/{pid}/ns/user").st_ino
    assert facts["uid"] == [0, 0, 0]


@requires("userns")
@pytest.mark.row(55)
@pytest.mark.rival(runc="1.1.5 wants other maps", crun="does not compare them", strict=False)
def test_a_user_namespace_by_path_beside_its_own_mappings(capsule, bundle):
    """The same mappings, in any order, say nothing new; others contradict the namespace."""
    ranges = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 300000, "size": 10}]
    first = bundle(["/payload", "pause"]).user_namespace()
    first.linux.update(uidMappings=ranges, gidMappings=ranges)
    path = f"/proc/{capsule.start_container(first)}/ns/user"
    second = bundle().own_rootfs(100000).namespace("user", path)
    second.linux.update(uidMappings=ranges[::-1], gidMappings=ranges)
    assert capsule.probe(second)["ns"]["user"] == os.stat(path).st_ino
    third = bundle().own_rootfs(100000).namespace("user", path)
    third.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 999}]
    err = capsule.run(third, rc=1).err
    assert ("linux.gidMappings: the user namespace that is joined maps otherwise: 0 100000 1000, 1000 300000 10"
            in err)
    assert not capsule.exists(third)


@requires("userns")
def test_a_source_only_host_root_may_read_can_be_bound(capsule, bundle, workdir):
    private = workdir / "private"
    (private / "share").mkdir(parents=True)
    (private / "share/file").write_text("content")
    private.chmod(0o700)
    box = bundle().user_namespace().bind(private / "share", "/data")
    assert capsule.run(box.shell("cat /data/file")).out == "content"


@requires("userns")
@pytest.mark.rival(runc="1.1.5 ignores it", crun="ignores it")
@pytest.mark.row(54)
def test_a_map_without_a_user_namespace_is_refused(capsule, bundle):
    box = bundle()
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    assert "linux.uidMappings: needs a user namespace in linux.namespaces" in capsule.run(box, rc=FAILS).err


@requires("userns")
@pytest.mark.row(54)
def test_a_user_namespace_without_a_map_is_refused(capsule, bundle):
    err = capsule.run(bundle().namespace("user"), rc=FAILS).err
    assert "linux.uidMappings: is required for a new user namespace" in err or capsule.name != "capsule"


@requires("userns")
def test_a_user_outside_the_map_is_refused(capsule, bundle):
    box = bundle().user_namespace(size=10).user(50, 0)
    capsule.run(box, rc=FAILS)
    assert not capsule.exists(box)


@requires("userns")
@pytest.mark.row(54)
def test_340_ranges_arrive_unchanged(capsule, bundle):
    box = bundle().user_namespace(1000)
    ranges = [{"containerID": n, "hostID": 1000 + n * 2, "size": 1} for n in range(340)]
    box.linux["uidMappings"] = ranges
    facts = capsule.probe(box)
    assert [tuple(map(int, line.split())) for line in facts["uid_map"].splitlines()] == [
        (entry["containerID"], entry["hostID"], 1) for entry in ranges]


# Time namespaces

@requires("timens")
@pytest.mark.rival(runc="1.1.5 does not know time namespaces")
@pytest.mark.row(50, 56)
def test_time_offsets(capsule, bundle):
    box = bundle().namespace("time")
    box.linux["timeOffsets"] = {"monotonic": {"secs": 5000000, "nanosecs": 5},
                                "boottime": {"secs": 9000000}}
    facts = capsule.probe(box)
    offsets = {line.split()[0]: line.split()[1:] for line in facts["timens_offsets"].splitlines()}
    assert offsets == {"monotonic": ["5000000", "5"], "boottime": ["9000000", "0"]}
    assert facts["monotonic"] >= 5000000
    assert facts["ns"]["time"] == facts["ns"]["time_for_children"] != ours("time")


@requires("timens", "userns")
@pytest.mark.rival(runc="1.1.5 does not know time namespaces")
@pytest.mark.row(56)
def test_time_offsets_in_a_user_namespace(capsule, bundle):
    box = bundle().user_namespace().namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 777}}
    facts = capsule.probe(box)
    assert ["boottime", "777", "0"] in [line.split() for line in facts["timens_offsets"].splitlines()]


@requires("timens")
@pytest.mark.rival(runc="1.1.5 does not know time namespaces")
@pytest.mark.row(52)
def test_a_time_namespace_by_path(capsule, bundle):
    first = bundle(["/payload", "pause"]).namespace("time")
    first.linux["timeOffsets"] = {"monotonic": {"secs": 4000000}}
    pid = capsule.start_container(first)
    facts = capsule.probe(bundle().namespace("time", f"/proc/{pid}/ns/time"))
    assert facts["ns"]["time"] == os.stat(f"/proc/{pid}/ns/time").st_ino
    assert facts["monotonic"] >= 4000000


@requires("timens")
@pytest.mark.rival(runc="1.1.5 does not know time namespaces")
@pytest.mark.row(56)
def test_exec_has_the_containers_clocks(capsule, bundle):
    box = bundle(["/payload", "pause"]).namespace("time")
    box.linux["timeOffsets"] = {"monotonic": {"secs": 4000000}}
    pid = capsule.start_container(box)
    facts = capsule.probe_exec(box)
    assert facts["monotonic"] >= 4000000
    assert facts["ns"]["time"] == os.stat(f"/proc/{pid}/ns/time").st_ino


@pytest.mark.row(56)
@pytest.mark.rival(runc="1.1.5 ignores them", crun="ignores them")
def test_time_offsets_without_a_time_namespace_are_refused(capsule, bundle):
    box = bundle()
    box.linux["timeOffsets"] = {"monotonic": {"secs": 1}}
    assert "linux.timeOffsets: needs a time namespace in linux.namespaces" in capsule.run(box, rc=FAILS).err

