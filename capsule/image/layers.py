"""A layer's bytes on their way: verified, inflated and unpacked in one pass, two threads, bounded memory."""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from capsule import log
from capsule._ext import unpack
from capsule.errors import ImageError
from capsule.image import decompress
from capsule.image.decompress import CHUNK, Source
from capsule.image.layout import Staging
from capsule.image.lookup import DIFF

ENTRIES_MAX = 4_000_000  # members of a layer; the largest known images have half a million
BYTES_MAX = 256 << 30  # of a layer's files
FILE_MAX = 16 << 40  # of one file, holes counted: a sparse /var/log/lastlog is hundreds of gigabytes
RATIO_MAX = 200  # unpacked to packed, beyond the first gigabyte; text packs 10 to 1, zeros 1000 to 1
RATIO_FREE = 1 << 30
_QUEUE = 4  # pieces of CHUNK between the threads

_NOTHING = (0, 0, 0, 0, False)

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Unpacked:
    """What a layer turned out to be. `size` is of the blob, `tar_size` of the tar in it; `bytes` of its files."""

    digest: str
    size: int
    diff_id: str
    tar_size: int
    compression: str
    entries: int
    bytes: int
    opaque_root: bool


class _Tally:
    """A source that counts and hashes what is read of it, and can keep a copy."""

    def __init__(self, source: Source, copy_fd: int, progress: Progress | None) -> None:
        self._source = source
        self._copy_fd = copy_fd
        self._progress = progress
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        if self._copy_fd >= 0:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._copy_fd, rest) :]
        if self._progress is not None:
            self._progress(self.size)
        return data

    def drain(self) -> None:
        """Read to the end: what follows the compressed tar belongs to the blob's digest."""
        while self.read(CHUNK):
            pass

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class _Worker(threading.Thread):
    """Unpacks what it is given; an error is kept for `finish`, and what comes after it is dropped."""

    def __init__(self, unpacker: unpack.Unpacker) -> None:
        super().__init__(name="unpack", daemon=True)
        self._unpacker = unpacker
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._counts: tuple[int, int, int, int, bool] | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            unpack.private_umask()
        except OSError as err:
            self.error = err
        while (piece := self._pieces.get()) is not None:
            if self.error is None:
                try:
                    self._unpacker.feed(piece)
                except OSError as err:
                    self.error = err
        if self.error is None:
            try:
                self._counts = self._unpacker.finish()
            except OSError as err:
                self.error = err

    def feed(self, piece: bytes) -> None:
        if self.error is not None:
            raise self.error
        self._pieces.put(piece)

    def finish(self) -> tuple[int, int, int, int, bool]:
        """End the archive. Raises OSError."""
        self.end()
        if self.error is not None:
            raise self.error
        return self._counts or _NOTHING

    def end(self) -> None:
        """Wait for the thread, which waits for this."""
        self._pieces.put(None)
        self.join()


def take(
    source: Source,
    directory: str,
    *,
    lower: list[str] | None = None,
    copy_to: str = "",
    flags: int = 0,
    progress: Progress | None = None,
) -> Unpacked:
    """Unpack a layer into an empty directory ("": only look at it), keeping its bytes in copy_to.

    Raises ImageError.
    """
    copy_fd = -1
    if copy_to:
        copy_fd = os.open(copy_to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fds: list[int] = []
    unpacker = None
    try:
        for path in [directory, *reversed(lower or [])] if directory else []:
            fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        if directory:
            unpacker = unpack.Unpacker(fds[0], lower_fds=fds[1:], flags=flags, entries=ENTRIES_MAX, bytes=BYTES_MAX,
                                       file_size=FILE_MAX)
        return _run(_Tally(source, copy_fd, progress), unpacker)
    except OSError as err:
        raise ImageError("unpack layer", "", f"{err.strerror}: {os.strerror(err.errno or 0).lower()}") from err
    finally:
        if unpacker is not None:
            unpacker.close()
        for fd in [*fds, copy_fd]:
            if fd >= 0:
                os.close(fd)


def _run(packed: _Tally, unpacker: unpack.Unpacker | None) -> Unpacked:
    worker = _Worker(unpacker) if unpacker is not None else None
    if worker is not None:
        worker.start()
    counts = _NOTHING
    inner = hashlib.sha256()
    size = 0
    try:
        stream, compression = decompress.open_stream(packed)
        while piece := stream.read(CHUNK):
            inner.update(piece)
            size += len(piece)
            if size > RATIO_FREE and size > packed.size * RATIO_MAX:
                raise ImageError("unpack layer", "", f"more than {RATIO_MAX} times as large unpacked as packed")
            if worker is not None:
                worker.feed(piece)
        packed.drain()
    except BaseException:
        if worker is not None:
            worker.end()
        raise
    if worker is not None:
        counts = worker.finish()
    entries, file_bytes, devices, xattrs, opaque_root = counts
    if devices:
        log.warning(f"{devices} device nodes were left out: a user namespace may not make them")
    if xattrs:
        log.debug(f"{xattrs} extended attributes that are a host's own were left out")
    return Unpacked(packed.digest(), packed.size, "sha256:" + inner.hexdigest(), size, compression, entries,
                    file_bytes, opaque_root)


def chain_id(parent: str, diff_id: str) -> str:
    """Return the chain id, in hexadecimal, of a layer upon a chain ("": none); image-spec config.md."""
    if not parent:
        return diff_id[7:]
    return hashlib.sha256(f"sha256:{parent} {diff_id}".encode()).hexdigest()


def make_diff(staging: Staging, name: str) -> str:
    """Make the empty directory that a layer is unpacked into, and return it. Raises OSError."""
    path = f"{staging.layer_path(name)}/{DIFF}"
    os.makedirs(path, 0o700)
    os.chmod(path, 0o755)  # what an image has whose layer does not tell of its root; original's defect I5
    try:
        os.removexattr(path, "system.posix_acl_default")  # or it would change the modes of all that is made below
    except OSError as err:
        if err.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
    return path
