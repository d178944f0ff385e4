"""What a container has changed → an image upon its own (`commit`)."""

from __future__ import annotations

import contextlib
import copy
import os
import stat
from collections.abc import Iterator

from capsule import verbs
from capsule.bundle import layers
from capsule.bundle.containers import Containers, Record
from capsule.errors import ImageError, NotFound, StateError, Unsupported
from capsule.image import names
from capsule.image.adopt import Builder, compose
from capsule.image.importing import now
from capsule.image.instructions import apply_change
from capsule.image.layertar import Stream
from capsule.image.lookup import Image
from capsule.image.store import Store


def commit(store: Store, containers: Containers, word: str, name: str, *, runtime_root: str, changes: list[str],
           message: str, author: str, pause: bool) -> Image:
    """Make an image of a container and its image. Raises CapsuleError; a container that ran goes on in any case."""
    if name:
        names.parse(name)
    record = containers.load(containers.find(word))
    upper = f"{containers.root}/{record.id}/upper0" if layers.is_kept(record) else ""
    if not record.image_id:
        raise Unsupported("commit", word, "it runs on this machine's own root, which is never part of an image")
    if not upper or not os.path.isdir(upper):
        raise Unsupported("commit", word, "its changes lie in memory, in its own mount namespace")
    base = store.find(record.image_id)
    config = copy.deepcopy(base.config)
    for change in changes:
        apply_change(config, change)
    with store.stage() as staging:
        builder = Builder(store.root, staging)
        builder.reuse(base.record["layers"])
        with _frozen(runtime_root, record, pause):
            layer = _layer(builder, upper, base)
        created = now()
        entry = {"created": created, "created_by": " ".join(record.command)}
        if message:
            entry["comment"] = message
        config.setdefault("history", []).append(entry if layer else {**entry, "empty_layer": True})
        config["created"] = created
        if author:
            config["author"] = author
        try:
            made = compose(builder, config)
        except OSError as err:
            raise ImageError("write", staging.path, errno=err.errno) from err
        return store.publish(staging, made, name)


def _layer(builder: Builder, upper: str, base: Image) -> bool:
    """Add the upper layer, if there is anything in it. Raises ImageError."""
    try:
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as err:
        raise ImageError("open", upper, errno=err.errno) from err
    try:
        root = _owner(os.fstat(fd)) != _owner(os.stat(base.layers[-1]))
        if not root and not os.listdir(fd):
            return False
        with Stream(fd, root=root) as source:
            builder.add(source)
        return True
    finally:
        os.close(fd)


def _owner(info: os.stat_result) -> tuple[int, int, int]:
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


@contextlib.contextmanager
def _frozen(root: str, record: Record, pause: bool) -> Iterator[None]:
    """Freeze a container that runs for as long as its files are read."""
    frozen = False
    if pause:
        try:
            if verbs.state(root, record.id)["status"] == "running":
                verbs.pause(root, record.id)
                frozen = True
        except NotFound:
            pass  # it does not run
        except StateError:
            if verbs.state(root, record.id)["status"] == "running":
                raise
    try:
        yield
    finally:
        if frozen:
            verbs.resume(root, record.id)
