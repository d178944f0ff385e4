"""The passwd and group files of a root, and the words that name a user. Nothing here asks the host's NSS.

The files belong to the image: read as regular files of limited size, through the in-root API (man 5 passwd).
"""

from __future__ import annotations

from capsule._ext import openbeneath
from capsule.errors import CapsuleError

_FILE_MAX = 1 << 20
_ID_MAX = 0xFFFFFFFE  # -1 means "leave it" to the kernel's calls
_DIGITS = "0123456789"
_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_REST = _FIRST + _DIGITS + "-.$"


def _entries(root_fd: int, path: str, fields: int) -> list[list[str]]:
    """Return the well-formed lines of a colon-separated file; [] where there is none that can be used."""
    try:
        data = openbeneath.read_file(root_fd, path, _FILE_MAX)
    except OSError:
        return []  # a directory, a fifo, too large: as good as absent
    text = (data or b"").decode("utf-8", "surrogateescape")
    rows = [line.split(":") for line in text.split("\n")]
    return [row for row in rows if len(row) >= fields]


def _to_id(word: str) -> int | None:
    """Read an id as written in a file; None if it is no number in range."""
    if not word or word.strip(_DIGITS) or len(word) > 10:
        return None
    number = int(word)
    return number if number <= _ID_MAX else None


def lookup(root_fd: int, uid: int) -> tuple[str, int | None, str] | None:
    """Return (name, gid, home) of the first passwd entry of a user id, or None."""
    for row in _entries(root_fd, "etc/passwd", 7):
        if _to_id(row[2]) == uid:
            return row[0], _to_id(row[3]), row[5]
    return None


def ids(root_fd: int, kind: str) -> list[int]:
    """Return the ids of all users or all groups; `kind` is uid or gid."""
    rows = _entries(root_fd, "etc/passwd", 7) if kind == "uid" else _entries(root_fd, "etc/group", 4)
    found = [_to_id(row[2]) for row in rows]
    return [number for number in found if number is not None]


def groups_of(root_fd: int, name: str) -> list[int]:
    """Return the ids of the groups that list a user as a member, in the file's order."""
    rows = _entries(root_fd, "etc/group", 4)
    ids = [_to_id(row[2]) for row in rows if name in row[3].split(",")]
    return [gid for gid in ids if gid is not None]


def parse_user(root_fd: int, text: str) -> tuple[int, int | None]:
    """Resolve `uid`, `uid:gid`, `name` or `name:group` to (uid, gid); gid None: none is given and none is known.

    Digits are a number and never a name, whatever the image's files say (CVE-2016-3697, CVE-2026-46680).
    Raises CapsuleError.
    """
    user, colon, group = text.partition(":")
    if colon and not group:
        raise CapsuleError("user", repr(text), "an empty group")
    uid, gid = _find(root_fd, user, "user", "etc/passwd", 7)
    if colon:
        gid = _find(root_fd, group, "group", "etc/group", 3)[0]
    return uid, gid


def _find(root_fd: int, word: str, kind: str, path: str, fields: int) -> tuple[int, int | None]:
    """Return the id that a number or a name stands for and, of a user's name, its group."""
    if word and not word.strip(_DIGITS):
        number = _to_id(word)
        if number is None:
            raise CapsuleError(kind, word, f"not within 0 to {_ID_MAX}")
        return number, None
    if not word or word[0] not in _FIRST or word.strip(_REST):
        raise CapsuleError(kind, repr(word), f"neither a number nor a {kind} name")
    for row in _entries(root_fd, path, fields):
        found = _to_id(row[2])
        if row[0] == word and found is not None:
            return found, _to_id(row[3]) if kind == "user" else None
    raise CapsuleError(kind, word, f"not in the container's /{path}")
