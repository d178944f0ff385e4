"""The store of images: what is there, what is published, named, held and removed (docs/images.md).

Nothing is visible before index.json names it, and index.json names nothing that is not whole. Whoever publishes or
removes has the store's lock; it is held for renames and small files only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from capsule.errors import ImageError, Unsupported
from capsule.image import cache, layout, lookup, names
from capsule.image.adopt import Made, read_layer
from capsule.image.layout import LAYER_RECORD, Staging
from capsule.image.lookup import BLOBS, IMAGES, LAYERS, Image

__all__ = ["Image", "Store"]

_TRIES = 5  # of bringing in an image whose known parts others remove meanwhile


class _Vanished(ImageError):
    """What the store had when the image was made has been removed since."""


class Store:
    """The images below one directory, which is made by the first one that comes in."""

    def __init__(self, root: str) -> None:
        self.root = root

    def find(self, ref: str) -> Image:
        """Return the image of a name, a digest or the beginning of an id.

        Raises ImageError: there is none, or several.
        """
        return lookup.find(self.root, ref)

    def hold(self, image_id: str, user_id: str) -> None:
        """Keep an image until `release`, whatever happens to its names and to us. Raises ImageError."""
        lookup.hold(self.root, image_id, user_id)

    def release(self, image_id: str, user_id: str) -> None:
        """End a hold; fine when there is none. Raises ImageError."""
        lookup.release(self.root, image_id, user_id)

    def holders(self, image_id: str) -> list[str]:
        """List who holds an image."""
        return lookup.holders(self.root, image_id)

    def images(self) -> list[Image]:
        """List the images, in the order of their names. Raises ImageError."""
        entries = lookup.read_index(self.root)
        ids = dict.fromkeys(entry["id"] for entry in entries)
        return [lookup.load(self.root, id, entries) for id in ids]

    def stage(self, name: str = "") -> Staging:
        """Return a staging area of the store, to be used by `with`. Raises ImageError, Unsupported."""
        if os.geteuid() != 0:
            raise Unsupported("images of an ordinary user", "", "need a user namespace, for files have many owners: "
                              "unshare --user --map-root-user --map-auto capsule image ...")
        layout.prepare(self.root)
        return Staging(self.root, name)

    def bring(self, staging: Staging, make: Callable[[], Made], name: str = "", origin: str = "") -> Image:
        """Make and publish an image; again, where others remove what it was to share. Raises ImageError."""
        for _ in range(_TRIES - 1):
            try:
                return self.publish(staging, make(), name, origin)
            except _Vanished:
                continue
        return self.publish(staging, make(), name, origin)

    def publish(self, staging: Staging, made: Made, name: str = "", origin: str = "") -> Image:
        """Make an image visible, under a name if one is given; a name that another image had becomes this one's.

        Raises ImageError; the store is then as it was, but for blobs and layers that nothing names.
        """
        stored = names.parse(name).tagged() if name else ""
        if stored == f"{names.HOST}:{names.DEFAULT_TAG}":
            raise ImageError("name image", name, "the name of this machine's own root, a built-in image")
        try:
            layout.sync(staging.path)
            with layout.locked(self.root):
                self._move_in(staging, made)
                layout.write_json(f"{self.root}/{IMAGES}/{made.id[7:]}.json", made.record())
                same = {"digest": made.manifest, "size": made.manifest_size, "media_type": made.media_type}
                entry = {"name": stored, "id": made.id, "origin": origin, **same}
                others = [{**old, **same} if old["id"] == made.id else old for old in lookup.read_index(self.root)]
                layout.write_index(self.root, _with_entry(others, entry))
        except OSError as err:
            raise ImageError("publish image", name or made.id, errno=err.errno) from err
        return self.find(made.id)

    def _move_in(self, staging: Staging, made: Made) -> None:
        for layer in made.layers:
            if read_layer(self.root, layer["chain"]) is None and not os.path.isdir(staging.layer_path(layer["chain"])):
                raise _Vanished("publish image", made.id, f"layer {layer['chain']} has been removed meanwhile")
        for digest in made.blobs():
            places = (f"{self.root}/{BLOBS}/{digest[7:]}", staging.blob_path(digest))
            if not any(os.path.exists(place) for place in places):
                raise _Vanished("publish image", made.id, f"blob {digest} has been removed meanwhile")
        for digest in made.blobs():
            if not os.path.exists(f"{self.root}/{BLOBS}/{digest[7:]}"):
                os.rename(staging.blob_path(digest), f"{self.root}/{BLOBS}/{digest[7:]}")
        for layer in made.layers:
            record = read_layer(self.root, layer["chain"])
            target = f"{self.root}/{LAYERS}/{layer['chain']}"
            if record is None:
                os.rename(staging.layer_path(layer["chain"]), target)
            elif layer["digest"] not in record["blobs"]:
                record["blobs"][layer["digest"]] = {"size": layer["size"], "media_type": layer["media_type"]}
                layout.write_json(f"{target}/{LAYER_RECORD}", record)

    def tag(self, ref: str, name: str) -> Image:
        """Give an image a further name. Raises ImageError."""
        stored = names.parse(name).tagged()
        self.find(ref)  # there may be no store yet to lock
        with layout.locked(self.root):
            entries = lookup.read_index(self.root)
            id = lookup.select(entries, ref)
            entry = next(entry for entry in entries if entry["id"] == id)
            self._write_index(_with_entry(entries, {**entry, "name": stored}))
        return self.find(id)

    def remove(self, ref: str, *, force: bool = False) -> tuple[list[str], str]:
        """Take away a name; with the last one the image goes too. Returns (names taken, id of the image if it went).

        An id takes all names away, where it has several only by force. An image that is held stays without a name by
        force until it is released and pruned. Raises ImageError.
        """
        self.find(ref)  # there may be no store yet to lock
        with layout.locked(self.root):
            entries = lookup.read_index(self.root)
            id = lookup.select(entries, ref)
            mine = [entry for entry in entries if entry["id"] == id]
            named = [entry for entry in mine if entry["name"] in _meant(ref)]
            if not named and len(mine) > 1 and not force:
                raise ImageError("remove image", ref, "it has several names; remove those, or use --force")
            going = named or mine
            held = self.holders(id)
            last = len(going) == len(mine)
            if last and held and not force:
                raise ImageError("remove image", ref, f"in use by {', '.join(held)}")
            left = [entry for entry in entries if entry not in going]
            if last and held:
                left.append({**mine[0], "name": ""})
            self._write_index(left)
        self.collect()
        return [entry["name"] for entry in going if entry["name"]], id if last and not held else ""

    def prune(self, *, all_unused: bool = False) -> tuple[list[str], int]:
        """Remove images without a name, or all that nobody holds; return (their ids, bytes freed).

        Raises ImageError.
        """
        with layout.locked(self.root):
            entries = lookup.read_index(self.root)
            named = {entry["id"] for entry in entries if entry["name"]}
            going = {entry["id"] for entry in entries
                     if (all_unused or entry["id"] not in named) and not self.holders(entry["id"])}
            self._write_index([entry for entry in entries if entry["id"] not in going])
        freed = self.collect(resumable=True)
        return sorted(going), freed

    def collect(self, *, resumable: bool = False) -> int:
        """Remove blobs, layers and records that no image needs, and what makers that died have staged.

        resumable: also what a pull that was interrupted would go on with. Returns the bytes freed. Raises ImageError.
        """
        try:
            with Staging(self.root) as trash:
                with layout.locked(self.root):
                    freed = self._move_out(trash)
                for path in layout.abandoned(self.root, resumable=resumable):
                    layout.remove_tree(path)
        except OSError as err:
            raise ImageError("collect", err.filename or self.root, errno=err.errno) from err
        return freed

    def _move_out(self, trash: Staging) -> int:
        entries = lookup.read_index(self.root)
        blobs, chains = cache.needed(self.root)
        ids: set[str] = set()
        for id in dict.fromkeys(entry["id"] for entry in entries):
            record = lookup.load(self.root, id, entries).record
            ids.add(id[7:])
            blobs.update([record["manifest"][7:], id[7:], *(layer["digest"][7:] for layer in record["layers"])])
            chains.update(layer["chain"] for layer in record["layers"])
        freed = 0
        for name in _unknown(f"{self.root}/{BLOBS}", blobs):
            freed += os.stat(f"{self.root}/{BLOBS}/{name}").st_size
            os.rename(f"{self.root}/{BLOBS}/{name}", f"{trash.path}/blobs/sha256/{name}")
        for name in _unknown(f"{self.root}/{LAYERS}", chains):
            freed += (read_layer(self.root, name) or {"layer": {"bytes": 0}})["layer"]["bytes"]
            os.rename(f"{self.root}/{LAYERS}/{name}", trash.layer_path(name))
        for name in _unknown(f"{self.root}/{IMAGES}", {f"{id}.json" for id in ids}):
            os.unlink(f"{self.root}/{IMAGES}/{name}")
        for name in _unknown(f"{self.root}/{lookup.HOLDS}", ids):
            with contextlib.suppress(OSError):  # not empty: a hold on an image that is gone is its holder's to release
                os.rmdir(f"{self.root}/{lookup.HOLDS}/{name}")
        return freed

    def _write_index(self, entries: list[dict]) -> None:
        try:
            layout.write_index(self.root, entries)
        except OSError as err:
            raise ImageError("write", f"{self.root}/{lookup.INDEX}", errno=err.errno) from err


def _with_entry(entries: list[dict], entry: dict) -> list[dict]:
    """Add a reference: the image that loses the name stays, without one; an image with a name needs no nameless one."""
    kept = [{**old, "name": ""} if entry["name"] and old["name"] == entry["name"] and old["id"] != entry["id"] else old
            for old in entries if (old["name"], old["id"]) != (entry["name"], entry["id"])]
    if entry["name"] or not any(old["id"] == entry["id"] for old in kept):
        kept.append(entry)
    named = {old["id"] for old in kept if old["name"]}
    found: list[dict] = []
    for old in kept:
        nameless_twin = not old["name"] and any(other["id"] == old["id"] and not other["name"] for other in found)
        if old["name"] or (old["id"] not in named and not nameless_twin):
            found.append(old)
    return found


def _meant(ref: str) -> list[str]:
    """List the names of a store that ref can be; none where it is an id."""
    try:
        return [] if names.is_digest(ref) else names.spellings(names.parse(ref))
    except ImageError:
        return []


def _unknown(directory: str, known: Iterable[str]) -> list[str]:
    return sorted(set(os.listdir(directory)) - set(known))
