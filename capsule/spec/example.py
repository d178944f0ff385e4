"""The example config.json that `capsule spec` writes: a shell in a locked-down container.

Its shape is what callers of `runc spec` edit. runtime-spec config.md#configuration-schema-example.
"""

from __future__ import annotations

import posix

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm")
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def example(rootless: bool = False, *, cgroup_v2: bool = False) -> dict:
    """Return the example as a tree for JSON.

    `rootless` maps the caller's ids to root in a user namespace. `cgroup_v2` says that the host has a unified
    hierarchy, where a cgroup namespace hides it.
    """
    linux: dict = {}
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": posix.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": posix.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    linux["namespaces"] = _namespaces(rootless, cgroup_v2)
    linux["maskedPaths"] = list(MASKED_PATHS)
    linux["readonlyPaths"] = list(READONLY_PATHS)
    return {
        "ociVersion": "1.3.0",
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "capsule",
        "mounts": _mounts(rootless),
        "linux": linux,
    }


def _process() -> dict:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": list(ENV),
        "cwd": "/",
        "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _namespaces(rootless: bool, cgroup_v2: bool) -> list[dict]:
    # Without privilege nobody could give a new network namespace a way out: the host's is kept.
    kinds = ["pid", "ipc", "uts", "mount"] if rootless else ["pid", "network", "ipc", "uts", "mount"]
    if cgroup_v2:
        kinds.append("cgroup")
    if rootless:
        kinds.append("user")
    return [{"type": kind} for kind in kinds]


def _mount(destination: str, kind: str, source: str, options: str = "") -> dict:
    mount: dict = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split(",")
    return mount


def _mounts(rootless: bool) -> list[dict]:
    """Return the mounts; a user namespace maps no group 5 and may not mount the host's sysfs."""
    terminal = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"
    mounts = [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", terminal if rootless else terminal + ",gid=5"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ]
    if rootless:
        mounts.append(_mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro"))
    else:
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"))
    mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"))
    return mounts
