"""Where an ordinary user's containers are recorded, and who may have a say there (docs/rootless.md).

Nothing of a record may be another user's: what a record says is done with our rights.
"""

from __future__ import annotations

import posix

from capsule.errors import StateError, errno_text

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_OTHERS_WRITE = 0o022
_ENOENT = 2


def private_root(runtime_dir: str) -> str:
    """Return the root below a given XDG_RUNTIME_DIR or, without one ("" or relative), below a directory of our own.

    Raises StateError where the directory is not ours alone.
    """
    uid = posix.geteuid()
    if runtime_dir.startswith("/"):
        _check(runtime_dir, uid, "unset XDG_RUNTIME_DIR, or name a directory with --root")
        return f"{runtime_dir.rstrip('/')}/capsule"
    usual = f"/run/user/{uid}"
    if posix.access(usual, posix.W_OK, effective_ids=True):
        _check(usual, uid, "name a directory with --root")
        return f"{usual}/capsule"
    fallback = f"/tmp/capsule-{uid}"
    try:
        # Made at once and then looked at: a name in /tmp that is merely absent may be another's a moment later.
        posix.mkdir(fallback, 0o700)
    except OSError:
        pass  # it is there, or the check says what is wrong
    _check(fallback, uid, "set XDG_RUNTIME_DIR, or name a directory with --root")
    return fallback


def why_not_private(path: str, uid: int) -> str:
    """Return why a directory is not a user's own, "" if it is."""
    try:
        info = posix.stat(path, follow_symlinks=False)
    except OSError as err:
        if err.errno == _ENOENT:
            return "there is no such directory; a login through systemd-logind makes it"
        return errno_text(err.errno)
    if info.st_mode & _S_IFMT != _S_IFDIR:
        return "it is not a directory"
    if info.st_uid != uid:
        return f"it belongs to uid {info.st_uid}, not to uid {uid}"
    if info.st_mode & _OTHERS_WRITE:
        return f"others may write to it (mode {info.st_mode & 0o7777:04o})"
    return ""


def _check(path: str, uid: int, repair: str) -> None:
    cause = why_not_private(path, uid)
    if cause:
        raise StateError("keep containers' records below", path, f"{cause}; {repair}")
