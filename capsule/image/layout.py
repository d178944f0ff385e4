"""The store's directory: its files, their atomic writing, staging areas (docs/images.md "On disk").

    oci-layout, index.json    an OCI image layout; index.json is the one place that makes an image exist
    blobs/sha256/HEX          manifests, configurations, layers as they came
    images/HEX.json           what was derived of the image with that id
    layers/CHAIN/diff         an unpacked layer, by its chain id; layers/CHAIN/layer.json tells of it
    holds/HEX/USER            who needs an image
    cache/KEY.json            what a step of a build made (capsule.image.cache)
    staging/NAME              what is being made; its lock tells whether its maker lives
    lock                      exclusively for whoever publishes or removes, shared for whoever holds
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from types import TracebackType

from capsule._ext import proc, unpack
from capsule.errors import ImageError
from capsule.image import lookup
from capsule.image.documents import OCI_INDEX
from capsule.linux import files

VERSION = 1
LAYOUT = "oci-layout"
STAGING = "staging"
LAYER_RECORD = "layer.json"
_LAYOUT_TEXT = {"imageLayoutVersion": "1.0.0", "capsuleStoreVersion": VERSION}
_DIRECTORIES = (lookup.BLOBS, lookup.IMAGES, lookup.LAYERS, lookup.HOLDS, STAGING)
_WRITE_CHUNK = 1 << 20


def prepare(root: str) -> None:
    """Make the store's directory, where it is not there yet.

    Raises ImageError, also where a newer capsule made it.
    """
    try:
        if not os.path.exists(f"{root}/{LAYOUT}"):
            for name in ("", *_DIRECTORIES):
                os.makedirs(f"{root}/{name}", 0o700, exist_ok=True)
            os.close(os.open(f"{root}/{lookup.LOCK}", os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            write_json(f"{root}/{LAYOUT}", _LAYOUT_TEXT)
        document = json.loads(lookup.read_file(f"{root}/{LAYOUT}"))
        version = document.get("capsuleStoreVersion") if isinstance(document, dict) else None
    except OSError as err:
        raise ImageError("make image store", root, errno=err.errno) from err
    except ValueError as err:
        raise ImageError("open image store", root, f"{LAYOUT} is damaged") from err
    if version != VERSION:
        raise ImageError("open image store", root, f"its version is {version!r}, this capsule knows {VERSION}")


def write_json(path: str, value: object) -> None:
    """Replace a file by a document in one step, on the disk before it has the name. Raises OSError."""
    write_bytes(path, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape"))


def write_bytes(path: str, data: bytes) -> None:
    """Replace a file in one step. Raises OSError."""
    temporary = f"{path}.{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
        files.sync_directory(os.path.dirname(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_index(root: str, entries: list[dict]) -> None:
    """Replace the index: from here on the store has these images and no others. Raises OSError."""
    manifests = []
    for entry in sorted(entries, key=lambda entry: (entry["name"], entry["id"])):
        notes = {lookup.IMAGE_ID: entry["id"]}
        if entry["name"]:
            notes[lookup.REF_NAME] = entry["name"]
        if entry["origin"]:
            notes[lookup.ORIGIN] = entry["origin"]
        manifests.append({"mediaType": entry["media_type"], "digest": entry["digest"], "size": entry["size"],
                          "annotations": notes})
    write_json(f"{root}/{lookup.INDEX}", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


@contextlib.contextmanager
def locked(root: str) -> Iterator[None]:
    """Have the store to ourselves: for renames and small files, never for what takes long."""
    fd = lookup.lock(root, exclusive=True)
    try:
        yield
    finally:
        os.close(fd)


def sync(path: str) -> None:
    """Have what was staged on the disk before something that is synced can name it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack.syncfs(fd)
    finally:
        os.close(fd)


def remove_tree(path: str) -> None:
    """Remove whatever has this path; fine when nothing has. Raises OSError."""
    directory, _, name = path.rpartition("/")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack.removetree(fd, name)
    finally:
        os.close(fd)


class Staging:
    """A directory for what is being made: nothing in it is visible, and whoever finds it unlocked may remove it.

    A name of one's own lets a later try go on with what an earlier one left (pull).
    """

    def __init__(self, root: str, name: str = "") -> None:
        self.root = root
        self.keep = False  # what is there, for a later try
        self.path = f"{root}/{STAGING}/{name or secrets.token_hex(12)}"
        self.fd = self._enter()

    def _enter(self) -> int:
        while True:
            try:
                os.makedirs(self.path, 0o700, exist_ok=True)
                fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                proc.flock(fd, proc.LOCK_EX | proc.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                    break
                os.close(fd)
            except BlockingIOError as err:
                os.close(fd)
                raise ImageError("stage", self.path.rpartition("/")[2], "another capsule is at the same work") from err
            except FileNotFoundError:
                continue  # a collector took it between two of our steps
            except OSError as err:
                raise ImageError("make", self.path, errno=err.errno) from err
        for name in ("blobs/sha256", lookup.LAYERS):
            os.makedirs(f"{self.path}/{name}", 0o700, exist_ok=True)
        return fd

    def blob_path(self, digest: str) -> str:
        """Return where a blob is staged."""
        return f"{self.path}/blobs/sha256/{digest[7:]}"

    def layer_path(self, chain: str) -> str:
        """Return where a layer is staged."""
        return f"{self.path}/{lookup.LAYERS}/{chain}"

    def add_blob(self, data: bytes) -> str:
        """Stage a small blob and return its digest. Raises OSError."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        write_bytes(self.blob_path(digest), data)
        return digest

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not (self.keep and kind is not None):
                with contextlib.suppress(OSError):  # `system check` finds what could not be removed
                    remove_tree(self.path)
        finally:
            os.close(self.fd)


def abandoned(root: str, *, resumable: bool) -> list[str]:
    """List the staging areas whose makers are gone; resumable: also those that a later pull would go on with."""
    found = []
    for name in sorted(os.listdir(f"{root}/{STAGING}")):
        if name.startswith("pull-") and not resumable:
            continue
        path = f"{root}/{STAGING}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        try:
            proc.flock(fd, proc.LOCK_EX | proc.LOCK_NB)
            found.append(path)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
    return found


def no_space(err: OSError) -> bool:
    """Tell whether a disk, or a share of it, is full."""
    return err.errno in (errno.ENOSPC, errno.EDQUOT)
