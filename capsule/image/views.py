"""What people are told of images: rows, details, history."""

from __future__ import annotations

from capsule.image.lookup import Image
from capsule.image.store import Store

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(size: int) -> str:
    """Return a size in decimal units, as docker and podman print it."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{size}B" if unit == 0 else f"{value:.3g}{_UNITS[unit]}"


def size(image: Image) -> int:
    """Return the bytes of the files of all layers of an image."""
    return sum(layer["bytes"] for layer in image.record["layers"])


def rows(store: Store) -> list[dict]:
    """Return a row for each name of each image, and one for an image without a name."""
    found = []
    for image in store.images():
        layers = image.record["layers"]
        for name in image.names or [""]:
            found.append({"id": image.id, "layer_id": f"sha256:{layers[-1]['chain']}" if layers else "",
                          "created": image.config.get("created") or "", "size": size(image), "name": name,
                          "digest": image.manifest, "in_use": bool(store.holders(image.id)),
                          "labels": (image.config.get("config") or {}).get("Labels") or {}})
    return found


def details(store: Store, image: Image) -> dict:
    """Return all that is known of an image."""
    layers = image.record["layers"]
    return {"id": image.id, "names": image.names, "digest": image.manifest,
            "layer_id": f"sha256:{layers[-1]['chain']}" if layers else "", "created": image.config.get("created") or "",
            "size": size(image), "holders": store.holders(image.id), "layers": layers, "directories": image.layers,
            "config": image.config}


def history(image: Image) -> list[dict]:
    """Return the steps an image was made by, the last one first, each with the size of its layer."""
    layers = list(image.record["layers"])
    steps = image.config.get("history") or [{} for _ in layers]
    found = []
    for step in steps:
        layer = None if step.get("empty_layer") or not layers else layers.pop(0)
        found.append({"created": step.get("created") or "", "created_by": step.get("created_by") or "",
                      "comment": step.get("comment") or "", "size": layer["bytes"] if layer else 0,
                      "layer": f"sha256:{layer['chain']}" if layer else ""})
    return found[::-1]
