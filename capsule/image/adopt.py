"""Images from blobs and layers: everything is verified and unpacked in a staging area; the store publishes it whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from capsule._ext import unpack
from capsule.errors import ImageError
from capsule.image import documents, layers, layout
from capsule.image.decompress import GZIP, TAR, ZSTD, Source
from capsule.image.layout import Staging
from capsule.image.lookup import BLOBS, DIFF, LAYERS, read_file
from capsule.linux import namespaces

Opener = Callable[[str], BinaryIO]  # of a blob, by its digest

_LAYER_TYPES = {TAR: documents.OCI_LAYER, GZIP: f"{documents.OCI_LAYER}+gzip", ZSTD: f"{documents.OCI_LAYER}+zstd"}


@dataclass
class Made:
    """An image that a staging area and the store have together: what the store's record of it will say."""

    id: str
    manifest: str
    manifest_size: int
    media_type: str
    config: dict
    config_size: int
    layers: list[dict] = field(default_factory=list)

    def record(self) -> dict:
        """Return the record; `lower`: chains for overlayfs, without what an opaque root above hides whole."""
        lower: list[str] = []
        for layer in self.layers:
            lower = [*([] if layer["opaque_root"] else lower), layer["chain"]]
        return {"schema": 1, "id": self.id, "manifest": self.manifest, "manifest_size": self.manifest_size,
                "media_type": self.media_type, "config": self.config, "config_size": self.config_size,
                "layers": self.layers, "lower": lower}

    def blobs(self) -> list[str]:
        """List the digests of what the image consists of."""
        return [self.manifest, self.id, *(layer["digest"] for layer in self.layers)]


class Builder:
    """Layers upon layers, in a staging area; those that the store has are taken from there."""

    def __init__(self, root: str, staging: Staging, *, flags: int = 0) -> None:
        self.root = root
        self.staging = staging
        self.flags = flags
        if not namespaces.is_initial_user():
            self.flags |= unpack.USERXATTR | unpack.SKIP_DEVICES
        self.layers: list[dict] = []

    def directories(self) -> list[str]:
        """List the layers' directories, bottom first."""
        return [self._directory(layer["chain"]) for layer in self.layers]

    def reuse(self, known: list[dict]) -> None:
        """Begin with the layers of an image of the store."""
        self.layers = list(known)

    def known(self, diff_id: str, digest: str) -> dict | None:
        """Return the store's record of the next layer, where it has both the blob and the directory."""
        chain = layers.chain_id(self._parent(), diff_id)
        record = read_layer(self.root, chain)
        if record is None or digest not in record["blobs"] or not os.path.exists(f"{self.root}/{BLOBS}/{digest[7:]}"):
            return None
        return {**record["layer"], "digest": digest, **record["blobs"][digest]}

    def add(
        self,
        source: Source,
        *,
        digest: str = "",
        size: int = -1,
        diff_id: str = "",
        media_type: str = "",
        keep: bool = True,
        progress: layers.Progress | None = None,
    ) -> dict:
        """Unpack the next layer; digest, size and diff_id: what it must be, where that is known; keep: stage its blob.

        Raises ImageError.
        """
        number = f"new-{len(self.layers)}"
        copy = f"{self.staging.path}/{number}.blob" if keep else ""
        try:
            directory = layout.Staging.layer_path(self.staging, number)
            diff = layers.make_diff(self.staging, number)
            found = layers.take(source, diff, lower=self.directories(), copy_to=copy, flags=self.flags,
                                progress=progress)
            _verify(found, digest, size, diff_id)
            layer = _layer(found, layers.chain_id(self._parent(), found.diff_id), media_type)
            layout.write_json(f"{directory}/{layout.LAYER_RECORD}", _record_of(layer))
            if copy:
                os.rename(copy, self.staging.blob_path(found.digest))
            target = self.staging.layer_path(layer["chain"])
            layout.remove_tree(target)  # of an earlier try
            os.rename(directory, target)
        except OSError as err:
            raise ImageError("unpack layer", err.filename or "", errno=err.errno) from err
        self.layers.append(layer)
        return layer

    def _parent(self) -> str:
        return self.layers[-1]["chain"] if self.layers else ""

    def _directory(self, chain: str) -> str:
        staged = f"{self.staging.layer_path(chain)}/{DIFF}"
        return staged if os.path.isdir(staged) else f"{self.root}/{LAYERS}/{chain}/{DIFF}"


def compose(builder: Builder, config: dict, data: bytes = b"") -> Made:
    """Make an image of a builder's layers and a configuration; data: its text, where it is not to be written anew.

    Raises OSError.
    """
    if not data:
        config["rootfs"] = {"type": "layers", "diff_ids": [layer["diff_id"] for layer in builder.layers]}
        data = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
    id = builder.staging.add_blob(data)
    manifest = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST,
        "config": {"mediaType": documents.OCI_CONFIG, "digest": id, "size": len(data)},
        "layers": [{"mediaType": layer["media_type"], "digest": layer["digest"], "size": layer["size"]}
                   for layer in builder.layers],
    }
    text = json.dumps(manifest, separators=(",", ":")).encode()
    digest = builder.staging.add_blob(text)
    return Made(id, digest, len(text), documents.OCI_MANIFEST, config, len(data), builder.layers)


def adopt(builder: Builder, open_blob: Opener, descriptor: dict, progress=None) -> Made:
    """Take an image whose blobs are at hand: verify all, unpack what the store has not.

    progress(number, of how many, descriptor) returns what is told the bytes read of that layer. Raises ImageError.
    """
    text = _document(open_blob, descriptor, "manifest")
    manifest = documents.parse(text, "manifest")
    documents.check_manifest(manifest, "manifest", descriptor.get("mediaType", ""))
    config_text = _document(open_blob, manifest["config"], "configuration")
    config = documents.parse(config_text, "configuration")
    diff_ids = documents.check_config(config, "configuration", len(manifest["layers"]))
    for number, (layer, diff_id) in enumerate(zip(manifest["layers"], diff_ids, strict=True)):
        known = builder.known(diff_id, layer["digest"])
        if known is not None:
            builder.layers.append({**known, "media_type": layer["mediaType"]})
            continue
        with open_blob(layer["digest"]) as file:
            builder.add(file, digest=layer["digest"], size=layer["size"], diff_id=diff_id,
                        media_type=layer["mediaType"], keep=False,
                        progress=progress(number, len(diff_ids), layer) if progress is not None else None)
    try:
        builder.staging.add_blob(text)
        builder.staging.add_blob(config_text)
    except OSError as err:
        raise ImageError("write", builder.staging.path, errno=err.errno) from err
    return Made(manifest["config"]["digest"], descriptor["digest"], len(text), descriptor["mediaType"], config,
                len(config_text), builder.layers)


def read_layer(root: str, chain: str) -> dict | None:
    """Return the record of a layer of the store, None without a whole one."""
    try:
        record = json.loads(read_file(f"{root}/{LAYERS}/{chain}/{layout.LAYER_RECORD}"))
        return record if {"layer", "blobs"} <= set(record) else None
    except (OSError, ValueError, TypeError):
        return None


def read_blob(open_blob: Opener, digest: str, size: int, subject: str) -> bytes:
    """Read a small blob and verify it.

    Raises ImageError.
    """
    if size > documents.SIZE_MAX:
        raise ImageError("read", subject, f"larger than {documents.SIZE_MAX} bytes")
    with open_blob(digest) as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ImageError("verify", f"{subject} {digest}", f"{len(data)} bytes or more, {size} promised")
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise ImageError("verify", f"{subject} {digest}", "its content has another digest")
    return data


def _document(open_blob: Opener, descriptor: dict, subject: str) -> bytes:
    documents.check_descriptor(descriptor, subject, None)
    return read_blob(open_blob, descriptor["digest"], descriptor["size"], subject)


def _verify(found: layers.Unpacked, digest: str, size: int, diff_id: str) -> None:
    if digest and found.digest != digest:
        raise ImageError("verify", f"layer {digest}", f"its content has the digest {found.digest}")
    if size >= 0 and found.size != size:
        raise ImageError("verify", f"layer {digest}", f"{found.size} bytes, {size} promised")
    if diff_id and found.diff_id != diff_id:
        raise ImageError("verify", f"layer {digest}", f"unpacked it is {found.diff_id}, not {diff_id}")


def _layer(found: layers.Unpacked, chain: str, media_type: str) -> dict:
    return {"chain": chain, "diff_id": found.diff_id, "digest": found.digest, "size": found.size,
            "tar_size": found.tar_size, "entries": found.entries, "bytes": found.bytes,
            "opaque_root": found.opaque_root, "media_type": media_type or _LAYER_TYPES.get(found.compression, "")}


def _record_of(layer: dict) -> dict:
    """Return what lies beside a layer's directory: itself, and the blobs that are known to unpack to it."""
    own = {key: layer[key] for key in ("chain", "diff_id", "tar_size", "entries", "bytes", "opaque_root")}
    return {"layer": own, "blobs": {layer["digest"]: {"size": layer["size"], "media_type": layer["media_type"]}}}
