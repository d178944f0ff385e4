"""Archives of images: OCI layouts and docker's, read (`load`) and written (`save`).

An archive is unpacked into a staging area first, as plain files; every path that its documents name is then opened
below it, so that a symbolic link in it leads nowhere else.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from typing import BinaryIO

from capsule._ext import openbeneath, unpack
from capsule.errors import ImageError
from capsule.image import documents, layers, names, platforms
from capsule.image.adopt import Builder, Made, adopt, compose, read_blob
from capsule.image.decompress import CHUNK, Source, open_stream
from capsule.image.layout import Staging
from capsule.image.lookup import BLOBS, REF_NAME, Image
from capsule.image.progress import Progress
from capsule.image.store import Store

Named = tuple[Image, list[str]]
FORMATS = ("oci-archive", "docker-archive")
_CONTAINERD_NAME = "io.containerd.image.name"  # the whole name, where docker has only the tag in REF_NAME


class Directory:
    """A directory of an image layout that is not trusted."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file. Raises ImageError."""
        try:
            fd = openbeneath.open_in_root(self.fd, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as err:
            raise ImageError("open", f"{path} of the archive", errno=err.errno) from err
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError("open", f"{path} of the archive", "not a regular file")
        return open(fd, "rb", buffering=0)

    def has(self, path: str) -> bool:
        try:
            self.open(path).close()
        except ImageError:
            return False
        return True

    def document(self, path: str) -> bytes:
        """Read a small file. Raises ImageError."""
        with self.open(path) as file:
            data = file.read(documents.SIZE_MAX + 1)
        if len(data) > documents.SIZE_MAX:
            raise ImageError("read", f"{path} of the archive", f"larger than {documents.SIZE_MAX} bytes")
        return data

    def blob(self, digest: str) -> BinaryIO:
        return self.open(f"{BLOBS}/{digest[7:]}")

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def load(store: Store, source: Source, progress: Progress, platform: str = "") -> list[Image]:
    """Bring in all images of an archive.

    Raises ImageError; images that came before the faulty one stay.
    """
    wanted = platforms.parse(platform)
    with store.stage() as staging:
        where = f"{staging.path}/archive"
        os.mkdir(where, 0o700)
        layers.take(source, where, flags=unpack.PLAIN)
        with Directory(where) as directory:
            if directory.has("index.json") and directory.has("oci-layout"):
                return _load_oci(store, staging, directory, wanted, progress)
            if directory.has("manifest.json"):
                return _load_docker(store, staging, directory, progress)
    raise ImageError("load", "archive", "neither an OCI layout (index.json) nor docker's (manifest.json)")


def _load_oci(store: Store, staging: Staging, directory: Directory, platform, progress: Progress) -> list[Image]:
    index = documents.parse(directory.document("index.json"), "index.json")
    found = []
    for entry in documents.check_index(index, "index.json"):
        descriptor = resolve(directory.blob, entry, platform)
        notes = entry.get("annotations")

        def make(descriptor: dict = descriptor) -> Made:
            made = adopt(Builder(store.root, staging), directory.blob, descriptor, progress.layer)
            for layer in made.layers:
                # One that the store had was not read here: should the store lose it now, publishing says so.
                if os.path.isdir(staging.layer_path(layer["chain"])):
                    _keep_blob(staging, directory, layer["digest"])
            return made

        found.append(store.bring(staging, make, _name_of(notes if isinstance(notes, dict) else {})))
    return found


def resolve(open_blob, entry: dict, platform: tuple[str, str, str], depth: int = 0) -> dict:
    """Follow a descriptor through indexes to the manifest for a platform. Raises ImageError."""
    media_type = entry.get("mediaType")
    documents.check_descriptor(entry, "index", (*documents.MANIFESTS, *documents.INDEXES))
    if media_type in documents.MANIFESTS:
        return entry
    if depth == documents.DEPTH_MAX:
        raise ImageError("read", "index", f"more than {documents.DEPTH_MAX} indexes within each other")
    text = read_blob(open_blob, entry["digest"], entry["size"], "index")
    children = documents.check_index(documents.parse(text, "index"), "index", str(media_type))
    return resolve(open_blob, documents.choose(children, "index", platform), platform, depth + 1)


def _keep_blob(staging: Staging, directory: Directory, digest: str) -> None:
    """Have a verified blob of the archive where publishing takes it from."""
    source = openbeneath.open_in_root(directory.fd, f"{BLOBS}/{digest[7:]}", os.O_RDONLY)
    try:
        if not os.path.exists(staging.blob_path(digest)):
            # With a directory fd Python calls linkat(2), which alone follows the link that procfs shows.
            os.link(f"/proc/self/fd/{source}", staging.blob_path(digest), src_dir_fd=directory.fd, follow_symlinks=True)
    finally:
        os.close(source)


def _name_of(notes: dict) -> str:
    for key in (_CONTAINERD_NAME, REF_NAME):
        text = notes.get(key)
        if isinstance(text, str):
            try:
                return names.parse(text).tagged()
            except ImageError:
                continue
    return ""


def _load_docker(store: Store, staging: Staging, directory: Directory, progress: Progress) -> list[Image]:
    try:
        listed = json.loads(directory.document("manifest.json"))
    except ValueError as err:
        raise ImageError("read", "manifest.json", f"not a JSON document: {err}") from err
    if not isinstance(listed, list) or len(listed) > documents.CHILDREN_MAX:
        raise ImageError("read", "manifest.json", "not a list of images")
    found: list[Image] = []
    for entry in listed:
        config, paths, tags = (entry.get(key) for key in ("Config", "Layers", "RepoTags")) if isinstance(entry, dict) \
            else (None, None, None)
        if not isinstance(config, str) or not isinstance(paths, list) or not isinstance(tags or [], list) \
                or not all(isinstance(word, str) for word in [*paths, *(tags or [])]):
            raise ImageError("read", "manifest.json", "an image is Config, RepoTags and Layers")
        text = directory.document(config)
        document = documents.parse(text, "configuration")
        builder = Builder(store.root, staging)
        for number, (path, diff_id) in enumerate(
            zip(paths, documents.check_config(document, "configuration", len(paths)), strict=True)
        ):
            with directory.open(path) as file:
                told = progress.layer(number, len(paths), {"digest": diff_id, "size": os.fstat(file.fileno()).st_size})
                builder.add(file, diff_id=diff_id, progress=told)
        made = compose(builder, document, text)
        image = None
        for tag in tags or [""]:
            image = store.publish(staging, made, tag)
        if image is not None:
            found.append(image)
    return found


def save(store: Store, images: list[Named], output: BinaryIO, form: str) -> None:
    """Write images as an archive, each under the names that it is given. Raises ImageError, OSError."""
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if form == "oci-archive":
            _save_oci(store, images, archive)
        elif form == "docker-archive":
            _save_docker(store, images, archive)
        else:
            raise ImageError("save as", repr(form), f"the formats are {' and '.join(FORMATS)}")


def _add(archive: tarfile.TarFile, name: str, size: int, file: Source) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, file)  # type: ignore[arg-type]


def _add_json(archive: tarfile.TarFile, name: str, value: object) -> None:
    data = json.dumps(value).encode()
    _add(archive, name, len(data), io.BytesIO(data))


def _save_oci(store: Store, images: list[Named], archive: tarfile.TarFile) -> None:
    entries, written = [], set()
    _add_json(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    for image, tags in images:
        record = image.record
        for digest in (record["manifest"], image.id, *(layer["digest"] for layer in record["layers"])):
            if digest not in written:
                written.add(digest)
                with open(f"{store.root}/{BLOBS}/{digest[7:]}", "rb") as file:
                    _add(archive, f"{BLOBS}/{digest[7:]}", os.fstat(file.fileno()).st_size, file)
        descriptor = {"mediaType": record["media_type"], "digest": record["manifest"], "size": record["manifest_size"]}
        entries += [{**descriptor, "annotations": {REF_NAME: name}} for name in tags] or [descriptor]
    _add_json(archive, "index.json", {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": entries})


class _Inflated:
    """The tar of a layer's blob, in the pieces that tarfile asks for."""

    def __init__(self, source: Source) -> None:
        self._stream, _ = open_stream(source)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while len(self._rest) < size and (piece := self._stream.read(CHUNK)):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _save_docker(store: Store, images: list[Named], archive: tarfile.TarFile) -> None:
    listed, written = [], set()
    for image, tags in images:
        with open(f"{store.root}/{BLOBS}/{image.id[7:]}", "rb") as file:
            _add(archive, f"{image.id[7:]}.json", os.fstat(file.fileno()).st_size, file)
        for layer in image.record["layers"]:
            if layer["diff_id"] not in written:
                written.add(layer["diff_id"])
                with open(f"{store.root}/{BLOBS}/{layer['digest'][7:]}", "rb") as file:
                    _add(archive, f"{layer['diff_id'][7:]}.tar", layer["tar_size"], _Inflated(file))
        listed.append({"Config": f"{image.id[7:]}.json", "RepoTags": tags,
                       "Layers": [f"{layer['diff_id'][7:]}.tar" for layer in image.record["layers"]]})
    _add_json(archive, "manifest.json", listed)
