"""Is the store whole? Everything that index.json names is looked for; with `fix` what is derived is made again from
the blobs, and an image whose blobs are gone is given up."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable

from capsule._ext import json
from capsule.errors import CapsuleError, ImageError
from capsule.image import layout, lookup
from capsule.image.adopt import Builder, adopt, read_layer
from capsule.image.decompress import CHUNK
from capsule.image.lookup import BLOBS, IMAGES, LAYERS
from capsule.image.store import Store


class Finding:
    """A fault: what it is about, what is wrong, and whether it was repaired."""

    __slots__ = ("subject", "detail", "fixed")

    def __init__(self, subject: str, detail: str, fixed: bool = False) -> None:
        self.subject = subject
        self.detail = detail
        self.fixed = fixed


def check(store: Store, *, fix: bool, deep: bool = False) -> list[Finding]:
    """Return what is wrong with a store; deep: also read every blob and compare its digest.

    Raises ImageError where it cannot be looked at.
    """
    if not os.path.isdir(store.root):
        return []
    if fix:
        layout.prepare(store.root)
    found = _check_index(store, fix)
    entries = lookup.read_index(store.root)
    for id in dict.fromkeys(entry["id"] for entry in entries):
        entry = next(entry for entry in entries if entry["id"] == id)
        found += _check_image(store, entry, fix, deep)
    found += _check_leftovers(store, fix)
    return found


def _check_index(store: Store, fix: bool) -> list[Finding]:
    """An index that cannot be read takes all images with it; their records and blobs may still be there."""
    try:
        lookup.read_index(store.root)
        return []
    except ImageError as err:
        finding = Finding(lookup.INDEX, str(err))
    if fix:
        with layout.locked(store.root):
            entries = []
            for name in sorted(os.listdir(f"{store.root}/{IMAGES}")):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    record: dict = json.loads(lookup.read_file(f"{store.root}/{IMAGES}/{name}"))  # type: ignore[assignment]
                    entries.append({"name": "", "id": record["id"], "digest": record["manifest"], "origin": "",
                                    "size": record["manifest_size"], "media_type": record["media_type"]})
            layout.write_index(store.root, entries)
        finding.fixed = True
        finding.detail += "; the images that have records are there again, without their names"
    return [finding]


def _check_image(store: Store, entry: dict, fix: bool, deep: bool) -> list[Finding]:
    subject = f"image {entry['name'] or entry['id']}"
    fault = _fault(store, entry, deep)
    if not fault:
        return []
    finding = Finding(subject, fault)
    if fix:
        try:
            _make_again(store, entry, deep)
            finding.fixed, finding.detail = True, f"{fault}; made again from its blobs"
        except (CapsuleError, OSError) as err:
            if store.holders(entry["id"]):
                finding.detail = f"{fault}; kept, for {', '.join(store.holders(entry['id']))} uses it: {err}"
                return [finding]
            _give_up(store, entry["id"])
            finding.fixed, finding.detail = True, f"{fault}; given up: {err}"
    return [finding]


def _fault(store: Store, entry: dict, deep: bool) -> str:
    try:
        record = lookup.load(store.root, entry["id"], []).record
    except ImageError as err:
        return str(err)
    try:
        sizes = _blob_sizes(record)
        chains = [layer["chain"] for layer in record["layers"]]
    except (KeyError, TypeError):
        return "its record is damaged"
    for digest, size in sizes.items():
        fault = _blob_fault(f"{store.root}/{BLOBS}/{digest[7:]}", digest, size, deep)
        if fault:
            return f"blob {digest}: {fault}"
    for chain in chains:
        if read_layer(store.root, chain) is None or not os.path.isdir(f"{store.root}/{LAYERS}/{chain}/{lookup.DIFF}"):
            return f"layer {chain} is not there"
    return ""


def _blob_fault(path: str, digest: str, size: int, deep: bool) -> str:
    try:
        there = os.stat(path, follow_symlinks=False).st_size
    except OSError as err:
        return os.strerror(err.errno or 0).lower()
    if there != size:
        return f"{there} bytes instead of {size}"
    if deep:
        with open(path, "rb") as file:
            found = hashlib.sha256()
            while piece := file.read(CHUNK):
                found.update(piece)
        if f"sha256:{found.hexdigest()}" != digest:
            return "its content has another digest"
    return ""


def _opener(store: Store) -> Callable:
    def open_blob(digest: str):
        try:
            return open(f"{store.root}/{BLOBS}/{digest[7:]}", "rb", buffering=0)
        except OSError as err:
            raise ImageError("open blob", digest, errno=err.errno) from err

    return open_blob


def _blob_sizes(record: dict) -> dict[str, int]:
    return {record["manifest"]: record["manifest_size"], record["id"]: record["config_size"],
            **{layer["digest"]: layer["size"] for layer in record["layers"]}}


def _spoiled(store: Store, entry: dict, deep: bool) -> list[str]:
    """List an image's blobs that are there and are not what they should be, as far as its record tells."""
    try:
        sizes = _blob_sizes(lookup.load(store.root, entry["id"], []).record)
    except (ImageError, KeyError, TypeError):
        return []
    paths = {f"{store.root}/{BLOBS}/{digest[7:]}": (digest, size) for digest, size in sizes.items()}
    return [path for path, (digest, size) in paths.items()
            if os.path.lexists(path) and _blob_fault(path, digest, size, deep)]


def _make_again(store: Store, entry: dict, deep: bool) -> None:
    """Derive record and layers anew; what is only half there, or spoiled, makes way first."""
    spoiled = _spoiled(store, entry, deep)
    with store.stage() as staging:
        with layout.locked(store.root):
            for path in spoiled:
                os.rename(path, f"{staging.path}/broken-{path.rpartition('/')[2]}")
            for chain in os.listdir(f"{store.root}/{LAYERS}"):
                whole = os.path.isdir(f"{store.root}/{LAYERS}/{chain}/{lookup.DIFF}")
                if read_layer(store.root, chain) is None or not whole:
                    os.rename(f"{store.root}/{LAYERS}/{chain}", staging.layer_path(f"broken-{chain}"))
        descriptor = {"mediaType": entry["media_type"], "digest": entry["digest"], "size": entry["size"]}
        store.bring(staging, lambda: adopt(Builder(store.root, staging), _opener(store), descriptor), entry["name"],
                    entry["origin"])


def _give_up(store: Store, id: str) -> None:
    with layout.locked(store.root):
        layout.write_index(store.root, [entry for entry in lookup.read_index(store.root) if entry["id"] != id])


def _check_leftovers(store: Store, fix: bool) -> list[Finding]:
    """What is staged by nobody, or needed by nobody: no fault of the store, but room on the disk."""
    for name in (lookup.INDEX, layout.LAYOUT, lookup.LOCK):
        for path in [entry for entry in os.listdir(store.root) if entry.startswith(name + ".") and fix]:
            os.unlink(f"{store.root}/{path}")
    stale = layout.abandoned(store.root, resumable=True)
    freed = store.collect(resumable=True) if fix else 0
    found = [Finding(f"staging area {path.rpartition('/')[2]}", "its maker is gone", fix) for path in stale]
    if freed:
        found.append(Finding("blobs and layers that no image needs", f"{freed} bytes", True))
    return found
