"""Which of the worlds of control groups this is: asked of the machine, never told."""

from __future__ import annotations

import os
from pathlib import Path

from .payload import parse_mountinfo


def _mounts() -> list[dict]:
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def hierarchy() -> str:
    """Return "v2" where version 2 has the controllers, else "v1" (a version 2 without them may be beside it)."""
    return "v1" if any(entry["type"] == "cgroup" for entry in _mounts()) else "v2"


def user() -> str:
    """Return "root" or "rootless"."""
    return "root" if os.geteuid() == 0 else "rootless"


def drivers() -> tuple[str, ...]:
    """Return the drivers that can work here: systemd only below its own manager."""
    return ("cgroupfs", "systemd") if os.path.isdir("/run/systemd/system") else ("cgroupfs",)


def group_of(pid: int, controller: str) -> Path:
    """Return the directory that limits a process: the controller's on v1, the only one on v2."""
    points = {}
    for entry in _mounts():
        if entry["type"] == "cgroup2":
            points[""] = entry["point"]
        elif entry["type"] == "cgroup":
            points |= dict.fromkeys(entry["super"], entry["point"])
    wanted = controller if hierarchy() == "v1" else ""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, names, path = line.split(":", 2)
        if wanted in names.split(",") and wanted in points:
            return Path(points[wanted] + path)
    raise AssertionError(f"process {pid} is in no cgroup of {controller}")
