"""What the words of a Dockerfile's instructions mean for a build: commands, pairs, owners, modes, targets."""

from __future__ import annotations

import os

from capsule.errors import CapsuleError, ImageError
from capsule.image import instructions, words
from capsule.image.decompress import open_stream
from capsule.linux import users

_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


def command(rest: str, inner: dict) -> list[str]:
    """Read a command: a JSON list of words, or a line for the shell that SHELL has chosen. Raises ImageError."""
    if rest.startswith("["):
        return instructions.json_words(rest, rest)
    return [*(inner.get("Shell") or instructions.SHELL), rest]


def pairs(rest: str, values: dict[str, str], escape: str) -> list[tuple[str, str]]:
    """Read NAME=VALUE words, or the old form NAME VALUE. Raises ImageError."""
    name, _, old = rest.partition(" ")
    if "=" not in name:
        if not old.strip():
            raise ImageError("read", repr(rest), "expected NAME=VALUE")
        return [(name, words.expand(old.strip(), values, escape))]
    found = [word.partition("=") for word in words.split(rest, values, escape)]
    if any(not name or not sign for name, sign, _ in found):
        raise ImageError("read", repr(rest), "expected NAME=VALUE")
    return [(name, value) for name, _, value in found]


def mode(text: str) -> int | None:
    if not text:
        return None
    if len(text) > 5 or text.strip("01234567"):
        raise ImageError("copy", f"--chmod={text}", "expected an octal number")
    return int(text, 8)


def owner(root_fd: int, text: str) -> tuple[int, int]:
    """Return the owner that --chown names: names are the image's, and a user alone is a group's number too."""
    if not text:
        return 0, 0
    try:
        uid, gid = users.parse_user(root_fd, text)
    except CapsuleError as err:
        raise ImageError("copy", f"--chown={text}", f"{err.subject}: {err.cause}") from err
    return uid, gid if gid is not None and ":" in text else uid


def absolute(target: str, base: str) -> str:
    return target if target.startswith("/") else f"{base.rstrip('/')}/{target.removeprefix('./')}"


def is_tar(fd: int) -> bool:
    """Tell whether a file is a tar, compressed or not."""
    with open(os.dup(fd), "rb", buffering=0) as file:
        try:
            stream, _ = open_stream(file)
            head = b""
            while len(head) < 512 and (more := stream.read(512 - len(head))):
                head += more
        except (ImageError, OSError):
            head = b""
    os.lseek(fd, 0, os.SEEK_SET)
    return head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] == _TAR_MAGIC
