"""Tar archives member by member, so that a test can write what no program would."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path


def member(name: str | bytes, type: bytes = b"0", *, data: bytes = b"", link: str = "", mode: int = 0o644, uid: int = 0,
           gid: int = 0, mtime: int = 1_600_000_000, major: int = 0, minor: int = 0, size: int | None = None,
           fill: bool = True) -> bytes:
    """Return a ustar member with a right checksum; size: what the header says, if not the data's."""
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    block = bytearray(512)
    block[0:100] = raw[:100].ljust(100, b"\0")
    for at, width, value in ((100, 8, mode), (108, 8, uid), (116, 8, gid), (329, 8, major), (337, 8, minor)):
        block[at : at + width] = f"{value:0{width - 1}o}\0".encode()
    block[124:136] = f"{len(data) if size is None else size:011o}\0".encode()
    block[136:148] = f"{mtime:011o}\0".encode()
    block[156:157] = type
    block[157:257] = link.encode("utf-8", "surrogateescape")[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\00000"
    return signed(block) + (data + b"\0" * (-len(data) % 512) if fill else data)


def signed(block: bytearray) -> bytes:
    """Return a header with its checksum."""
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def pax(records: dict[str, bytes | str]) -> bytes:
    """Return an extended header of these records."""
    text = b""
    for key, value in records.items():
        rest = b" " + key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()) + b"\n"
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        text += str(length).encode() + rest
    return member("PaxHeaders/x", b"x", data=text)


def long_name(name: str | bytes, type: bytes = b"L") -> bytes:
    """Return GNU's header of a long name, or with type K of a long link."""
    raw = name if isinstance(name, bytes) else name.encode()
    return member("././@LongLink", type, data=raw + b"\0")


END = b"\0" * 1024


def tar(*members: bytes) -> bytes:
    """Return an archive."""
    return b"".join(members) + END


def rootfs(**files: str) -> bytes:
    """Return a small root file system as `docker export` writes one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, text in {"etc/hostname": "box\n", **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI image layout in a directory, whose documents a test may spoil."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, name: str = "") -> dict:
        """Add a blob, under another digest if a name is given, and return its descriptor without a type."""
        own = name or digest(data)
        (self.path / "blobs/sha256" / own.partition(":")[2]).write_bytes(data)
        return {"digest": own, "size": len(data)}

    def image(self, *layers: bytes, config: dict | None = None, manifest: dict | None = None, ref: str = "img:1",
              diff_ids: list[str] | None = None) -> dict:
        """Add an image of gzipped layers and name it in the index."""
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        body = {"architecture": "amd64", "os": "linux", "config": {},
                "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest(layer) for layer in layers]},
                **(config or {})}
        document = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(json.dumps(body).encode())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **self.blob(data)}
                       for data in packed],
            **(manifest or {}),
        }
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json",
                 **self.blob(json.dumps(document).encode()),
                 "annotations": {"org.opencontainers.image.ref.name": ref}}
        self.index([entry])
        return document

    def index(self, entries: list[dict], **more: object) -> None:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries, **more}))

    def archive(self) -> bytes:
        """Return the layout as an archive."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as file:
            file.add(self.path, ".")
        return out.getvalue()
