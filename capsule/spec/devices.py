"""`linux.devices` of config.json. runtime-spec config-linux.md#devices."""

from __future__ import annotations

from capsule.spec.check import absolute, problem, quote, required
from capsule.spec.model import Device


def build_devices(items: list[dict]) -> list[Device]:
    """Make the devices of a checked list."""
    devices = [_device(item, f"linux.devices[{index}]") for index, item in enumerate(items)]
    if len(devices) > 1:
        _refuse_two_at_one_path(devices)
    return devices


def _refuse_two_at_one_path(devices: list[Device]) -> None:
    """Refuse a path that is to be two devices; said twice alike it is one, of which the last owner and mode count."""
    seen: dict[str, Device] = {}
    for index, device in enumerate(devices):
        other = seen.setdefault(device.path, device)
        if (other.type, other.major, other.minor) != (device.type, device.major, device.minor):
            raise problem(f"linux.devices[{index}].path", f"{quote(device.path)} is another device already")


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
