"""Layers as a stream of tar: gzip, zstd, xz and bzip2 are told by their first bytes and inflated piece by piece.

The standard library's zlib does it, in a thread beside the one that unpacks: inflating takes as long as unpacking,
and zlib lets go of the interpreter's lock (docs/decisions has the measurement). Memory is bounded: a zstd window or an
xz dictionary that asks for more is refused.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Protocol

from capsule.errors import ImageError, Unsupported

# Bytes. Each piece costs a few handovers of the interpreter's lock, and each of those waits where processors are busy.
CHUNK = 1 << 20
ZSTD_WINDOW_MAX = 16 << 20  # bytes; RFC 8878 asks for 8 MiB, zstd -19 uses it
XZ_MEMORY_MAX = 24 << 20  # bytes; xz -6 needs 9 MiB
GZIP_AND_HEADER = 31  # zlib's word for "gzip": 16 + the largest window

GZIP = "gzip"
ZSTD = "zstd"
TAR = ""


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class _Peeked:
    """A source whose first bytes were looked at."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def read(self, size: int, /) -> bytes:
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._source.read(size)


class _Inflated:
    """gzip, xz and bzip2, several members one after the other."""

    def __init__(self, source: Source, make) -> None:
        self._source = source
        self._make = make
        self._member = None
        self._input = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if self._member is None and not self._next_member():
                return b""
            data = self._step(size)
            if data:
                return data

    def _next_member(self) -> bool:
        self._input = self._input or self._source.read(CHUNK)
        while self._input and not self._input.strip(b"\0"):
            self._input = self._source.read(CHUNK)  # some pad with zeros
        if not self._input:
            return False
        self._member = self._make()
        return True

    def _step(self, size: int) -> bytes:
        member = self._member
        if not self._input and getattr(member, "needs_input", True):
            self._input = self._source.read(CHUNK)
        ended = not self._input
        data = member.decompress(self._input, size)  # type: ignore[attr-defined]
        if ended and not data and not member.eof:  # type: ignore[attr-defined]
            raise ImageError("decompress", "layer", "cut off")
        self._input = getattr(member, "unconsumed_tail", b"")
        if member.eof:  # type: ignore[attr-defined]
            self._input = member.unused_data  # type: ignore[attr-defined]
            self._member = None
        return data


def open_stream(source: Source) -> tuple[Source, str]:
    """Return (the tar, how it is compressed: "gzip", "zstd", "xz", "bzip2", "").

    Reading raises ImageError where the compressed bytes are damaged.
    """
    head = source.read(CHUNK)
    peeked = _Peeked(head, source)
    if head.startswith(b"\x1f\x8b"):
        return _Guarded(_Inflated(peeked, lambda: zlib.decompressobj(GZIP_AND_HEADER))), GZIP
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[:1] >= b"\x50"):
        return _Guarded(_open_zstd(peeked)), ZSTD
    if head.startswith(b"\xfd7zXZ\0"):
        make = lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_MAX)  # noqa: E731
        return _Guarded(_Inflated(peeked, make)), "xz"
    if head.startswith(b"BZh"):
        return _Guarded(_Inflated(peeked, bz2.BZ2Decompressor)), "bzip2"
    return peeked, TAR


class _Guarded:
    """Damage in the compressed bytes becomes an ImageError."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as err:
            raise ImageError("decompress", "layer", str(err)) from err
        except OSError as err:
            if err.errno:
                raise
            raise ImageError("decompress", "layer", str(err)) from err
        except Exception as err:
            if type(err).__name__ != "ZstdError":
                raise
            raise ImageError("decompress", "layer", str(err)) from err


def _open_zstd(source: Source) -> Source:
    try:
        import zstandard
    except ImportError as err:
        raise Unsupported("a layer compressed by zstd", "", "needs the Python module zstandard") from err
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    # It ends quietly where a frame is cut off; the reader of the tar notices.
    return decompressor.stream_reader(source,  # type: ignore[arg-type]
                                      read_size=CHUNK, read_across_frames=True)

