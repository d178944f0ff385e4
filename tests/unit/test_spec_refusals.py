"""Configurations with one fault each: the message names the JSON path, what was expected and what was there."""

from __future__ import annotations

import json

import pytest
from helpers.config import REMOVED, encoded

from capsule.errors import SpecError, Unsupported
from capsule.spec.load import load_config, load_process, load_resources

ID = "expected an integer from 0 to 4294967294, got "
RULE = "linux.seccomp.syscalls[0]"
MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}]
USERNS = ("linux.namespaces.+", {"type": "user"})
MAPPED = (USERNS, ("linux.uidMappings", MAPS), ("linux.gidMappings", MAPS))


def seccomp(**fields: object) -> tuple[str, object]:
    return ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", **fields})


def rule(**fields: object) -> tuple[str, object]:
    return seccomp(syscalls=[{"names": ["read"], "action": "SCMP_ACT_ERRNO", **fields}])


def mount(**fields: object) -> tuple[str, object]:
    return ("mounts", [{"destination": "/x", "type": "tmpfs", "source": "tmpfs", **fields}])


def device(**fields: object) -> tuple[str, object]:
    return ("linux.devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3, **fields}])


def resource(path: str, value: object) -> tuple[str, object]:
    return (f"linux.resources.{path}", value)


# (edits, JSON path, cause)
TOP = [
    ([("ociVersion", REMOVED)], "ociVersion", "is required"),
    ([("ociVersion", "")], "ociVersion", "is required"),
    ([("ociVersion", None)], "ociVersion", "is required"),
    ([("ociVersion", 1.3)], "ociVersion", "expected a string, got 1.3"),
    ([("ociVersion", "2.0.0")], "ociVersion", 'expected major version 1, got "2.0.0"'),
    ([("ociVersion", "0.5.0-dev")], "ociVersion", 'expected major version 1, got "0.5.0-dev"'),
    *[([("ociVersion", text)], "ociVersion", f'expected a semantic version such as 1.3.0, got "{text}"')
      for text in ("1.0", "v1.0.0", "1.0.0.0", "1.00.0", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0-01", " 1.0.0",
                   "1.٣.0")],
    ([("root", REMOVED)], "root", "is required"),
    ([("root", {})], "root.path", "is required"),
    ([("root.path", "")], "root.path", "is required"),
    ([("root.path", ["rootfs"])], "root.path", "expected a string, got an array"),
    ([("root.readonly", "yes")], "root.readonly", 'expected true or false, got the string "yes"'),
    ([("root", "rootfs")], "root", 'expected an object, got the string "rootfs"'),
    ([("annotations", {"": "x"})], "annotations", "expected keys that are not empty"),
    ([("annotations", {"a.b": 1})], 'annotations["a.b"]', "expected a string, got 1"),
    ([("annotations", [])], "annotations", "expected an object, got an array"),
    ([("hostname", "x" * 65)], "hostname", "expected at most 64 bytes, got 65"),
    ([("hostname", "é" * 33)], "hostname", "expected at most 64 bytes, got 66"),
    ([("linux.namespaces", [])], "hostname", "needs a uts namespace in linux.namespaces"),
    ([("hostname", ""), ("domainname", "d"), ("linux", {})], "domainname", "needs a uts namespace in linux.namespaces"),
]

PROCESS = [
    ([("process", [])], "process", "expected an object, got an array"),
    ([("process.terminal", 1)], "process.terminal", "expected true or false, got 1"),
    ([("process.cwd", REMOVED)], "process.cwd", "is required"),
    ([("process.cwd", "tmp")], "process.cwd", 'expected an absolute path, got "tmp"'),
    ([("process.args", REMOVED)], "process.args", "expected at least one argument, the program"),
    ([("process.args", [])], "process.args", "expected at least one argument, the program"),
    ([("process.args", "sh -c")], "process.args", 'expected an array, got the string "sh -c"'),
    ([("process.args", ["sh", 1])], "process.args[1]", "expected a string, got 1"),
    ([("process.args", ["sh", None])], "process.args[1]", "expected a string, got null"),
    ([("process.env", ["A=1", "B"])], "process.env[1]", 'expected NAME=value, got "B"'),
    ([("process.env", ["=x"])], "process.env[0]", 'expected NAME=value, got "=x"'),
    *[([("process.user.uid", value)], "process.user.uid", ID + text)
      for value, text in ((-1, "-1"), (-2, "-2"), (4294967295, "4294967295"), (2**32, "4294967296"),
                          (2**63, "9223372036854775808"), (2**64, "1.8446744073709552e+19"), (1.0, "1.0"),
                          (True, "true"), ("0", 'the string "0"'), ([0], "an array"))],
    ([("process.user.gid", 4294967295)], "process.user.gid", ID + "4294967295"),
    ([("process.user.gid", False)], "process.user.gid", ID + "false"),
    ([("process.user.additionalGids", [1, 4294967295])], "process.user.additionalGids[1]", ID + "4294967295"),
    ([("process.user.additionalGids", [1] * 65537)], "process.user.additionalGids", "expected at most 65536 groups"),
    ([("process.user.umask", 0o1000)], "process.user.umask", "expected an integer from 0 to 511, got 512"),
    ([("process.terminal", True), ("process.consoleSize", {"height": 1, "width": 65536})],
     "process.consoleSize.width", "expected an integer from 0 to 65535, got 65536"),
    ([("process.consoleSize", {"height": -1})], "process.consoleSize.height",
     "expected an integer from 0 to 4294967295, got -1"),
    ([("process.capabilities", ["CAP_CHOWN"])], "process.capabilities", "expected an object, got an array"),
    ([("process.capabilities", {"bounding": "CAP_CHOWN"})], "process.capabilities.bounding",
     'expected an array, got the string "CAP_CHOWN"'),
    ([("process.noNewPrivileges", "true")], "process.noNewPrivileges", 'expected true or false, got the string "true"'),
    ([("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}] * 2)], "process.rlimits[1].type",
     "RLIMIT_CPU is given twice"),
    ([("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 3, "hard": 2}])], "process.rlimits[0].soft",
     "expected at most the hard limit, 2, got 3"),
    ([("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 3}])], "process.rlimits[0].hard", "is required"),
    ([("process.rlimits", [{"soft": 3, "hard": 3}])], "process.rlimits[0].type", "is required"),
    ([("process.rlimits", [{"type": "RLIMIT_CPU", "soft": -1, "hard": 2}])], "process.rlimits[0].soft",
     "expected an integer from 0 to 18446744073709551615, got -1"),
    ([("process.oomScoreAdj", -1001)], "process.oomScoreAdj", "expected an integer from -1000 to 1000, got -1001"),
]

MOUNTS = [
    ([("mounts", {})], "mounts", "expected an array, got an object"),
    ([("mounts.+", None)], "mounts[1]", "expected an object, got null"),
    ([mount(destination="")], "mounts[0].destination", "is required"),
    ([mount(destination=None)], "mounts[0].destination", "is required"),
    ([mount(options="ro")], "mounts[0].options", 'expected an array, got the string "ro"'),
    ([mount(type=None)], "mounts[0].type", 'is required without a "bind", "rbind" or "remount" option'),
    ([mount(type="", options=["private", "ro"])], "mounts[0].type",
     'is required without a "bind", "rbind" or "remount" option'),
    ([mount(type="bind", source="")], "mounts[0].source", "is required for a bind mount"),
    ([mount(options=["rbind"], source=None)], "mounts[0].source", "is required for a bind mount"),
    ([mount(type="bind", options=["ro", "nosiud"])], "mounts[0].options[1]",
     "a bind mount has no option 'nosiud'; did you mean 'nosuid'?"),
    ([mount(options=["bind", "mode=755"])], "mounts[0].options[1]", "a bind mount has no option 'mode=755'"),
    ([mount(uidMappings=MAPS)], "mounts[0].gidMappings", "is required beside uidMappings"),
    ([mount(gidMappings=MAPS)], "mounts[0].uidMappings", "is required beside gidMappings"),
    ([mount(uidMappings=MAPS, gidMappings=MAPS * 2)], "mounts[0].gidMappings", "container id 0 is in two ranges"),
    ([mount(options=["ro", "idmap"])], "mounts[0].options[1]",
     "idmap needs uidMappings and gidMappings, of this mount or of a user namespace of the container"),
    ([mount(options=["ridmap"])], "mounts[0].options[0]",
     "ridmap needs uidMappings and gidMappings, of this mount or of a user namespace of the container"),
]

NAMESPACES = [
    ([("linux.namespaces.+", {"type": "pid"})], "linux.namespaces[5].type", '"pid" is given twice'),
    ([("linux.namespaces.+", {"type": "pid", "path": "/proc/1/ns/pid"})], "linux.namespaces[5].type",
     '"pid" is given twice'),
    ([("linux.namespaces.+", {"type": "net"})], "linux.namespaces[5].type",
     'expected one of pid, network, mount, ipc, uts, user, cgroup, time, got the string "net"'),
    ([("linux.namespaces.+", {"path": "/x"})], "linux.namespaces[5].type", "is required"),
    ([("linux.namespaces.0.path", "proc/1/ns/pid")], "linux.namespaces[0].path",
     'expected an absolute path, got "proc/1/ns/pid"'),
    ([("linux", [])], "linux", "expected an object, got an array"),
    ([("linux.uidMappings", MAPS)], "linux.uidMappings", "needs a user namespace in linux.namespaces"),
    ([("linux.gidMappings", MAPS)], "linux.gidMappings", "needs a user namespace in linux.namespaces"),
    ([USERNS], "linux.uidMappings", "is required for a new user namespace"),
    ([USERNS, ("linux.uidMappings", MAPS)], "linux.gidMappings", "is required for a new user namespace"),
    ([*MAPPED, ("linux.uidMappings.0.size", 0)], "linux.uidMappings[0].size",
     "expected an integer from 1 to 4294967295, got 0"),
    ([*MAPPED, ("linux.uidMappings.0.hostID", 4294967290)], "linux.uidMappings[0].size",
     "the range of 10 ids passes 4294967294"),
    ([*MAPPED, ("linux.uidMappings.0", {"containerID": 0, "size": 1})], "linux.uidMappings[0].hostID", "is required"),
    ([*MAPPED, ("linux.gidMappings.+", {"containerID": 9, "hostID": 5000, "size": 1})], "linux.gidMappings",
     "container id 9 is in two ranges"),
    ([*MAPPED, ("linux.gidMappings.+", {"containerID": 50, "hostID": 1009, "size": 1})], "linux.gidMappings",
     "host id 1009 is in two ranges"),
    ([*MAPPED, ("linux.uidMappings", [{"containerID": n, "hostID": n, "size": 1} for n in range(341)])],
     "linux.uidMappings", "expected at most 340 ranges, got 341"),
    ([("linux.timeOffsets", {"monotonic": {"secs": 1}})], "linux.timeOffsets",
     "needs a time namespace in linux.namespaces"),
    ([("linux.namespaces.+", {"type": "time", "path": "/t"}), ("linux.timeOffsets", {"boottime": {"secs": 1}})],
     "linux.timeOffsets", "cannot be set in a time namespace that is joined by its path"),
    ([("linux.namespaces.+", {"type": "time"}), ("linux.timeOffsets", {"realtime": {"secs": 1}})],
     "linux.timeOffsets.realtime", "expected the clock monotonic or boottime"),
    ([("linux.namespaces.+", {"type": "time"}), ("linux.timeOffsets", {"boottime": {"nanosecs": 10**9}})],
     "linux.timeOffsets.boottime.nanosecs", "expected an integer from 0 to 999999999, got 1000000000"),
    ([("linux.maskedPaths", ["/proc/kcore", "proc"])], "linux.maskedPaths[1]", 'expected an absolute path, got "proc"'),
    ([("linux.readonlyPaths", [""])], "linux.readonlyPaths[0]", 'expected an absolute path, got ""'),
    ([("linux", {"namespaces": [{"type": "uts"}], "maskedPaths": ["/a"]})], "linux.maskedPaths",
     "needs a mount namespace in linux.namespaces"),
    ([("linux", {"namespaces": [{"type": "uts"}], "readonlyPaths": ["/a"]})], "linux.readonlyPaths",
     "needs a mount namespace in linux.namespaces"),
    ([("linux.rootfsPropagation", "public")], "linux.rootfsPropagation",
     "expected one of shared, slave, private, unbindable, rshared, rslave, rprivate, runbindable, "
     'got the string "public"'),
]

HOST = "is not a setting of a namespace: it would change the host"
SPELLING = "expected names joined by dots or by slashes"
SYSCTL = [
    *[([("linux.sysctl", {key: "1"})], f'linux.sysctl["{key}"]', cause) for key, cause in (
        ("kernel.core_pattern", HOST), ("vm.swappiness", HOST), ("kernel/core_pattern", HOST), ("fs.file-max", HOST),
        ("kernel.shmfoo", HOST), ("netx.ipv4", HOST), ("kernel.hostname", "is set by the field hostname"),
        ("net", SPELLING), ("", SPELLING), ("net..x", SPELLING), ("net/../kernel/core_pattern", SPELLING),
        ("/net/ipv4/ip_forward", SPELLING), ("net.ipv4.", SPELLING),
        ("user.max_user_namespaces", "needs a namespace of type user in linux.namespaces"),
    )],
    ([("hostname", ""), ("linux", {"sysctl": {"net.ipv4.ip_forward": "1"}})], 'linux.sysctl["net.ipv4.ip_forward"]',
     "needs a namespace of type network in linux.namespaces"),
    ([("hostname", ""), ("linux", {"sysctl": {"kernel.shmmax": "1"}})], 'linux.sysctl["kernel.shmmax"]',
     "needs a namespace of type ipc in linux.namespaces"),
    ([("hostname", ""), ("linux", {"sysctl": {"fs.mqueue.msg_max": "1"}})], 'linux.sysctl["fs.mqueue.msg_max"]',
     "needs a namespace of type ipc in linux.namespaces"),
    ([("hostname", ""), ("linux", {"sysctl": {"kernel.domainname": "1"}})], 'linux.sysctl["kernel.domainname"]',
     "needs a namespace of type uts in linux.namespaces"),
    ([("domainname", "a"), ("linux.sysctl", {"kernel.domainname": "b"})], 'linux.sysctl["kernel.domainname"]',
     'contradicts the field domainname, "a"'),
    ([("linux.sysctl", {"net.core.somaxconn": "1", "net/core/somaxconn": "2"})], 'linux.sysctl["net/core/somaxconn"]',
     "net/core/somaxconn is given twice, in different spelling"),
    ([("linux.sysctl", {"net.core.somaxconn": 1})], 'linux.sysctl["net.core.somaxconn"]', "expected a string, got 1"),
]

HOOKS = [
    ([("hooks.prestart", [{"path": "bin/x"}])], "hooks.prestart[0].path", 'expected an absolute path, got "bin/x"'),
    ([("hooks.poststop", [{"args": ["x"]}])], "hooks.poststop[0].path", "is required"),
    ([("hooks.createRuntime", {"path": "/x"})], "hooks.createRuntime", "expected an array, got an object"),
    *[([("hooks.poststart", [{"path": "/x", "timeout": value}])], "hooks.poststart[0].timeout",
       f"expected an integer from 1 to 9223372036854775807, got {text}")
      for value, text in ((0, "0"), (-1, "-1"), (1.5, "1.5"), ("5", 'the string "5"'))],
]

DEVICES = [
    ([device(type=None)], "linux.devices[0].type", "is required"),
    ([device(type="x")], "linux.devices[0].type", 'expected one of c, b, u, p, got the string "x"'),
    ([device(path=None)], "linux.devices[0].path", "is required"),
    ([device(path="dev/x")], "linux.devices[0].path", 'expected an absolute path, got "dev/x"'),
    ([device(path="/dev/../x")], "linux.devices[0].path", "expected a path without .."),
    ([device(major=None)], "linux.devices[0].major", "is required"),
    ([device(minor=None)], "linux.devices[0].minor", "is required"),
    ([device(major=-1)], "linux.devices[0].major", "expected an integer from 0 to 4095, got -1"),
    ([device(minor=1 << 20)], "linux.devices[0].minor", "expected an integer from 0 to 1048575, got 1048576"),
    ([device(uid=2**32 - 1)], "linux.devices[0].uid", ID + "4294967295"),
]

UNIFIED = "expected the name of a file in a cgroup"
RESOURCES = [
    ([("linux.cgroupsPath", "/a/../b")], "linux.cgroupsPath", 'expected a path without .., got "/a/../b"'),
    ([resource("memory", {"limit": -2})], "linux.resources.memory.limit",
     "expected an integer from -1 to 9223372036854775807, got -2"),
    ([resource("memory", {"limit": 2**63})], "linux.resources.memory.limit",
     "expected an integer from -1 to 9223372036854775807, got 9223372036854775808"),
    ([resource("memory", {"limit": "1G"})], "linux.resources.memory.limit",
     'expected an integer from -1 to 9223372036854775807, got the string "1G"'),
    ([resource("memory", {"swappiness": 101})], "linux.resources.memory.swappiness",
     "expected an integer from 0 to 100, got 101"),
    ([resource("memory", {"limit": 100, "swap": 99})], "linux.resources.memory.swap",
     "expected memory and swap together, at least 100, got 99"),
    ([resource("cpu", {"shares": -1})], "linux.resources.cpu.shares",
     "expected an integer from 0 to 18446744073709551615, got -1"),
    ([resource("cpu", {"quota": 1.5})], "linux.resources.cpu.quota",
     "expected an integer from -1 to 9223372036854775807, got 1.5"),
    ([resource("cpu", {"quota": 100, "burst": 101})], "linux.resources.cpu.burst",
     "expected at most the quota, 100, got 101"),
    ([resource("cpu", {"idle": 2})], "linux.resources.cpu.idle", "expected an integer from 0 to 1, got 2"),
    ([resource("pids", {"limit": -2})], "linux.resources.pids.limit",
     "expected an integer from -1 to 9223372036854775807, got -2"),
    ([resource("blockIO", {"weight": 9})], "linux.resources.blockIO.weight",
     "expected an integer from 10 to 1000, got 9"),
    ([resource("blockIO", {"leafWeight": 1001})], "linux.resources.blockIO.leafWeight",
     "expected an integer from 0 to 1000, got 1001"),
    ([resource("blockIO", {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]})],
     "linux.resources.blockIO.throttleReadBpsDevice[0].rate", "is required"),
    ([resource("blockIO", {"weightDevice": [{"major": 8, "weight": 10}]})],
     "linux.resources.blockIO.weightDevice[0].minor", "is required"),
    *[([resource("hugepageLimits", [{"pageSize": size, "limit": 1}])], "linux.resources.hugepageLimits[0].pageSize",
       f'expected a size such as 2MB, got "{size}"') for size in ("2mb", "2M", "MB", "02MB", "2 MB", "../MB", "-2MB")],
    ([resource("hugepageLimits", [{"pageSize": "2MB"}])], "linux.resources.hugepageLimits[0].limit", "is required"),
    ([resource("network", {"classID": 2**32})], "linux.resources.network.classID",
     "expected an integer from 0 to 4294967295, got 4294967296"),
    ([resource("network", {"priorities": [{"name": "", "priority": 1}]})],
     "linux.resources.network.priorities[0].name", "is required"),
    ([resource("rdma", {"mlx5_1": {"hcaHandles": -1}})], "linux.resources.rdma.mlx5_1.hcaHandles",
     "expected an integer from 0 to 4294967295, got -1"),
    ([resource("unified", {"../x": "1"})], 'linux.resources.unified["../x"]', UNIFIED),
    ([resource("unified", {"": "1"})], 'linux.resources.unified[""]', UNIFIED),
    ([resource("unified", {"..": "1"})], 'linux.resources.unified[".."]', UNIFIED),
    *[([resource("unified", {name: "1"})], f'linux.resources.unified["{name}"]',
       "moves or ends processes; only settings can be given")
      for name in ("cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.type")],
    ([resource("unified", {"memory.high": 1})], 'linux.resources.unified["memory.high"]', "expected a string, got 1"),
    ([resource("devices", [{"access": "rwm"}])], "linux.resources.devices[0].allow", "is required"),
    ([resource("devices", [{"allow": True, "access": "rx"}])], "linux.resources.devices[0].access",
     'expected letters of rwm, got "rx"'),
    ([resource("devices", [{"allow": True, "type": "u"}])], "linux.resources.devices[0].type",
     'expected one of a, b, c, got the string "u"'),
    ([resource("devices", [{"allow": True, "major": -2}])], "linux.resources.devices[0].major",
     "expected an integer from -1 to 4294967295, got -2"),
]

SECCOMP = [
    ([("linux.seccomp", {"flags": []})], "linux.seccomp.defaultAction", "is required"),
    ([seccomp(defaultErrnoRet=1)], "linux.seccomp.defaultErrnoRet", "the action SCMP_ACT_ALLOW takes no errno"),
    ([seccomp(listenerMetadata="x")], "linux.seccomp.listenerMetadata", "needs listenerPath"),
    ([seccomp(flags=["TSYNC"])], "linux.seccomp.flags[0]",
     "expected one of SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
     'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, got the string "TSYNC"'),
    ([rule(names=[])], f"{RULE}.names", "expected at least one system call"),
    ([rule(names=["read", ""])], f"{RULE}.names[1]", "expected the name of a system call"),
    ([rule(action=None)], f"{RULE}.action", "is required"),
    ([rule(errnoRet=4096)], f"{RULE}.errnoRet", "expected an integer from 0 to 4095, got 4096"),
    ([rule(errnoRet=70000)], f"{RULE}.errnoRet", "expected an integer from 0 to 4095, got 70000"),
    ([rule(errnoRet=-1)], f"{RULE}.errnoRet", "expected an integer from 0 to 4095, got -1"),
    *[([rule(action=action, errnoRet=1)], f"{RULE}.errnoRet", f"the action {action} takes no errno")
      for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_LOG")],
    ([rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])], f"{RULE}.args[0].index",
     "expected an integer from 0 to 5, got 6"),
    ([rule(args=[{"value": 1, "op": "SCMP_CMP_EQ"}])], f"{RULE}.args[0].index", "is required"),
    ([rule(args=[{"index": 0, "value": 1}])], f"{RULE}.args[0].op", "is required"),
    ([rule(args=[{"index": 0, "value": 1.5, "op": "SCMP_CMP_EQ"}])], f"{RULE}.args[0].value",
     "expected an integer from 0 to 18446744073709551615, got 1.5"),
]

CASES = TOP + PROCESS + MOUNTS + NAMESPACES + SYSCTL + HOOKS + DEVICES + RESOURCES + SECCOMP


@pytest.mark.row(1, 2, 3, 4, 5, 6)
@pytest.mark.row(30, 31, 36, 37, 40)
@pytest.mark.row(51, 52, 54, 56, 57, 61, 64, 66)
@pytest.mark.row(80, 81, 83, 85, 89, 90, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103)
@pytest.mark.parametrize(("edits", "path", "cause"), CASES, ids=[f"{n}-{case[1]}" for n, case in enumerate(CASES)])
def test_config_is_refused_with_its_path(edits: list, path: str, cause: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(encoded(*edits))
    assert (caught.value.operation, caught.value.subject, caught.value.cause) == ("config.json", path, cause)


@pytest.mark.parametrize("word", ["SCMP_ACT_FOO", "allow", ""])
def test_unknown_seccomp_words_are_refused(word: str) -> None:
    with pytest.raises(SpecError, match=r"^config.json linux.seccomp.defaultAction: expected one of SCMP_ACT_KILL, "):
        load_config(encoded(seccomp(defaultAction=word)))
    with pytest.raises(SpecError, match=r"^config.json linux.seccomp.architectures\[0\]: expected one of "):
        load_config(encoded(seccomp(architectures=[word])))
    with pytest.raises(SpecError, match=r"args\[0\].op: expected one of "):
        load_config(encoded(rule(args=[{"index": 0, "op": word}])))


def test_unknown_rlimit_is_refused() -> None:
    with pytest.raises(SpecError, match=r'process.rlimits\[0\].type: expected one of RLIMIT_CPU, .*got .*"RLIMIT_X"'):
        load_config(encoded(("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}])))


def test_an_enormous_string_does_not_fill_the_message() -> None:
    with pytest.raises(SpecError) as caught:
        load_config(encoded(("process.cwd", "x\n" * 100000)))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.row(24, 25, 26, 67, 69)
@pytest.mark.parametrize("empty", [{}, None])
@pytest.mark.parametrize("path", ["process.scheduler", "process.ioPriority", "process.execCPUAffinity",
                                  "linux.personality", "linux.memoryPolicy"])
def test_an_empty_object_asks_for_nothing(path: str, empty: object) -> None:
    config = load_config(encoded((path, empty)))
    process = config.process
    assert process is not None
    assert (process.scheduler, process.io_priority, process.cpu_affinity) == (None, None, None)
    assert (config.personality, config.memory_policy) == (None, None)


@pytest.mark.row(24)
def test_a_policy_that_no_kernel_has_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="no Linux kernel has SCHED_ISO") as caught:
        load_config(encoded(("process.scheduler", {"policy": "SCHED_ISO"})))
    assert caught.value.subject == "process.scheduler.policy"


TEXTS = [
    (b"", "", "the document is empty at line 1, column 1"),
    (b"[]", "", "expected an object, got an array"),
    (b"null", "", "expected an object, got null"),
    (b"\xef\xbb\xbf{}", "", "the document begins with a byte order mark; save it as plain UTF-8 at line 1, column 1"),
    (b'{"process":{"user":{"uid":1,\n"uid":2}}}', "process.user", 'duplicate key "uid" at line 2, column 1'),
    (b'{"Root":{},"root":{}}', "", '"Root" is given twice, in different case'),
    (b'{"linux":{"Sysctl":{},"SYSCTL":{}}}', "linux", '"Sysctl" is given twice, in different case'),
    (b'{"mounts":[{"source":"a\\u0000b"}]}', "mounts[0].source", "NUL in a string at line 1, column 24"),
    (b'{"process":{"args":["\\ud800"]}}', "process.args[0]", "lone surrogate in a string at line 1, column 22"),
    (b'{"process":{"args":["\xff"]}}', "process.args[0]", "invalid UTF-8 in a string at line 1, column 22"),
    (b"{} {}", "", "data after the end of the document at line 1, column 4"),
    (b'{"hostname":NaN}', "hostname", "expected a value at line 1, column 13"),
    (b'{"a":' * 10000, "", "nested deeper than 64 levels at line 1, column 321"),
    (b"[" * 10000, "", "nested deeper than 64 levels at line 1, column 65"),
]


@pytest.mark.parametrize(("text", "path", "cause"), TEXTS)
def test_text_is_refused_with_its_place(text: bytes, path: str, cause: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(text)
    assert (caught.value.subject, caught.value.cause) == (path, cause)


def test_every_string_of_a_config_refuses_nul() -> None:
    """Walk a config and plant a NUL in each string and each key in turn."""
    text = encoded(("annotations", {"k": "v"}), ("linux.cgroupsPath", "/c"), ("linux.sysctl", {"net.x": "1"}))
    places = [n for n in range(len(text) - 1) if text[n:n + 1] == b'"' and text[n + 1:n + 2].isalnum()]
    assert len(places) > 40
    for place in places:
        with pytest.raises(SpecError, match="NUL in a string"):
            load_config(text[:place + 1] + b"\\u0000" + text[place + 1:])


def test_a_process_document_has_paths_from_its_top() -> None:
    document = {"cwd": "/", "args": ["sh"], "user": {"uid": True}}
    with pytest.raises(SpecError) as caught:
        load_process(json.dumps(document).encode())
    assert str(caught.value) == "process.json user.uid: " + ID + "true"
    with pytest.raises(SpecError, match=r"^process.json cwd: is required$"):
        load_process(b'{"args":["sh"]}')
    with pytest.raises(SpecError, match=r"^process.json rlimits\[0\].hard: is required$"):
        load_process(b'{"cwd":"/","args":["sh"],"rlimits":[{"type":"RLIMIT_CPU","soft":1}]}')
    with pytest.raises(Unsupported, match=r"^process.json scheduler.policy: no Linux kernel has SCHED_ISO$"):
        load_process(b'{"cwd":"/","args":["sh"],"scheduler":{"policy":"SCHED_ISO"}}')
    with pytest.raises(SpecError, match=r"^process.json: the document is empty"):
        load_process(b"")


def test_a_resources_document_has_paths_from_its_top() -> None:
    with pytest.raises(SpecError, match=r'^resources unified\["cgroup.procs"\]: moves or ends processes'):
        load_resources(b'{"unified":{"cgroup.procs":"1"}}')
    with pytest.raises(SpecError, match=r"^resources cpu.idle: expected an integer from 0 to 1, got 7$"):
        load_resources(b'{"CPU":{"Idle":7}}')


def test_a_document_over_the_limit_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^config.json: larger than 16 MiB$"):
        load_config(b" " * (16 << 20) + b"{")
