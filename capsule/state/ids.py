"""What a container id may be: it names a directory, so it is checked before any path is made of it."""

from __future__ import annotations

from capsule.errors import StateError

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-"
_MAX_LENGTH = 255  # NAME_MAX: the id is one directory name in the state root and in each cgroup hierarchy


def is_valid(id: str) -> bool:
    """Tell whether `id` is [A-Za-z0-9_+-][A-Za-z0-9_+.-]* of at most 255 characters."""
    return 0 < len(id) <= _MAX_LENGTH and id[0] in _LETTERS and not id.replace(".", "").strip(_LETTERS)


def check_id(id: str) -> None:
    """Refuse an id that is not valid.

    Raises StateError.
    """
    if is_valid(id):
        return
    if not id:
        cause = "it is empty"
    elif len(id) > _MAX_LENGTH:
        cause = f"it is longer than {_MAX_LENGTH} characters"
    else:
        cause = "it may hold letters, digits, _ + - and, after the first, full stops"
    raise StateError("invalid container ID format", repr(id), cause)
