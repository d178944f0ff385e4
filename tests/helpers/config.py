"""A small valid config.json and edits of it, for tests of capsule.spec."""

from __future__ import annotations

import copy
import json

REMOVED = object()

BASE: dict = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"], "env": ["A=1"], "user": {"uid": 0, "gid": 0}},
    "hostname": "box",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": word} for word in ("pid", "network", "ipc", "uts", "mount")]},
}


def edited(*edits: tuple[str, object]) -> dict:
    """Return BASE with values put at paths such as `linux.namespaces.0.path`; `+` appends, REMOVED removes.

    Objects on the way are made where they are missing.
    """
    config = copy.deepcopy(BASE)
    for path, value in edits:
        *outer, last = path.split(".")
        value = value if value is REMOVED else copy.deepcopy(value)
        place: dict | list = config
        for key in outer:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list) and last == "+":
            place.append(value)
        elif isinstance(place, list):
            place[int(last)] = value
        elif value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return config


def encoded(*edits: tuple[str, object]) -> bytes:
    """Return the document of `edited`."""
    return json.dumps(edited(*edits)).encode()
