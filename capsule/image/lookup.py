"""Find images and hold them, from the store's index files: what starting a container needs. Linked into the launcher.

Writes nothing but holds. Whoever removes from the store has its lock exclusively, so whoever makes a hold under the
shared lock has the image for as long as the hold is there.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import json, proc
from capsule.errors import ImageError
from capsule.image import names
from capsule.linux.files import read as read_file

INDEX = "index.json"
LOCK = "lock"
BLOBS = "blobs/sha256"
IMAGES = "images"
LAYERS = "layers"
HOLDS = "holds"
DIFF = "diff"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_ID = "capsule.image.id"
ORIGIN = "capsule.image.origin"  # the digest a registry has the image by, where ours is another


class Image:
    """An image of a store.

    `id` is its configuration's digest, `config` that configuration whole (image-spec config.md); `layers` are the
    directories that overlayfs takes as lower ones, bottom first; `record` is what the store noted of it.
    """

    __slots__ = ("id", "manifest", "names", "config", "layers", "record")

    def __init__(self, id: str, manifest: str, names: list[str], layers: list[str], record: dict) -> None:
        self.id = id
        self.manifest = manifest
        self.names = names
        self.config: dict = record["config"]
        self.layers = layers
        self.record = record


def find(root: str, ref: str) -> Image:
    """Return the image of a name, a digest or the beginning of an id.

    Raises ImageError: there is none, or several.
    """
    entries = read_index(root)
    return load(root, select(entries, ref), entries)


def select(entries: list[dict], ref: str) -> str:
    """Return the id of the image that `ref` means.

    Raises ImageError.
    """
    if names.is_digest(ref):
        found = [entry["id"] for entry in entries if ref in (entry["id"], entry["digest"], entry["origin"])]
    else:
        found = _by_name(entries, ref) or _by_prefix(entries, ref)
    ids = sorted(set(found))
    if len(ids) > 1:
        raise ImageError("find image", ref, f"ambiguous: {', '.join([id[7:19] for id in ids])}")
    if not ids:
        raise ImageError("find image", ref, "no such image; `capsule image list` names those that are here")
    return ids[0]


def _by_name(entries: list[dict], ref: str) -> list[str]:
    try:
        name = names.parse(ref)
    except ImageError:
        return []
    for spelling in names.spellings(name):
        if name.digest:
            path = spelling.rpartition(":")[0]
            found = [entry["id"] for entry in entries if entry["name"].rpartition(":")[0] == path
                     and name.digest in (entry["id"], entry["digest"], entry["origin"])]
        else:
            found = [entry["id"] for entry in entries if entry["name"] == spelling]
        if found:
            return found
    return []


def _by_prefix(entries: list[dict], ref: str) -> list[str]:
    prefix = ref[7:] if ref.startswith("sha256:") else ref
    if not names.is_hex(prefix):
        return []
    return [entry["id"] for entry in entries if entry["id"].startswith("sha256:" + prefix)]


def read_index(root: str) -> list[dict]:
    """List the references of a store: {name ("" without one), id, digest (of the manifest), size, origin}.

    Raises ImageError where the index is damaged.
    """
    try:
        data = read_file(f"{root}/{INDEX}")
    except FileNotFoundError:
        return []
    except OSError as err:
        raise ImageError("read", f"{root}/{INDEX}", errno=err.errno) from err
    try:
        document: dict = json.loads(data)  # type: ignore[assignment]  # what it is not, the next line tells
        return [_entry(descriptor) for descriptor in document["manifests"]]
    except (ValueError, KeyError, TypeError) as err:
        raise ImageError("read", f"{root}/{INDEX}", "damaged; `capsule system check` says more") from err


def _entry(descriptor: dict) -> dict:
    notes = descriptor["annotations"]
    entry = {"name": notes.get(REF_NAME, ""), "id": notes[IMAGE_ID], "digest": descriptor["digest"],
             "size": descriptor["size"], "origin": notes.get(ORIGIN, ""), "media_type": descriptor["mediaType"]}
    if not (names.is_digest(entry["id"]) and names.is_digest(entry["digest"])):
        raise ValueError(entry["id"])
    return entry


def load(root: str, id: str, entries: list[dict]) -> Image:
    """Return the image of an id that the index names.

    Raises ImageError.
    """
    path = f"{root}/{IMAGES}/{id[7:]}.json"
    try:
        record: dict = json.loads(read_file(path))  # type: ignore[assignment]
        layers = [f"{root}/{LAYERS}/{chain}/{DIFF}" for chain in record["lower"]]
        manifest = record["manifest"]
    except OSError as err:
        raise ImageError("read", path, errno=err.errno) from err
    except (ValueError, KeyError, TypeError) as err:
        raise ImageError("read", path, "damaged; `capsule system check` says more") from err
    own = [entry["name"] for entry in entries if entry["id"] == id and entry["name"]]
    return Image(id, manifest, own, layers, record)


def hold(root: str, id: str, user: str) -> None:
    """Keep an image from being removed until `release`; a second hold of the same user is the same hold.

    Raises ImageError: the image is gone.
    """
    _check_user(user)
    lock_fd = lock(root, exclusive=False)
    try:
        # The index, not what lies about: what it no longer names is about to be collected.
        if id not in [entry["id"] for entry in read_index(root)]:
            raise ImageError("hold image", id, "it has been removed")
        _make_dir(f"{root}/{HOLDS}/{id[7:]}")
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        posix.close(posix.open(f"{root}/{HOLDS}/{id[7:]}/{user}", flags, 0o600))
    except OSError as err:
        raise ImageError("hold image", id, errno=err.errno) from err
    finally:
        posix.close(lock_fd)


def release(root: str, id: str, user: str) -> None:
    """End a hold; fine when there is none.

    Raises ImageError.
    """
    _check_user(user)
    try:
        posix.unlink(f"{root}/{HOLDS}/{id[7:]}/{user}")
    except FileNotFoundError:
        pass
    except OSError as err:
        raise ImageError("release image", id, errno=err.errno) from err


def holders(root: str, id: str) -> list[str]:
    """List who holds an image."""
    try:
        return sorted(posix.listdir(f"{root}/{HOLDS}/{id[7:]}"))
    except FileNotFoundError:
        return []


def lock(root: str, *, exclusive: bool) -> int:
    """Return an fd that has the store's lock; closing it lets go.

    Raises ImageError: there is no store, among others.
    """
    try:
        fd = posix.open(f"{root}/{LOCK}", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError as err:
        raise ImageError("lock image store", root, errno=err.errno) from err
    proc.flock(fd, proc.LOCK_EX if exclusive else proc.LOCK_SH)
    return fd


def _make_dir(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except OSError as err:
        if err.errno != errno.EEXIST:
            raise


def _check_user(user: str) -> None:
    if not user or "/" in user or "\0" in user or user in (".", ".."):
        raise ImageError("hold image", repr(user), "not a holder's id")
