"""What a container has changed → an image upon its own (`commit`).

The container is locked while its files are read: nobody starts or removes it. One that runs is frozen, by a mark that
has whoever looks at it next thaw it, were we killed.
"""

from __future__ import annotations

import copy
import os
import stat

from capsule import verbs
from capsule._ext import proc
from capsule.bundle import containers as records
from capsule.bundle.containers import Containers, Record
from capsule.errors import ImageError, StateError, Unsupported
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
    with containers.open(containers.find(word), lock=True) as entry:
        record = records.read(entry)
        upper = _upper(containers, record, word)
        base = store.find(record.image_id)
        config = copy.deepcopy(base.config)
        for change in changes:
            apply_change(config, change)
        with store.stage() as staging:
            builder = Builder(store.root, staging)
            builder.reuse(base.record["layers"])
            if pause:
                verbs.while_frozen(runtime_root, record.id, lambda: _layer(builder, upper, base))
            else:
                _layer(builder, upper, base)
            proc.stop_point("engine-commit-read")
            _note(config, record, message=message, author=author,
                  is_empty=len(builder.layers) == len(base.record["layers"]))
            try:
                made = compose(builder, config)
            except OSError as err:
                raise ImageError("write", staging.path, errno=err.errno) from err
            proc.stop_point("engine-commit-composed")
            return store.publish(staging, made, name)


def _upper(containers: Containers, record: Record, word: str) -> str:
    """Return the upper layer of a container that can be committed. Raises Unsupported, StateError."""
    if record.removing:
        raise StateError("commit", word, "its removal has begun")
    if not record.image_id:
        raise Unsupported("commit", word, "it runs on this machine's own root, which is never part of an image")
    upper = f"{containers.root}/{record.id}/upper0" if record.is_kept else ""
    if not upper or not os.path.isdir(upper):
        raise Unsupported("commit", word, "its changes lie in memory, in its own mount namespace")
    return upper


def _note(config: dict, record: Record, *, message: str, author: str, is_empty: bool) -> None:
    """Write into an image's configuration where it comes from."""
    created = now()
    entry: dict = {"created": created, "created_by": " ".join(record.command)}
    if message:
        entry["comment"] = message
    config.setdefault("history", []).append({**entry, "empty_layer": True} if is_empty else entry)
    config["created"] = created
    if author:
        config["author"] = author


def _layer(builder: Builder, upper: str, base: Image) -> None:
    """Add the upper layer, if there is anything in it. Raises ImageError."""
    try:
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as err:
        raise ImageError("open", upper, errno=err.errno) from err
    try:
        root = _owner(os.fstat(fd)) != _owner(os.stat(base.layers[-1]))
        if not root and not os.listdir(fd):
            return
        with Stream(fd, root=root) as source:
            builder.add(source)
    finally:
        os.close(fd)


def _owner(info: os.stat_result) -> tuple[int, int, int]:
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
