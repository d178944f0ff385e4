"""-v, --mount and --tmpfs of `image run`, read into what bundle.volumes takes. Loaded where one is used."""

from __future__ import annotations

import posix

from capsule.bundle.volumes import BIND, TMPFS, VOLUME, Wanted
from capsule.cli.paths import absolute
from capsule.errors import CapsuleError, Unsupported
from capsule.volume.store import check_name

_PROPAGATION = ("rprivate", "private", "rslave", "slave", "rshared", "shared")
_FLAGS = ("suid", "nosuid", "dev", "nodev", "exec", "noexec", "bind", "rbind")
_NOTHING_HERE = ("z", "Z", "rw", "copy", "cached", "delegated", "consistent")  # right already, or meant for others
_TARGET, _SOURCE = ("target", "destination", "dst"), ("source", "src")


def read(options: dict) -> list[Wanted]:
    """Return the mounts that a call asks for. Raises CapsuleError, Unsupported."""
    found = [_short(text) for text in options["volume"]]
    found += [_long(text) for text in options["mount"]]
    for text in options["tmpfs"]:
        path, _, words = text.partition(":")
        found.append(_wanted(TMPFS, "", path, words.split(",") if words else []))
    return found


def _short(text: str) -> Wanted:
    """Read [NAME|HOSTPATH:]DIR[:OPTIONS]."""
    parts = text.split(":")
    if len(parts) == 1:
        return _wanted(VOLUME, "", parts[0], [])
    if len(parts) > 3 or not parts[0]:
        raise CapsuleError("image run", f"--volume {text}", "expected [NAME|HOSTPATH:]DIR[:OPTIONS]")
    words = [word for word in parts[2].split(",") if word] if len(parts) == 3 else []
    for word in words:
        if word not in ("ro", "nocopy", *_NOTHING_HERE, *_PROPAGATION, *_FLAGS):
            raise Unsupported("image run", f"--volume {text}", f"the option {word} is not known here")
    if "ro" in words and "rw" in words:
        raise CapsuleError("image run", f"--volume {text}", "both ro and rw are asked for")
    kept = [word for word in words if word not in (*_NOTHING_HERE, "nocopy")]
    return _wanted(_kind_of(parts[0]), parts[0], parts[1], kept, "nocopy" not in words)


def _kind_of(source: str) -> str:
    return BIND if source.startswith(("/", ".")) else VOLUME


def _wanted(kind: str, source: str, target: str, words: list[str], copy: bool = True) -> Wanted:
    if not target.startswith("/"):
        raise CapsuleError("image run", f"mount at {target!r}", "expected an absolute path in the container")
    if kind == BIND:
        source = absolute(source)
        try:
            posix.stat(source)
        except OSError as err:
            raise CapsuleError("image run", f"volume {source}", errno=err.errno or 0) from err
    elif kind == VOLUME and source:
        check_name(source)
    return Wanted(kind, source, target, words, copy)


def _long(text: str) -> Wanted:
    """Read type=...,source=...,target=... with further keys."""
    fields: dict[str, str] = {}
    for word in text.split(","):
        key, _, value = word.partition("=")
        if key in fields:
            raise CapsuleError("image run", f"--mount {text}", f"{key} is given twice")
        fields[key] = value
    source, target = _one_of(text, fields, _SOURCE), _one_of(text, fields, _TARGET)
    kind = fields.pop("type", "") or _kind_of(source)
    fields.pop("consistency", "")
    words = ["ro"] if _is_true(text, fields, "readonly") | _is_true(text, fields, "ro") else []
    copy = True
    if kind == BIND:
        words += _binding(text, fields)
    elif kind == VOLUME:
        copy = not _is_true(text, fields, "volume-nocopy")
    elif kind == TMPFS:
        words += [f"{word}={value}" for word in ("size", "mode") if (value := fields.pop(f"tmpfs-{word}", ""))]
    if fields or kind not in (BIND, VOLUME, TMPFS) or kind == TMPFS and source:
        strange = next(iter(fields), "source of a tmpfs" if kind == TMPFS else f"type {kind}")
        raise Unsupported("image run", f"--mount {text}", f"{strange} is not known here, or not built")
    if kind == BIND and not source:
        raise CapsuleError("image run", f"--mount {text}", "a bind mount needs source=PATH")
    return _wanted(kind, source, target, words, copy)


def _binding(text: str, fields: dict[str, str]) -> list[str]:
    word = fields.pop("bind-propagation", "")
    if word and word not in _PROPAGATION:
        raise CapsuleError("image run", f"--mount {text}", f"bind-propagation is one of {', '.join(_PROPAGATION)}")
    return [*([word] if word else []), *(["bind"] if _is_true(text, fields, "bind-nonrecursive") else [])]


def _one_of(text: str, fields: dict[str, str], names: tuple[str, ...]) -> str:
    found = [fields.pop(name) for name in names if name in fields]
    if len(found) > 1:
        raise CapsuleError("image run", f"--mount {text}", f"{names[0]} is given twice")
    return found[0] if found else ""


def _is_true(text: str, fields: dict[str, str], name: str) -> bool:
    """Take a key that is a flag out of a mount's; what is no truth value must not become a writable mount."""
    value = fields.pop(name, "false")
    if value not in ("", "true", "1", "false", "0"):
        raise CapsuleError("image run", f"--mount {text}", f"expected {name}=true or {name}=false")
    return value in ("", "true", "1")
