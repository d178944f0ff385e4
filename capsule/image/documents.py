"""Manifests, indexes and configurations of images (image-spec, docker's schema 2), checked before they are believed.

A document that two readers could take for different things is refused: both `layers` and `manifests`, a media type
other than its descriptor's, a digest that is not plain (CVE-2021-41190, CVE-2024-3727).
"""

from __future__ import annotations

from types import NoneType
from typing import NoReturn

from capsule._ext import json
from capsule.errors import ImageError, Unsupported
from capsule.image.names import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
LAYERS = (OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip",
          f"{DOCKER_LAYER}.zstd")

SIZE_MAX = 4 << 20  # of a document, bytes; registries' own limit
CHILDREN_MAX = 1000  # layers of a manifest, manifests of an index
DEPTH_MAX = 3  # of indexes within indexes


def parse(data: bytes, subject: str) -> dict:
    """Read a document.

    Raises ImageError.
    """
    if len(data) > SIZE_MAX:
        raise ImageError("read", subject, f"larger than {SIZE_MAX} bytes")
    try:
        document = json.loads(data)
    except json.JSONError as err:
        raise ImageError("read", subject, f"not a JSON document: {err.message}") from err
    if not isinstance(document, dict):
        raise ImageError("read", subject, "not a JSON object")
    return document


def is_index(document: dict, subject: str) -> bool:
    """Tell an index from a manifest.

    Raises ImageError where it could be both, or is neither.
    """
    if ("manifests" in document) == ("layers" in document) or ("manifests" in document and "config" in document):
        _refuse(subject, "ambiguous: it must be either an index or a manifest")
    return "manifests" in document


def check_manifest(document: dict, subject: str, media_type: str = "") -> None:
    """Check a manifest; media_type is what its descriptor says, "" without one.

    Raises ImageError.
    """
    if is_index(document, subject):
        _refuse(subject, "an index where a manifest is wanted")
    _check_head(document, subject, media_type, MANIFESTS)
    check_descriptor(document.get("config"), f"{subject}: config", CONFIGS)
    for number, layer in enumerate(_children(document, "layers", subject)):
        check_descriptor(layer, f"{subject}: layers[{number}]", LAYERS)


def check_index(document: dict, subject: str, media_type: str = "") -> list[dict]:
    """Check an index and return its descriptors.

    Raises ImageError.
    """
    if not is_index(document, subject):
        _refuse(subject, "a manifest where an index is wanted")
    _check_head(document, subject, media_type, INDEXES)
    children = _children(document, "manifests", subject)
    for number, child in enumerate(children):
        check_descriptor(child, f"{subject}: manifests[{number}]", None)
    return children


def check_descriptor(descriptor: object, subject: str, media_types: tuple[str, ...] | None) -> dict:
    """Check a descriptor; media_types: those that may be there, None for any.

    Raises ImageError, Unsupported.
    """
    if not isinstance(descriptor, dict):
        _refuse(subject, "not a descriptor")
    digest, size, media_type = (descriptor.get(key) for key in ("digest", "size", "mediaType"))
    if not isinstance(digest, str) or not is_digest(digest):
        _refuse(subject, "its digest is not sha256: and 64 lower-case hexadecimal digits")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        _refuse(subject, "its size is not a number")
    if media_types is not None and media_type not in media_types:
        if isinstance(media_type, str) and ("nondistributable" in media_type or "foreign" in media_type):
            raise Unsupported(f"{subject}: {media_type}", "", "layers from elsewhere than the registry are not fetched")
        _refuse(subject, f"media type {media_type!r}")
    return descriptor


def check_config(document: dict, subject: str, layers: int) -> list[str]:
    """Check a configuration and return the digests of its unpacked layers.

    Raises ImageError.
    """
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(isinstance(item, str) and is_digest(item) for item in diff_ids):
        _refuse(subject, "rootfs.diff_ids is not a list of digests")
    if len(diff_ids) != layers:
        _refuse(subject, f"{len(diff_ids)} diff_ids for {layers} layers")
    if document.get("os", "linux") != "linux":
        _refuse(subject, f"an image for {document['os']!r}, not for linux")
    for key, kind in (("config", dict), ("history", list)):
        if not isinstance(document.get(key, kind()) or kind(), kind):
            _refuse(subject, f"{key} is of another kind")
    _check_texts(document, ("created", "author", "architecture", "variant"), subject)
    for number, step in enumerate(document.get("history") or []):
        if not isinstance(step, dict):
            _refuse(subject, f"history[{number}] is not an object")
        _check_texts(step, ("created", "created_by", "author", "comment"), subject, f"history[{number}].")
    _check_process(document.get("config") or {}, subject)
    return diff_ids


def _check_texts(document: dict, keys: tuple[str, ...], subject: str, within: str = "") -> None:
    for key in keys:
        if not isinstance(document.get(key), (str, NoneType)):
            _refuse(subject, f"{within}{key} is not a text")


def _check_process(config: dict, subject: str) -> None:
    """Check the kinds of what says how an image runs; null is as good as absent."""
    _check_lists(config, ("Env", "Entrypoint", "Cmd", "Shell", "OnBuild"), subject, "config.")
    _check_texts(config, ("User", "WorkingDir", "StopSignal"), subject, "config.")
    for key in ("Labels", "Volumes", "ExposedPorts"):
        if not isinstance(config.get(key) or {}, dict):
            _refuse(subject, f"config.{key} is not an object")
    if not all(isinstance(value, str) for value in (config.get("Labels") or {}).values()):
        _refuse(subject, "config.Labels has a value that is not a text")
    _check_health(config.get("Healthcheck"), subject)


def _check_lists(document: dict, keys: tuple[str, ...], subject: str, within: str) -> None:
    for key in keys:
        words = document.get(key)
        if not isinstance(words, (list, NoneType)) or not all(isinstance(word, str) for word in words or []):
            _refuse(subject, f"{within}{key} is not a list of texts")


def _check_health(health: object, subject: str) -> None:
    """Check the kinds of a health check, docker's extension."""
    if health is None:
        return
    if not isinstance(health, dict):
        _refuse(subject, "config.Healthcheck is not an object")
    _check_lists(health, ("Test",), subject, "config.Healthcheck.")
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        if type(health.get(key, 0)) not in (int, NoneType):
            _refuse(subject, f"config.Healthcheck.{key} is not a number")


def choose(children: list[dict], subject: str, platform: tuple[str, str, str]) -> dict:
    """Return the one descriptor of an index that is for a platform (os, architecture, variant); else an index in it.

    Raises ImageError.
    """
    fitting = [child for child in children if _fits(child, platform)]
    exact = [child for child in fitting if (child.get("platform") or {}).get("variant", "") == platform[2]]
    found = exact or fitting or [child for child in children if child.get("mediaType") in INDEXES]
    if not found:
        raise ImageError("choose from", subject, f"nothing in it is for {'/'.join(platform).rstrip('/')}")
    return found[0]


def _fits(child: dict, platform: tuple[str, str, str]) -> bool:
    if child.get("mediaType") not in MANIFESTS:
        return False
    its = child.get("platform")
    if its is None:
        return True
    if not isinstance(its, dict) or (its.get("os"), its.get("architecture")) != platform[:2]:
        return False
    return not platform[2] or its.get("variant", platform[2]) == platform[2]


def _check_head(document: dict, subject: str, media_type: str, allowed: tuple[str, ...]) -> None:
    if document.get("schemaVersion") != 2:
        raise Unsupported(subject, "", f"schemaVersion {document.get('schemaVersion')!r} (2 is)")
    own = document.get("mediaType", media_type or allowed[0])
    if own not in allowed:
        _refuse(subject, f"media type {own!r}")
    if media_type and own != media_type:
        _refuse(subject, f"ambiguous: it calls itself {own!r}, its descriptor {media_type!r}")


def _children(document: dict, key: str, subject: str) -> list[dict]:
    children = document[key]
    if not isinstance(children, list):
        _refuse(subject, f"{key} is not a list")
    if len(children) > CHILDREN_MAX:
        _refuse(subject, f"more than {CHILDREN_MAX} {key}")
    return children


def _refuse(subject: str, cause: str) -> NoReturn:
    raise ImageError("refuse", subject, cause)
