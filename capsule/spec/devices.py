"""`linux.devices` of config.json. runtime-spec config-linux.md#devices."""

from __future__ import annotations

from capsule.spec.check import absolute, problem, required
from capsule.spec.model import Device


def build_devices(items: list[dict]) -> list[Device]:
    """Make the devices of a checked list."""
    return [_device(item, f"linux.devices[{index}]") for index, item in enumerate(items)]


def _device(item: dict, where: str) -> Device:
    kind = required(item, "type", where)
    path = absolute(required(item, "path", where), f"{where}.path")
    if ".." in path.split("/"):
        raise problem(f"{where}.path", "expected a path without ..")
    major = minor = 0
    if kind != "p":
        major, minor = required(item, "major", where), required(item, "minor", where)
    mode = item.get("fileMode")
    # Engines copy st_mode of a host node, type bits included.
    return Device(kind, path, major, minor, None if mode is None else mode & 0o7777, item.get("uid"), item.get("gid"))
