"""Each controller, with each driver, for each user: the limit is in the kernel's file, or the kernel forbids it.

What is impossible is tried on the kernel without the runtime, which must then refuse it; the kernel's words go into the
report of `make test-vm`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import world
from helpers.bundle import Bundle
from helpers.combos import CONTROLLERS, DRIVERS, USERS, combo
from helpers.requires import requires
from helpers.runtime import FAILS, Runtime, one_line

pytestmark = [
    requires("runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="its words differ", crun="its words differ", strict=False),
]

MIB = 1 << 20
BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, SYS_BPF = 5, 15, 321
NO_DEVICE = {"rdma": {"mlx5_0": {"hcaHandles": 2}}}


class Limit(NamedTuple):
    """A resource of the specification, and what each version's kernel file then says ({disk}: major:minor)."""

    resources: dict
    v1: tuple[str, str]
    v2: tuple[str, str]


LIMITS = {
    "cpu": Limit({"cpu": {"quota": 50000, "period": 100000}}, ("cpu.cfs_quota_us", "50000"),
                 ("cpu.max", "50000 100000")),
    "cpuset": Limit({"cpu": {"cpus": "0"}}, ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    "memory": Limit({"memory": {"limit": 64 * MIB}}, ("memory.limit_in_bytes", str(64 * MIB)),
                    ("memory.max", str(64 * MIB))),
    "pids": Limit({"pids": {"limit": 42}}, ("pids.max", "42"), ("pids.max", "42")),
    "hugetlb": Limit({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
                     ("hugetlb.2MB.limit_in_bytes", str(4 * MIB)), ("hugetlb.2MB.max", str(4 * MIB))),
    "net_cls": Limit({"network": {"classID": 0x100001}}, ("net_cls.classid", str(0x100001)), ("", "")),
    "net_prio": Limit({"network": {"priorities": [{"name": "lo", "priority": 3}]}}, ("net_prio.ifpriomap", "lo 3"),
                      ("", "")),
    "io": Limit({"blockIO": {"throttleReadBpsDevice": [{"rate": MIB}]}}, ("", ""), ("io.max", "{disk} rbps=1048576")),
    "blkio": Limit({"blockIO": {"throttleReadBpsDevice": [{"rate": MIB}]}},
                   ("blkio.throttle.read_bps_device", "{disk} 1048576"), ("", "")),
}


def cases(*controllers: str) -> pytest.MarkDecorator:
    """Parametrize by hierarchy, controller, driver and user; those of another world are deselected."""
    return pytest.mark.parametrize(("controller", "driver"), [
        pytest.param(controller, driver, id=f"{version}-{controller}-{driver}-{user}",
                     marks=combo(hierarchy=version, controller=controller, driver=driver, user=user))
        for version, names in CONTROLLERS.items() for controller in names if controller in controllers
        for driver in DRIVERS for user in USERS])


def parent_of_ours() -> Path:
    """Return the v2 directory below which this user's containers go."""
    return world.group_of(os.getpid(), "").parent


def without_a_driver(capsule: Runtime, box: Bundle, driver: str) -> bool:
    """Tell whether a driver cannot be had here at all, having seen that the runtime says so and makes nothing."""
    if (world.hierarchy(), world.user(), driver) != ("v1", "rootless", "systemd"):
        return False
    assert "v1 is not delegated to users" in one_line(capsule.create(box, rc=FAILS))
    assert not capsule.exists(box)
    return True


def forbidden(controller: str) -> str:
    """Return "" where this user may limit with a controller, else what the kernel says to one who tries."""
    if world.user() == "root":
        return ""
    if world.hierarchy() == "v1":
        probe = world.group_of(os.getpid(), controller) / "probe"
        with pytest.raises(PermissionError) as refused:
            probe.mkdir()
        return f"mkdir: {refused.value}"
    handed = (parent_of_ours() / "cgroup.controllers").read_text(encoding="ascii").split()
    return "" if controller in handed else f"{parent_of_ours()}/cgroup.controllers: {' '.join(handed) or 'empty'}"


@cases(*LIMITS)
def test_a_limit_is_in_the_kernels_file(driven, placed, disk, kernel_says, controller, driver):
    capsule, box = driven(driver), placed(driver)
    limit = LIMITS[controller]
    box.linux["resources"] = resources = {key: dict(value) if isinstance(value, dict) else value
                                          for key, value in limit.resources.items()}
    if "blockIO" in resources:
        resources["blockIO"] = {"throttleReadBpsDevice": [{"major": disk.major, "minor": disk.minor, "rate": MIB}]}
    why = forbidden(controller)
    if why:
        kernel_says(why)
        if without_a_driver(capsule, box, driver):
            return
        refused = one_line(capsule.create(box, rc=FAILS))
        assert controller in refused
        assert " belongs to uid 0 (mode " in refused or world.hierarchy() == "v1"
        assert not capsule.exists(box)
        return
    pid = capsule.start_container(box)
    name, expected = getattr(limit, world.hierarchy())
    text = (world.group_of(pid, controller) / name).read_text(encoding="ascii")
    expected = expected.format(disk=f"{disk.major}:{disk.minor}")
    assert expected in text.replace("\t", " ")
    if len(text.split()) < 3:
        assert text.split() == expected.split()


@cases("rdma")
def test_a_limit_of_a_device_that_the_kernel_has_not_is_refused(driven, placed, kernel_says, controller, driver):
    capsule, box = driven(driver), placed(driver)
    box.linux["resources"] = NO_DEVICE
    why = forbidden(controller)
    if without_a_driver(capsule, box, driver):
        kernel_says(why)
        return
    refused = one_line(capsule.create(box, rc=FAILS))
    assert "rdma" in refused
    if not why:
        assert os.strerror(errno.ENODEV).lower() in refused
    kernel_says(why or refused.partition('msg="')[2].rstrip('"'))
    assert not capsule.exists(box)


@cases("freezer")
def test_a_container_is_frozen_and_thawed(driven, placed, kernel_says, controller, driver):
    capsule, box = driven(driver), placed(driver)
    why = "" if world.hierarchy() == "v2" else forbidden(controller)
    if without_a_driver(capsule, box, driver):
        kernel_says(why)
        return
    pid = capsule.start_container(box)
    if why:
        kernel_says(why)
        beside = world.group_of(pid, "")
        if beside == world.group_of(os.getpid(), ""):
            assert one_line(capsule.call("pause", box.id, rc=FAILS))
        else:  # a user manager has the version 2 that is beside version 1, and that can freeze
            capsule.call("pause", box.id)
            assert "frozen 1" in (beside / "cgroup.events").read_text(encoding="ascii")
            capsule.call("resume", box.id)
        return
    capsule.call("pause", box.id)
    assert capsule.status(box) == "paused"
    group = world.group_of(pid, controller)
    if world.hierarchy() == "v2":
        assert "frozen 1" in (group / "cgroup.events").read_text(encoding="ascii")
    else:
        assert (group / "freezer.state").read_text(encoding="ascii") == "FROZEN\n"
    capsule.call("resume", box.id)
    assert capsule.status(box) == "running"


def bpf_refusal() -> str:
    """Try to load a device program of nothing; return what the kernel says, "" if it lets one try."""
    attributes = ctypes.create_string_buffer(128)
    attributes[0:4] = BPF_PROG_TYPE_CGROUP_DEVICE.to_bytes(4, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(SYS_BPF, BPF_PROG_LOAD, attributes, len(attributes))
    number = ctypes.get_errno()
    return f"bpf(BPF_PROG_LOAD): {os.strerror(number)}" if number == 1 else ""


@cases("devices")
@pytest.mark.parametrize("allowed", [False, True], ids=["denied", "allowed"])
def test_a_disk_is_read_only_where_a_rule_allows_it(driven, placed, disk, kernel_says, controller, driver, allowed):
    """A disk: root reads it unless the rules keep root from it, unlike devices that ask for a capability."""
    capsule, box = driven(driver), placed(driver)
    node = {"type": "b", "major": disk.major, "minor": disk.minor}
    # The host's own path: who may make no node has the host's bound there.
    box.linux["devices"] = [{"path": disk.path, **node, "fileMode": 0o600, "uid": 0, "gid": 0}]
    if world.user() != "root":
        why = bpf_refusal() if world.hierarchy() == "v2" else forbidden(controller)
        assert why, "the kernel lets this user restrict devices"
        kernel_says(why)
        if without_a_driver(capsule, box, driver):
            return
        (found,) = capsule.attempts(box, "read", disk.path)
        assert found["errno"] == 13  # the node is the host's and root's: EACCES, rules or not
        return
    rules = [{"allow": False, "access": "rwm"}]
    if allowed:
        rules.append({"allow": True, **node, "access": "r"})
    box.linux["resources"] = {"devices": rules}
    (found,) = capsule.attempts(box, "read", disk.path)
    assert found["errno"] == (0 if allowed else 1)
