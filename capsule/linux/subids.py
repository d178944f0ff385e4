"""Subordinate ids: which ids beside their own an ordinary user may map (man 5 subuid, man 1 newuidmap).

The files are read to explain and to suggest only: newuidmap decides, which may ask other sources (nsswitch.conf).
"""

from __future__ import annotations

from capsule._ext import openbeneath
from capsule.linux import users

FILES = {"uid": "etc/subuid", "gid": "etc/subgid"}
_FILE_MAX = 1 << 20
_DIGITS = "0123456789"
_EXTENTS_MAX = 340  # of one map (man 7 user_namespaces)
#: Below are the ids of the machine's own accounts.
FIRST = 65536
SIZE = 65536
_USUAL, _LAST = 100_000, 600_100_000  # as useradd gives them (man 5 login.defs, SUB_UID_MIN and SUB_UID_MAX)


def ranges(root_fd: int, kind: str, uid: int) -> list[tuple[int, int]]:
    """Return the (first id, size) that a user has been given, in the file's order; `kind` is uid or gid."""
    entry = users.lookup(root_fd, uid)
    owners = (str(uid), entry[0] if entry is not None else "")
    return [(first, count) for owner, first, count in _rows(root_fd, kind) if owner in owners]


def taken(root_fd: int, kind: str) -> list[tuple[int, int]]:
    """Return the (first id, size) of everybody: the file's rows, and the ids of the machine's accounts."""
    accounts = [(number, 1) for number in users.ids(root_fd, kind)]
    return [(first, count) for _, first, count in _rows(root_fd, kind)] + accounts


def _rows(root_fd: int, kind: str) -> list[tuple[str, int, int]]:
    try:
        data = openbeneath.read_file(root_fd, FILES[kind], _FILE_MAX) or b""
    except OSError:
        return []
    found = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[0] and _is_number(fields[1]) and _is_number(fields[2]):
            found.append((fields[0], int(fields[1]), int(fields[2])))
    return [row for row in found if row[2] > 0]


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


def may_be_given(first: int, last: int, used: list[tuple[int, int]]) -> bool:
    """Tell whether nobody has any id of a range: no account of the machine, and no other user's containers."""
    return first >= FIRST and not any([first < start + count and start <= last for start, count in used])


def free(used: list[tuple[int, int]]) -> int:
    """Return the first of SIZE ids that nobody has, 0 where there are none."""
    first = _USUAL
    for start, count in sorted(used):
        if start < first + SIZE and first < start + count:
            first = start + count
    return first if first + SIZE - 1 <= _LAST else 0


def suggest(own: int, granted: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return mappings for a container: its root is the user; further ids are the granted ones, if there are any.

    The kernel maps no id twice: of rows that overlap each other, or the user's own id, the rest counts.
    """
    mappings, inside = [(0, own, 1)], 1
    for row in granted:
        for first, count in _without(row, mappings):
            if len(mappings) < _EXTENTS_MAX:
                mappings.append((inside, first, count))
                inside += count
    return mappings


def _without(row: tuple[int, int], mappings: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a row that are mapped nowhere yet."""
    parts = []
    first, end = row[0], row[0] + row[1]
    for start, count in sorted([(outside, size) for _, outside, size in mappings]):
        if first < start + count and start < end:
            if first < start:
                parts.append((first, start - first))
            first = start + count
    if first < end:
        parts.append((first, end - first))
    return parts
