"""What load_config makes of documents that are acceptable."""

from __future__ import annotations

import json
import os

import pytest
from helpers.config import REMOVED, encoded

from capsule.errors import CapsuleError
from capsule.spec.load import load_config, load_process, load_resources, read_file


def test_a_small_config_fills_the_model() -> None:
    data = encoded(("root.readonly", True), ("annotations", {"a": "b"}), ("linux.cgroupsPath", "/c/d"))
    config = load_config(data)
    assert (config.oci_version, config.root_path, config.root_readonly) == ("1.3.0", "rootfs", True)
    assert (config.hostname, config.domainname, config.annotations) == ("box", None, {"a": "b"})
    assert config.namespaces == [("pid", None), ("network", None), ("ipc", None), ("uts", None), ("mount", None)]
    assert (config.cgroups_path, config.resources, config.seccomp) == ("/c/d", {}, None)
    assert config.raw == data
    assert [(m.destination, m.type, m.source, m.options) for m in config.mounts] == [("/proc", "proc", "proc", [])]


def test_a_process_fills_the_model() -> None:
    process = load_config(encoded(("process", {
        "terminal": True, "consoleSize": {"height": 25, "width": 80}, "cwd": "/tmp", "args": ["sh", "-c", ""],
        "env": ["A=b=c", "E="], "user": {"uid": 4294967294, "gid": 7, "umask": 63, "additionalGids": [5, 6]},
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_NEW"], "ambient": []}, "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}], "oomScoreAdj": -5,
    }))).process
    assert process is not None
    assert (process.terminal, process.console_size, process.cwd) == (True, (25, 80), "/tmp")
    assert (process.args, process.env) == (["sh", "-c", ""], ["A=b=c", "E="])
    assert (process.uid, process.gid, process.umask, process.additional_gids) == (4294967294, 7, 63, [5, 6])
    assert process.capabilities == {"bounding": ["CAP_CHOWN", "CAP_NEW"], "ambient": []}
    assert process.rlimits == [("RLIMIT_NOFILE", 1024, 2**64 - 1)]
    assert (process.no_new_privileges, process.oom_score_adj) == (True, -5)


def test_the_linux_section_fills_the_model() -> None:
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 5000, "size": 10}]
    config = load_config(encoded(
        ("linux.namespaces.+", {"type": "user"}), ("linux.namespaces.+", {"type": "time"}),
        ("linux.namespaces.1.path", "/run/netns/x"), ("linux.uidMappings", maps), ("linux.gidMappings", maps[:1]),
        ("linux.timeOffsets", {"monotonic": {"secs": -7, "nanosecs": 1}, "boottime": {"secs": 3}}),
        ("linux.rootfsPropagation", "rslave"), ("linux.maskedPaths", ["/proc/kcore"]),
        ("linux.readonlyPaths", ["/proc/sys"]), ("domainname", "d"),
        ("linux.devices", [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o20666, "uid": 1},
                           {"type": "p", "path": "/dev/fifo"}]),
    ))
    assert config.namespaces[1] == ("network", "/run/netns/x")
    assert (config.uid_mappings, config.gid_mappings) == ([(0, 1000, 1), (1, 5000, 10)], [(0, 1000, 1)])
    assert config.time_offsets == {"monotonic": (-7, 1), "boottime": (3, 0)}
    assert (config.rootfs_propagation, config.domainname) == ("rslave", "d")
    assert (config.masked_paths, config.readonly_paths) == (["/proc/kcore"], ["/proc/sys"])
    assert [(d.type, d.path, d.major, d.minor, d.file_mode, d.uid, d.gid) for d in config.devices] == [
        ("c", "/dev/fuse", 10, 229, 0o666, 1, None), ("p", "/dev/fifo", 0, 0, None, None, None)]


def test_hooks_without_args_have_their_path_as_argv() -> None:
    config = load_config(encoded(("hooks", {
        "poststop": [{"path": "/b", "args": ["b", "c"], "env": ["A=1"], "timeout": 3}, {"path": "/d"}], "prestart": [],
    })))
    assert list(config.hooks) == ["poststop"]
    assert [(h.path, h.args, h.env, h.timeout) for h in config.hooks["poststop"]] == [
        ("/b", ["b", "c"], ["A=1"], 3), ("/d", ["/d"], None, None)]


def test_user_namespace_by_path_needs_no_mappings() -> None:
    assert load_config(encoded(("linux.namespaces.+", {"type": "user", "path": "/u"}))).uid_mappings == []


def test_a_config_without_process_or_linux_is_acceptable() -> None:
    config = load_config(b'{"ociVersion":"1.0.0","root":{"path":"/r"},"windows":{"x":[]},"vm":1}')
    assert (config.process, config.namespaces, config.mounts) == (None, [], [])


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.0", "1.0.0-rc.1+build.01", "1.0.0+x-y"])
def test_every_minor_of_major_one_is_acceptable(version: str) -> None:
    assert load_config(encoded(("ociVersion", version))).oci_version == version


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    config = load_config(encoded(
        ("HOSTNAME", "other"), ("hostname", REMOVED), ("process.CWD", "/tmp"), ("process.cwd", REMOVED),
        ("linux.Resources", {"CPU": {"Cpus": "1"}, "hugepageLimits": [{"pagesize": "2MB", "limit": 1}], "new": {}}),
        ("process.commandLine", 5), ("process.user.username", {}), ("x-vendor", None),
    ))
    assert config.hostname == "other"
    assert config.process is not None
    assert config.process.cwd == "/tmp"
    assert config.resources == {"cpu": {"cpus": "1"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}


def test_null_is_absent() -> None:
    config = load_config(encoded(
        ("hooks", None), ("mounts", None), ("process.env", None), ("process.user.umask", None),
        ("annotations", {"a": None}), ("process.capabilities", None), ("linux.seccomp", None),
        ("linux.resources", {"pids": None, "cpu": {"quota": None}}),
    ))
    assert (config.hooks, config.mounts, config.annotations, config.seccomp) == ({}, [], {}, None)
    assert config.resources == {"cpu": {}}


def test_console_size_counts_only_with_a_terminal() -> None:
    config = load_config(encoded(("process.consoleSize", {"height": 1, "width": 70000})))
    assert config.process is not None
    assert config.process.console_size is None


def test_extreme_integers_stay_exact() -> None:
    resources = load_config(encoded(("linux.resources", {
        "memory": {"limit": 2**63 - 1, "swap": -1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}]},
    }))).resources
    assert resources == {
        "memory": {"limit": 2**63 - 1, "swap": -1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}]},
    }


def test_seccomp_keeps_its_tree() -> None:
    tree = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                      "args": [{"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_EQ"}]},
                     {"names": ["clone"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}],
    }
    assert load_config(encoded(("linux.seccomp", tree))).seccomp == tree
    assert load_config(encoded(("linux.seccomp", {}))).seccomp is None


@pytest.mark.parametrize(("key", "path"), [
    ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
    ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
    ("net/ipv4/conf/eno2.100/forwarding", "net/ipv4/conf/eno2.100/forwarding"),
    ("net.ipv4.conf.eno2/100.forwarding", "net/ipv4/conf/eno2.100/forwarding"),
    ("kernel.msgmax", "kernel/msgmax"),
    ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
    ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
    ("kernel.domainname", "kernel/domainname"),
])
@pytest.mark.row(66)
def test_sysctl_keys_become_paths(key: str, path: str) -> None:
    assert load_config(encoded(("linux.sysctl", {key: "1 + 2"}))).sysctl == {path: "1 + 2"}


@pytest.mark.row(4)
def test_domainname_may_be_said_twice_alike() -> None:
    assert load_config(encoded(("domainname", "a"), ("linux.sysctl", {"kernel.domainname": "a"}))).domainname == "a"


@pytest.mark.parametrize("mount", [
    {"destination": "tmp/mount-1", "type": "bind", "source": "/x"},
    {"destination": "/x", "source": ".", "options": ["bind", "rprivate", "rro"]},
    {"destination": "/x", "options": ["rslave"]},
    {"destination": "/x", "options": ["remount", "ro"]},
    {"destination": "/x", "type": "none", "source": "/sys", "options": ["rbind"]},
    {"destination": "/x", "type": "overlay", "source": "overlay", "options": ["lowerdir=/a:/b", "nosiud"]},
])
def test_mounts_as_engines_write_them_are_acceptable(mount: dict) -> None:
    assert load_config(encoded(("mounts", [mount]))).mounts[0].destination == mount["destination"]


def test_swappiness_of_no_value_is_absent() -> None:
    assert load_resources(b'{"memory":{"swappiness":18446744073709551615,"limit":5}}') == {"memory": {"limit": 5}}


def test_a_process_document_without_env_is_acceptable() -> None:
    process = load_process(b'{"cwd":"/","args":["id"],"user":{"uid":5}}')
    assert (process.args, process.env, process.uid, process.gid) == (["id"], [], 5, 0)


def test_read_file_reads_files_and_pipes(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"x" * 200000)
    assert read_file(str(path)) == b"x" * 200000
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    assert read_file(f"/dev/fd/{reader}") == b"abc"
    with os.fdopen(reader, "rb"):
        assert read_file(reader) == b""


def test_read_file_names_what_is_missing(tmp_path) -> None:
    with pytest.raises(CapsuleError) as caught:
        read_file(f"{tmp_path}/p.json")
    assert str(caught.value) == f"open {tmp_path}/p.json: no such file or directory"
    with pytest.raises(CapsuleError, match=f"^JSON specification file config.json not found in {tmp_path}$"):
        read_file(f"{tmp_path}/config.json")
    with pytest.raises(CapsuleError, match=f"^bundle {tmp_path}/none: no such file or directory$"):
        read_file(f"{tmp_path}/none/config.json")
    with pytest.raises(CapsuleError, match="not a regular file or a pipe$"):
        read_file(str(tmp_path))
    with pytest.raises(CapsuleError, match="not a regular file or a pipe$"):
        read_file("/dev/zero")
    with pytest.raises(CapsuleError, match="a path cannot hold NUL$"):
        read_file("a\0b")


def test_read_file_stops_at_the_limit(tmp_path) -> None:
    path = tmp_path / "big"
    with open(path, "wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(CapsuleError, match="larger than 16 MiB$"):
        read_file(str(path))
    os.truncate(path, 16 << 20)
    assert len(read_file(str(path))) == 16 << 20


def test_loading_is_deterministic() -> None:
    data = encoded(("linux.resources", {"pids": {"limit": 0}}))
    assert load_config(data).resources == load_config(data).resources == {"pids": {"limit": 0}}
    assert json.loads(data)["linux"]["resources"] == {"pids": {"limit": 0}}
