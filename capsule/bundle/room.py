"""What capsule keeps on the disk, and the removal of what nobody needs. Not in the launcher."""

from __future__ import annotations

import os

from capsule.bundle.containers import Containers
from capsule.errors import CapsuleError
from capsule.image import cache, lookup
from capsule.image.store import Store
from capsule.linux import trees
from capsule.volume import views
from capsule.volume.store import Volumes


class Kind:
    """One kind of thing: `rows` are {"name", "size" in bytes, "used" by a container or an image}."""

    def __init__(self, name: str, rows: list[dict]) -> None:
        self.name = name
        self.rows = rows

    def to_data(self) -> dict:
        """Return the sums for JSON and tables."""
        unused = sum(row["size"] for row in self.rows if not row["used"])
        return {"type": self.name, "total": len(self.rows), "active": sum(row["used"] for row in self.rows),
                "size": sum(row["size"] for row in self.rows), "reclaimable": unused}


def kinds(store: Store, containers: Containers, volumes: Volumes) -> list[Kind]:
    """Measure images, layers of containers, volumes and the cache of builds. Raises CapsuleError."""
    return [Kind("images", _images(store)), Kind("containers", _containers(containers)),
            Kind("volumes", _volumes(volumes)), Kind("build cache", _cache(store))]


def _images(store: Store) -> list[dict]:
    """Return a row for each image; a layer that several have counts for the first."""
    seen: set[str] = set()
    rows = []
    for image in store.images():
        size = 0
        for layer in image.record["layers"]:
            if layer["chain"] not in seen:
                seen.add(layer["chain"])
                size += layer["bytes"] + layer["size"]
        rows.append({"name": (image.names or [image.id])[0], "size": size, "used": bool(store.holders(image.id))})
    return rows


def _containers(containers: Containers) -> list[dict]:
    """Return a row for each recorded container: what it has written. One that stands still is still somebody's."""
    rows = []
    for record in containers.records():
        upper = f"{containers.root}/{record.id}/upper0"
        rows.append({"name": record.name, "size": _size(upper), "used": record.wanted})
    return rows


def _volumes(volumes: Volumes) -> list[dict]:
    rows = []
    for name in volumes.names():
        try:
            rows.append({"name": name, "size": views.size(volumes, name), "used": bool(volumes.holders(name))})
        except OSError:
            continue  # it has gone meanwhile
    return rows


def _cache(store: Store) -> list[dict]:
    """Return a row for each layer that only the cache keeps."""
    blobs = cache.needed(store.root)[0]
    used = {layer["digest"][7:] for image in store.images() for layer in image.record["layers"]}
    found = []
    for blob in sorted(blobs - used):
        try:
            size = os.stat(f"{store.root}/{lookup.BLOBS}/{blob}").st_size
        except OSError:
            continue
        found.append({"name": blob[:12], "size": 2 * size, "used": False})  # the blob, and what it unpacks to
    return found


def _size(path: str) -> int:
    try:
        fd = trees.open_directory(path)
    except OSError:
        return 0
    try:
        return views.tree_size(fd)
    except OSError:
        return 0  # it has changed while it was looked at
    finally:
        os.close(fd)


def prune(store: Store, volumes: Volumes, *, all_images: bool, with_volumes: bool) -> tuple[list[str], int]:
    """Remove what nobody needs; return (what went, bytes freed). Containers are somebody's: `rm` removes them.

    Raises CapsuleError.
    """
    gone: list[str] = []
    freed = 0
    if with_volumes:
        names, freed = views.prune(volumes, all_unused=False)
        gone += [f"volume {name}" for name in names]
    else:
        volumes.sweep()
    if os.path.exists(f"{store.root}/{lookup.LOCK}"):
        steps = cache.clear(store.root)
        gone += [f"{steps} steps of builds"] if steps else []
        images, bytes = store.prune(all_unused=all_images)
        gone += [f"image {id}" for id in images]
        freed += bytes
    return gone, freed


def check_volumes(volumes: Volumes, containers: Containers, alive, *, fix: bool) -> list[tuple[str, str, bool]]:
    """Look for volumes that cannot be read, holds of containers that are gone, and what dead makers left.

    alive(id): whether the runtime has the container. Returns (subject, what is wrong, whether it was mended).
    """
    found: list[tuple[str, str, bool]] = []
    for name in volumes.names():
        try:
            volumes.load(name)
        except CapsuleError as err:
            found.append((f"volume {name}", str(err), False))
        for user in volumes.holders(name):
            # Its directory is there before its first hold, and goes after the last.
            if not os.path.isdir(f"{containers.root}/{user}") and not alive(user):
                if fix:
                    volumes.release(name, user)
                found.append((f"volume {name}", f"held by {user}, a container that is gone", fix))
    if fix:
        found += [(f"volumes' staging area {name}", "its maker is gone", True) for name in volumes.sweep()]
    return found

