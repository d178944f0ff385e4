"""Subordinate ids: which ids beside their own an ordinary user may map (man 5 subuid, man 1 newuidmap).

The files are read to explain and to suggest only: newuidmap decides, which may ask other sources (nsswitch.conf).
"""

from __future__ import annotations

from capsule._ext import openbeneath
from capsule.linux import users

FILES = {"uid": "etc/subuid", "gid": "etc/subgid"}
_FILE_MAX = 1 << 20
_DIGITS = "0123456789"


def ranges(root_fd: int, kind: str, uid: int) -> list[tuple[int, int]]:
    """Return the (first id, size) that a user has been given, in the file's order; `kind` is uid or gid."""
    try:
        data = openbeneath.read_file(root_fd, FILES[kind], _FILE_MAX) or b""
    except OSError:
        return []
    entry = users.lookup(root_fd, uid)
    owners = (str(uid), entry[0] if entry is not None else "")
    found = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[0] and fields[0] in owners and _is_number(fields[1]) and _is_number(fields[2]):
            found.append((int(fields[1]), int(fields[2])))
    return [row for row in found if row[1] > 0]


def _is_number(text: str) -> bool:
    return bool(text) and not text.strip(_DIGITS) and len(text) <= 10


def lacking(mappings: list[tuple[int, int, int]], own: int, granted: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the (first, last) outer ids of mappings that are neither the user's own id nor in a granted range.

    newuidmap takes each mapping as a whole: it must lie in one range.
    """
    missing = []
    for _, outside, size in mappings:
        if size == 1 and outside == own:
            continue
        if not any([first <= outside and outside + size <= first + count for first, count in granted]):
            missing.append((outside, outside + size - 1))
    return missing


def suggest(own: int, granted: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return mappings for a container: its root is the user; further ids are the granted ones, if there are any."""
    mappings, inside = [(0, own, 1)], 1
    for first, count in granted:
        mappings.append((inside, first, count))
        inside += count
    return mappings
