"""Names of images: `[REGISTRY/]PATH[:TAG][@DIGEST]`, as docker's reference grammar has them. Linked into the launcher.

A name is checked before a path or a command line is made of it.
"""

from __future__ import annotations

from capsule.errors import ImageError

DEFAULT_TAG = "latest"
HOST = "host"  # this machine's own root: a built-in image, never in a store
_DOCKER = "docker.io"
_LIBRARY = "library"
_HEX = "0123456789abcdef"
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORD = _LOWER + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_PATH_MAX = 255
_TAG_MAX = 128


def is_digest(text: str) -> bool:
    """Tell whether text is a digest that we accept: sha256 and 64 lower-case hexadecimal digits."""
    return len(text) == 71 and text.startswith("sha256:") and is_hex(text[7:])


def is_hex(text: str) -> bool:
    """Tell whether text consists of lower-case hexadecimal digits."""
    return bool(text) and not text.strip(_HEX)


class Name:
    """A parsed name: `path` with its registry, `tag` and `digest`, each "" where the text has none."""

    __slots__ = ("path", "tag", "digest")

    def __init__(self, path: str, tag: str, digest: str) -> None:
        self.path = path
        self.tag = tag
        self.digest = digest

    def __str__(self) -> str:
        return self.path + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def tagged(self) -> str:
        """Return the name that a store keeps: with a tag, without a digest."""
        return f"{self.path}:{self.tag or DEFAULT_TAG}"

    def remote_path(self) -> str:
        """Return the path with the registry that it stands for."""
        first, slash, _ = self.path.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            return self.path
        return f"{_DOCKER}/{self.path}" if slash else f"{_DOCKER}/{_LIBRARY}/{self.path}"


def parse(text: str) -> Name:
    """Read a name.

    Raises ImageError.
    """
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise ImageError("read image name", repr(text), "a digest is sha256: and 64 lower-case hexadecimal digits")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag, colon = rest, "", ""
    if not _is_path(path):
        raise ImageError("read image name", repr(text), "a name is [REGISTRY/]PATH[:TAG] with a path in lower case")
    if (colon and not tag) or not _is_tag(tag):
        raise ImageError("read image name", repr(text), "a tag may hold letters, digits, _ . and -")
    return Name(path, tag, digest)


def spellings(name: Name) -> list[str]:
    """List the names of a store that `name` may mean, the nearest first."""
    tag = name.tag or DEFAULT_TAG
    paths = [name.path, f"localhost/{name.path}", name.remote_path()]
    return [f"{path}:{tag}" for path in paths]


def _is_path(path: str) -> bool:
    if not path or len(path) > _PATH_MAX:
        return False
    parts = path.split("/")
    if len(parts) > 1 and _is_registry(parts[0]):
        parts = parts[1:]
    return all([_is_component(part) for part in parts])


def _is_component(part: str) -> bool:
    """Words of lower-case letters and digits, with one dot, one or two underscores or dashes between them."""
    return (
        bool(part)
        and not part.strip(_LOWER + "._-")
        and part[0] in _LOWER
        and part[-1] in _LOWER
        and ".." not in part
        and "___" not in part
    )


def _is_registry(text: str) -> bool:
    host, colon, port = text.partition(":")
    if colon and not (port.isdigit() and port.isascii()):
        return False
    if not host or host.strip(_WORD + ".-") or host[0] in ".-" or host[-1] in ".-":
        return False
    return "." in host or bool(colon) or host == "localhost" or _is_component(host)


def _is_tag(tag: str) -> bool:
    return not tag or (len(tag) <= _TAG_MAX and tag[0] in _WORD and not tag.strip(_WORD + ".-"))
