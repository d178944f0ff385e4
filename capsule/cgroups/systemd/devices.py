"""Device rules as unit properties: DevicePolicy and DeviceAllow (systemd.resource-control(5)).

systemd knows a list of what is allowed. It is a layer of its own: on v1 systemd writes it into the same file that we
write afterwards, and writes it again at a daemon-reload; on v2 its program must allow an access as well as ours. So
on v2 a list that it cannot express is left to our program alone.
"""

from __future__ import annotations

from capsule import log
from capsule.cgroups.v1 import devices as rules_of
from capsule.errors import Unsupported
from capsule.linux import mountinfo

ALLOW = "a(ss)"

_NAMES = {"c": "char", "b": "block"}
_HEADS = {"Character devices:": "c", "Block devices:": "b"}


def properties(rules: list[dict], *, v2: bool, devices_text: str | None = None) -> list[tuple[str, str, object]]:
    """Return the properties of an ordered list of rules with the defaults behind it.

    `devices_text` is /proc/devices, read where it is not given. Raises SpecError, and on v1 Unsupported.
    """
    try:
        allow_all, exceptions = rules_of.fold(rules)
    except Unsupported:
        if not v2:
            raise
        return _open()
    if allow_all:
        if exceptions and not v2:
            log.warning("systemd cannot deny single devices: after a daemon-reload all are allowed")
        return _open()
    groups = device_groups(mountinfo.read_text("/proc/devices") if devices_text is None else devices_text)
    allowed, lost = [], []
    for key, access in exceptions.items():
        pattern = _pattern(key, groups)
        if pattern:
            allowed.append((pattern, access))
        else:
            lost.append(rules_of.to_line(key, access))
    if lost and v2:
        return _open()
    for line in lost:
        log.warning(f"systemd cannot express the device rule {line!r}: after a daemon-reload it is lost")
    return [("DevicePolicy", "s", "strict"), ("DeviceAllow", ALLOW, allowed)]


def denied(rules: list[dict]) -> list[str]:
    """Return the exceptions of a list that allows everything else: v1's devices.list does not show them."""
    allow_all, exceptions = rules_of.fold(rules)
    return [rules_of.to_line(key, access) for key, access in exceptions.items()] if allow_all else []


def _open() -> list[tuple[str, str, object]]:
    return [("DevicePolicy", "s", "auto"), ("DeviceAllow", ALLOW, [])]


def _pattern(key: tuple[str, int, int], groups: dict[tuple[str, int], str]) -> str:
    """Return how systemd names devices, "" where it cannot."""
    kind, major, minor = key
    if major == rules_of.ANY:
        return f"{_NAMES[kind]}-*" if minor == rules_of.ANY else ""
    if minor == rules_of.ANY:
        name = groups.get((kind, major), "")
        return f"{_NAMES[kind]}-{name}" if name else ""
    return f"/dev/{_NAMES[kind]}/{major}:{minor}"


def device_groups(text: str) -> dict[tuple[str, int], str]:
    """Return {(type, major): name} from the text of /proc/devices, first names that are no patterns."""
    groups: dict[tuple[str, int], str] = {}
    kind = ""
    for line in text.splitlines():
        kind = _HEADS.get(line, kind)
        words = line.split()
        if len(words) == 2 and words[0].isdigit() and kind and not set(words[1]) & set("/*?["):
            groups.setdefault((kind, int(words[0])), words[1])
    return groups
