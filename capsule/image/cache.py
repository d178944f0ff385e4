"""What steps of builds made, by what they were made of: `cache/KEY.json` in the store (docs/build-images.md).

An entry keeps its layer from being collected, until the cache is cleared.
"""

from __future__ import annotations

import hashlib
import json
import os

from capsule.errors import ImageError
from capsule.image import layout
from capsule.image.adopt import read_layer
from capsule.image.layout import Staging
from capsule.image.lookup import BLOBS, LAYERS, read_file

CACHE = "cache"
_SCHEMA = 2


def key_of(*parts: object) -> str:
    """Return the key of a step: a digest of all that decides what it makes."""
    return hashlib.sha256(json.dumps([_SCHEMA, *parts], sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def find(root: str, key: str) -> dict | None:
    """Return what a step made: {"layer": its record or None, "created"}; None where that is not known, or gone."""
    entry = _read(f"{root}/{CACHE}/{key}.json")
    if entry is None:
        return None
    layer = entry["layer"]
    if layer is not None and (read_layer(root, layer["chain"]) is None
                              or not os.path.exists(f"{root}/{BLOBS}/{layer['digest'][7:]}")):
        return None
    return entry


def keep(staging: Staging, key: str, layer: dict | None, created: str) -> None:
    """Move a step's layer into the store and note it. Raises ImageError."""
    root = staging.root
    try:
        layout.sync(staging.path)
        with layout.locked(root):
            os.makedirs(f"{root}/{CACHE}", 0o700, exist_ok=True)
            if layer is not None:
                _move(staging.blob_path(layer["digest"]), f"{root}/{BLOBS}/{layer['digest'][7:]}")
                _move(staging.layer_path(layer["chain"]), f"{root}/{LAYERS}/{layer['chain']}")
            layout.write_json(f"{root}/{CACHE}/{key}.json", {"schema": _SCHEMA, "layer": layer, "created": created})
    except OSError as err:
        raise ImageError("keep", f"step {key[:12]} of the build", errno=err.errno) from err


def _move(source: str, target: str) -> None:
    if not os.path.exists(target) and os.path.exists(source):
        os.rename(source, target)


def needed(root: str) -> tuple[set[str], set[str]]:
    """Return what the cache needs: (blobs, chains), both as hexadecimal digits."""
    layers = [entry["layer"] for key in keys(root) if (entry := _read(f"{root}/{CACHE}/{key}.json")) is not None]
    found = [layer for layer in layers if layer is not None]
    return {layer["digest"][7:] for layer in found}, {layer["chain"] for layer in found}


def keys(root: str) -> list[str]:
    """List the keys of all steps that are kept."""
    try:
        return sorted(name[:-5] for name in os.listdir(f"{root}/{CACHE}") if name.endswith(".json"))
    except FileNotFoundError:
        return []


def clear(root: str) -> int:
    """Forget all steps; return how many. What no image needs goes with the next collection. Raises ImageError."""
    count = 0
    try:
        for key in keys(root):
            os.unlink(f"{root}/{CACHE}/{key}.json")
            count += 1
    except OSError as err:
        raise ImageError("clear", f"{root}/{CACHE}", errno=err.errno) from err
    return count


def _read(path: str) -> dict | None:
    try:
        entry = json.loads(read_file(path))
        layer = entry["layer"]
        if layer is not None and not {"chain", "digest", "diff_id", "size", "bytes"} <= set(layer):
            return None
        return entry if isinstance(entry["created"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
