"""A root file system's tar becomes an image of one layer."""

from __future__ import annotations

import datetime
import os
import stat

from capsule._version import VERSION
from capsule.errors import ImageError
from capsule.image import names
from capsule.image.adopt import Builder, compose
from capsule.image.decompress import GZIP, TAR, ZSTD, Source, open_stream
from capsule.image.instructions import apply_change
from capsule.image.layertar import Stream
from capsule.image.lookup import Image
from capsule.image.platforms import machine
from capsule.image.progress import Progress
from capsule.image.store import Store


def now() -> str:
    """Return the present time as images write it (RFC 3339)."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.datetime.now(datetime.UTC)
    if stamp.isdigit():
        moment = datetime.datetime.fromtimestamp(int(stamp), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_config() -> dict:
    """Return the configuration of an image of nothing yet, for this machine."""
    architecture, variant = machine()
    config = {"created": now(), "architecture": architecture, "os": "linux", "config": {}, "history": []}
    return {**config, "variant": variant} if variant else config


def from_tar(store: Store, source: Source, name: str, *, changes: list[str] | None = None, message: str = "",
             progress: Progress | None = None) -> Image:
    """Make an image of a tar, which may be compressed.

    Raises ImageError, also for a name or a change that cannot be, before anything is made.
    """
    config = new_config()
    if name:
        names.parse(name)
    for change in changes or []:
        apply_change(config, change)
    config["history"].append({"created": config["created"], "created_by": f"capsule {VERSION} image import",
                              **({"comment": message} if message else {})})
    if progress is not None:
        progress.line("unpacking")
    with store.stage() as staging:
        builder = Builder(store.root, staging)
        builder.add(_recoded(source))
        try:
            made = compose(builder, config)
        except OSError as err:
            raise ImageError("write", staging.path, errno=err.errno) from err
        return store.publish(staging, made, name)


def from_layers(store: Store, directory: str, wanted: list[str], *, changes: list[str], progress: Progress) -> Image:
    """Make an image of the layers in a directory, in the order of their names: tars and directories.

    A directory may be an overlay's upper one: its whiteouts count. Raises ImageError.
    """
    config = new_config()
    for change in changes:
        apply_change(config, change)
    try:
        found = sorted(entry.name for entry in os.scandir(directory) if not entry.name.startswith("."))
    except OSError as err:
        raise ImageError("open", directory, errno=err.errno) from err
    if not found:
        raise ImageError("build", directory, "it holds no layers")
    with store.stage() as staging:
        builder = Builder(store.root, staging)
        for name in found:
            progress.line(f"layer {name}")
            _add_layer(builder, f"{directory}/{name}", root=not builder.layers)
            config["history"].append({"created": config["created"], "created_by": f"layer {name}"})
        try:
            made = compose(builder, config)
        except OSError as err:
            raise ImageError("write", staging.path, errno=err.errno) from err
        image = store.publish(staging, made, wanted[0] if wanted else "")
    for name in wanted[1:]:
        store.tag(image.id, name)
    return image


def _add_layer(builder: Builder, path: str, *, root: bool) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise ImageError("open layer", path, errno=err.errno) from err
    try:
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFDIR:
            with Stream(fd, root=root) as source:
                builder.add(source)
        elif kind == stat.S_IFREG:
            with open(os.dup(fd), "rb", buffering=0) as file:
                builder.add(_recoded(file))
        else:
            raise ImageError("open layer", path, "neither a tar nor a directory")
    finally:
        os.close(fd)


class _Chained:
    def __init__(self, head: bytes, rest: Source) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int, /) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        return head or self._rest.read(size)


def _recoded(source: Source) -> Source:
    """Inflate what images may not have inside (xz, bzip2); leave the others as they are."""
    head = source.read(1 << 18)
    if not head:
        raise ImageError("read", "tar", "it is empty")
    whole = _Chained(head, source)
    stream, compression = open_stream(_Chained(head, source))
    return whole if compression in (TAR, GZIP, ZSTD) else stream
