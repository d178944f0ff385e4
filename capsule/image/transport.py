"""Images to and from registries, by skopeo: it has the transport (credentials, mirrors, proxies, retries).

What a registry answers is checked here before anything is fetched, and fetched by digest; every blob is verified again
on its way into the store. A pull that was interrupted leaves its whole blobs for the next try.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from capsule.errors import ImageError, Unsupported
from capsule.image import documents, names, platforms
from capsule.image.adopt import Builder, adopt
from capsule.image.archive import Directory
from capsule.image.layout import LAYOUT, Staging, write_json
from capsule.image.lookup import BLOBS, REF_NAME, Image
from capsule.image.names import Name
from capsule.image.progress import Progress
from capsule.image.store import Store

_POLICIES = ("/etc/containers/policy.json", "~/.config/containers/policy.json")
_STAGED = "image"  # the name of the one image in a staged layout
_ERROR_MAX = 500
_RECORD = re.compile(r"""\bmsg="((?:[^"\\]|\\.)*)"|\bmsg=(\S+)|^[A-Z]{4}\[[^\]]*\] ?(.*)$""")


@dataclass(frozen=True)
class Access:
    """How a registry is reached. tls_verify: None leaves it to skopeo's configuration."""

    creds: str = ""
    authfile: str = ""
    tls_verify: bool | None = None

    @contextlib.contextmanager
    def options(self, name: Name, side: str = "") -> Iterator[tuple[list[str], list[int]]]:
        """Give skopeo's words for it, and descriptors that they name; side: "src-" or "dest-" of a copy.

        Credentials go in a file that only descriptors lead to: everybody can read a command line.
        """
        words = []
        fds = []
        if self.creds:
            registry = name.remote_path().partition("/")[0]
            token = base64.b64encode(self.creds.encode() if ":" in self.creds else f"{self.creds}:".encode()).decode()
            fds.append(os.memfd_create("auth.json"))
            os.write(fds[0], json.dumps({"auths": {registry: {"auth": token}}}).encode())
            words.append(f"--authfile=/proc/self/fd/{fds[0]}")
        elif self.authfile:
            words.append(f"--authfile={self.authfile}")
        if self.tls_verify is not None:
            words.append(f"--{side}tls-verify={'true' if self.tls_verify else 'false'}")
        try:
            yield words, fds
        finally:
            for fd in fds:
                os.close(fd)


def pull(store: Store, ref: str, access: Access, progress: Progress, *, platform: str = "") -> Image:
    """Fetch an image and name it as it was asked for.

    Raises ImageError, Unsupported.
    """
    name = names.parse(ref)
    wanted = platforms.parse(platform)
    digest, asked = _choose(name, wanted, access)
    key = hashlib.sha256(f"{name.remote_path()}@{digest}".encode()).hexdigest()[:24]
    with store.stage(f"pull-{key}") as staging:
        staging.keep = True
        _offer_own_blobs(store, staging)
        source = f"docker://{name.remote_path()}@{digest}"
        with access.options(name, "src-") as (options, fds):
            _skopeo(["copy", *options, source, _layout_word(staging)], progress, [staging.fd, *fds])
        with Directory(staging.path) as directory:
            index = documents.parse(directory.document("index.json"), "index.json")
            entries = [entry for entry in documents.check_index(index, "index.json")
                       if (entry.get("annotations") or {}).get(REF_NAME) == _STAGED]
            if len(entries) != 1:
                raise ImageError("pull", ref, "skopeo did not leave one image")
            return store.bring(
                staging, lambda: adopt(Builder(store.root, staging), directory.blob, entries[0], progress.layer),
                Name(name.path, name.tag, "").tagged(), origin=asked)


def _choose(name: Name, platform: tuple[str, str, str], access: Access) -> tuple[str, str]:
    """Return (digest of the manifest for the platform, digest of what the name stands for)."""
    reference = f"docker://{name.remote_path()}" + (f"@{name.digest}" if name.digest else
                                                    f":{name.tag or names.DEFAULT_TAG}")
    with access.options(name) as (options, fds):
        data = _skopeo(["inspect", "--raw", *options, reference], None, fds)
    asked = "sha256:" + hashlib.sha256(data).hexdigest()
    if name.digest and asked != name.digest:
        raise ImageError("verify", str(name), f"the registry's answer has the digest {asked}")
    document = documents.parse(data, str(name))
    if document.get("schemaVersion") == 1:
        raise Unsupported("pull", str(name), "a manifest of schema 1, which says too little to be verified")
    if not documents.is_index(document, str(name)):
        documents.check_manifest(document, str(name))
        return asked, asked
    chosen = documents.choose(documents.check_index(document, str(name)), str(name), platform)
    if chosen["mediaType"] not in documents.MANIFESTS:
        raise Unsupported("pull", str(name), "an index within an index")
    return chosen["digest"], asked


def _offer_own_blobs(store: Store, staging: Staging) -> None:
    """Let skopeo find what the store has already, so that it is not fetched again."""
    for entry in os.scandir(f"{store.root}/{BLOBS}"):
        try:
            os.link(entry.path, f"{staging.path}/{BLOBS}/{entry.name}")
        except (FileExistsError, FileNotFoundError):
            pass


def push(store: Store, image: Image, destination: str, access: Access, progress: Progress) -> str:
    """Send an image and return the digest that the registry has it by. Raises ImageError."""
    name = names.parse(destination)
    if name.digest:
        raise ImageError("push", destination, "a registry computes the digest itself; name a tag")
    record = image.record
    with store.stage() as staging:
        try:
            for digest in (record["manifest"], image.id, *dict.fromkeys(layer["digest"] for layer in record["layers"])):
                os.link(f"{store.root}/{BLOBS}/{digest[7:]}", staging.blob_path(digest))
            write_json(f"{staging.path}/{LAYOUT}", {"imageLayoutVersion": "1.0.0"})
            write_json(f"{staging.path}/index.json", {"schemaVersion": 2, "manifests": [
                {"mediaType": record["media_type"], "digest": record["manifest"], "size": record["manifest_size"],
                 "annotations": {REF_NAME: _STAGED}}]})
        except OSError as err:
            raise ImageError("stage", destination, errno=err.errno) from err
        written = f"{staging.path}/digest"
        target = f"docker://{name.remote_path()}:{name.tag or names.DEFAULT_TAG}"
        with access.options(name, "dest-") as (options, fds):
            _skopeo(["copy", *options, f"--digestfile={written}", _layout_word(staging), target], progress,
                    [staging.fd, *fds])
        with open(written, encoding="ascii") as file:
            return file.read().strip()


def log_in(registry: str, words: list[str]) -> None:
    """Run `skopeo login` or logout, which asks on our own terminal. Raises ImageError, Unsupported."""
    done = subprocess.run([_program(), *words, registry], check=False, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ImageError(f"skopeo {words[0]}", registry, _reason(done.stderr))


def _layout_word(staging: Staging) -> str:
    if ":" in staging.path:
        raise ImageError("stage", staging.path, "skopeo takes no path with a colon in it")
    return f"oci:{staging.path}:{_STAGED}"


def _program() -> str:
    found = shutil.which("skopeo")
    if found is None:
        raise Unsupported("registries", "", "need the program skopeo, which is not installed")
    return found


def _skopeo(words: list[str], progress: Progress | None, fds: list[int]) -> bytes:
    """Run skopeo; with progress its own words go to standard error, otherwise return what it printed.

    fds: it gets these; a staging area's is a lock, so that were we killed nobody would take the area from under it.
    Raises ImageError with its last word.
    """
    command = [_program()]
    if not any(os.path.exists(os.path.expanduser(path)) for path in _POLICIES):
        command.append("--insecure-policy")  # nobody has said whose signatures to ask for
    command += words
    shown = progress is not None and not progress.quiet
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        stdout=2 if shown else subprocess.PIPE, pass_fds=fds,
    )
    if done.returncode != 0:
        raise ImageError(f"skopeo {words[0]}", words[-1] if words[0] == "inspect" else words[-2], _reason(done.stderr))
    return done.stdout or b""


def _reason(stderr: bytes) -> str:
    """Return the message of skopeo's last record, as logrus writes it for files or for terminals."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["it failed without a word"]
    found = _RECORD.search(lines[-1])
    if found is None:
        return lines[-1][:_ERROR_MAX]
    return (found[1] or found[2] or found[3]).replace('\\"', '"')[:_ERROR_MAX]
