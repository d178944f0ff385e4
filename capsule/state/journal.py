"""The journal: what a create is about to make, one JSON object a line, written before the thing is made.

A create that dies at any point leaves a journal that names at least everything it made; a forced delete reads
it when there is no record. Nothing here touches the file system.

    {"kind":"cgroup","values":["/sys/fs/cgroup/pids/a","/sys/fs/cgroup/memory/a"]}
    {"kind":"pid","values":[1234,567890]}
"""

from __future__ import annotations

from capsule._ext import json

CGROUP = "cgroup"  # values: directories, parents before children
RESCTRL = "resctrl"  # values: directories, parents before children
MOUNT = "mount"  # values: a path of the caller's tree, the number of mounts that were on it before
PID = "pid"  # values: pid, start time
ENDPOINT = "endpoint"  # values: the name of a network, the id of an endpoint in its state
UNIT = "unit"  # values: name of a systemd unit, whether it is the user manager's
SOCKET = "socket"  # values: names in the state directory


def to_line(kind: str, values: tuple) -> bytes:
    """Return one entry as the bytes to append."""
    return json.dumps({"kind": kind, "values": list(values)}) + b"\n"


def from_bytes(data: bytes) -> list[tuple[str, list]]:
    """Return the (kind, values) of every readable line; a line that a crash cut short is left out."""
    entries = []
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            # Whoever reads a journal cleans up after a crash: what can be read must be cleaned up all the same.
            continue
        if isinstance(entry, dict) and isinstance(entry.get("kind"), str) and isinstance(entry.get("values"), list):
            entries.append((entry["kind"], entry["values"]))
    return entries


def cgroups(entries: list[tuple[str, list]]) -> list[str]:
    """Return every journalled cgroup directory once, parents before children."""
    return _paths(entries, CGROUP)


def resctrl_groups(entries: list[tuple[str, list]]) -> list[str]:
    """Return every journalled resctrl directory once, parents before children."""
    return _paths(entries, RESCTRL)


def _paths(entries: list[tuple[str, list]], wanted: str) -> list[str]:
    found: dict[str, None] = {}
    for kind, values in entries:
        if kind == wanted:
            for path in values:
                if isinstance(path, str):
                    found[path] = None
    return list(found)


def mounts(entries: list[tuple[str, list]]) -> list[tuple[str, int]]:
    """Return (path, number of mounts before) of every place where a container mounts in the caller's tree."""
    return [
        (values[0], values[1])
        for kind, values in entries
        if kind == MOUNT and len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], int)
    ]


def endpoints(entries: list[tuple[str, list]]) -> list[tuple[str, str]]:
    """Return (network, endpoint id) of every journalled endpoint."""
    return [
        (values[0], values[1])
        for kind, values in entries
        if kind == ENDPOINT and len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], str)
    ]


def processes(entries: list[tuple[str, list]]) -> list[tuple[int, int]]:
    """Return (pid, start time) of every journalled process."""
    return [
        (values[0], values[1])
        for kind, values in entries
        if kind == PID and len(values) == 2 and isinstance(values[0], int) and isinstance(values[1], int)
    ]


def unit(entries: list[tuple[str, list]]) -> dict | None:
    """Return the journalled unit as the record would keep it, None where there is none."""
    for kind, values in entries:
        if kind == UNIT and len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], bool):
            return {"name": values[0], "user": values[1]}
    return None
