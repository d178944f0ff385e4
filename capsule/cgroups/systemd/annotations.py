"""Annotations `org.systemd.property.NAME`: further properties of the container's unit, as GVariant text.

Whoever may set them may have systemd do anything that a unit of this kind can: `features` lists them as unsafe.
"""

from __future__ import annotations

from capsule.cgroups.systemd import gvariant
from capsule.errors import SpecError

PREFIX = "org.systemd.property."

_NAME_MIN = 3


def properties(annotations: dict[str, str]) -> list[tuple[str, str, object]]:
    """Return (name, signature, value) of each such annotation; a name in ...Sec becomes ...USec, in microseconds.

    Raises SpecError.
    """
    found = []
    for key in sorted(annotations):
        if not key.startswith(PREFIX):
            continue
        name, path = key[len(PREFIX) :], f"annotations.{key}"
        if len(name) < _NAME_MIN or not (name.isascii() and name.isalpha()):
            raise SpecError("invalid configuration", path, f"{name!r} is no property's name")
        try:
            signature, value = gvariant.parse(annotations[key])
        except ValueError as err:
            raise SpecError("invalid configuration", path, f"{annotations[key]!r}: {err}") from err
        stem = name.removesuffix("Sec")
        # RestartSec and the like, but not RestartUSec: that is what they become.
        if stem != name and stem[-1:].islower():
            name, signature, value = f"{stem}USec", "t", _microseconds(signature, value, path)
        found.append((name, signature, value))
    return found


def _microseconds(signature: str, value, path: str) -> int:
    if signature not in "nqiuxtd" or not 0 <= value < (1 << 64) / 1_000_000:
        raise SpecError("invalid configuration", path, "expected a number of seconds")
    return int(value * 1_000_000)
