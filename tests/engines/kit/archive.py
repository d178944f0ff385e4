"""The image of the scenarios: busybox and the payload, written as an archive that every engine can load."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

NAME = "localhost/base:latest"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    "etc/group": "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
    "etc/plain": "not executable\n",
}
DIRECTORIES = ("bin", "data", "dev", "etc", "home", "home/user", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin",
               "var")


def layer(payload: Path, busybox: str = "/bin/busybox") -> bytes:
    """Return the only layer of the image: an uncompressed tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "", owner: int = 0) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
            entry.uid = entry.gid = owner
            tar.addfile(entry, io.BytesIO(data))

        for name in DIRECTORIES:
            owner = 1000 if name == "home/user" else 0
            add(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755, owner=owner)
        for name, text in FILES.items():
            add(name, tarfile.REGTYPE, 0o644, text.encode())
        add("payload", tarfile.REGTYPE, 0o755, payload.read_bytes())
        add("bin/busybox", tarfile.REGTYPE, 0o755, Path(busybox).read_bytes())
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in sorted(set(applets) - {"busybox"}):
            add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
    return buffer.getvalue()


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def write(path: Path, payload: Path) -> Path:
    """Write the image as an OCI layout in a tar with Docker's manifest.json beside it, and return the tar."""
    content = layer(payload)
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, kind: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    inner = blob(content, "layer.v1.tar")
    config = blob(json.dumps({
        "architecture": _machine(), "os": "linux",
        "config": {"Env": [PATH, "FROM_IMAGE=yes"], "Cmd": ["sh"], "Labels": {"image": "base"}, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [inner["digest"]]},
        "history": [{"created_by": "tests/engines"}],
    }).encode(), "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                "config": config, "layers": [inner]}).encode(), "manifest.v1+json")
    names = {"org.opencontainers.image.ref.name": NAME, "io.containerd.image.name": NAME}
    where = {entry["digest"]: "blobs/" + entry["digest"].replace(":", "/") for entry in (config, inner)}
    files = {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [{**manifest, "annotations": names}]}).encode(),
        "manifest.json": json.dumps([{"Config": where[config["digest"]], "RepoTags": [NAME],
                                      "Layers": [where[inner["digest"]]]}]).encode(),
        **blobs,
    }
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path
