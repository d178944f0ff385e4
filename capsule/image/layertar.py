"""An overlay's upper layer → a layer of an image (image-spec layer.md): the same files make the same bytes.

Names are sorted; kept are owners, modes, times to the nanosecond, hard links, devices, `security.capability` and
`user.*`. A whiteout becomes `.wh.NAME`, an opaque directory has `.wh..wh..opq`. Sockets are left out, holes filled.
"""

from __future__ import annotations

import os
import stat
import tarfile
import threading

from capsule.errors import ImageError
from capsule.image.decompress import Source
from capsule.linux import trees

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_TYPES = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFREG: tarfile.REGTYPE,
          stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE}
_CHUNK = 1 << 20


def write(upper_fd: int, file, *, root: bool) -> int:
    """Write an upper layer as a tar; root: its own top directory too. Returns the members. Raises OSError."""
    count = 0
    known: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:
        if root:
            _add(archive, upper_fd, ".", "./", os.fstat(upper_fd), known)
            count += 1
        for path, directory_fd, name, info in trees.walk(upper_fd):
            count += _add(archive, directory_fd, name, path, info, known)
    return count


def _add(archive: tarfile.TarFile, directory_fd: int, name: str, path: str, info: os.stat_result,
         known: dict[tuple[int, int], str]) -> int:
    if name.startswith(_WHITEOUT):
        raise ImageError("write layer", path, "a file's name means in a layer that another file is deleted")
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        archive.addfile(_empty(f"{path[:len(path) - len(name)]}{_WHITEOUT}{name}"))
        return 1
    kind = _TYPES.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        return 0
    try:
        if kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
            fd = trees.open_listed(name, directory_fd, info)
            try:
                # What is open counts: it may be another than the one that was listed.
                return _add_open(archive, fd, _member(path, kind, os.fstat(fd)), known)
            finally:
                os.close(fd)
        member = _member(path, kind, info)
        if kind == tarfile.SYMTYPE:
            member.linkname = os.readlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return 0  # it has gone since it was listed
    if not _add_link(archive, member, info, known):
        archive.addfile(member)
    return 1


def _add_link(archive: tarfile.TarFile, member: tarfile.TarInfo, info: os.stat_result,
              known: dict[tuple[int, int], str]) -> bool:
    """Add a hard link to what the archive has; False where it has none."""
    inode = (info.st_dev, info.st_ino)
    if inode not in known:
        if info.st_nlink > 1:
            known[inode] = member.name
        return False
    member.type, member.linkname, member.size = tarfile.LNKTYPE, known[inode], 0
    archive.addfile(member)
    return True


def _add_open(archive: tarfile.TarFile, fd: int, member: tarfile.TarInfo, known: dict[tuple[int, int], str]) -> int:
    if member.isreg() and _add_link(archive, member, os.fstat(fd), known):
        return 1
    found = {key: os.getxattr(fd, key) for key in sorted(os.listxattr(fd)) if is_kept(key)}
    member.pax_headers = {**member.pax_headers, **{
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in found.items()}}
    if member.isreg():
        with open(fd, "rb", buffering=_CHUNK, closefd=False) as file:
            archive.addfile(member, file)
    else:
        archive.addfile(member)
    if member.isdir() and _is_opaque(fd):
        archive.addfile(_empty(f"{'' if member.name == '.' else member.name + '/'}{_OPAQUE}"))
        return 2
    return 1


def is_kept(key: str) -> bool:
    """Tell whether an extended attribute belongs to an image and not to the host."""
    return key == "security.capability" or key.startswith("user.") and not key.startswith("user.overlay.")


def _is_opaque(fd: int) -> bool:
    for mark in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(fd, mark) == b"y":
                return True
        except OSError:
            pass
    return False


def _empty(path: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mode = 0o600
    return member


def _member(path: str, kind: bytes, info: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.mode = kind, stat.S_IMODE(info.st_mode)
    member.uid, member.gid = info.st_uid, info.st_gid
    seconds, rest = divmod(_time(info), 1_000_000_000)
    member.mtime = seconds
    if rest or seconds < 0:
        member.pax_headers = {"mtime": f"{seconds}.{rest:09d}" if seconds >= 0 else "0"}
    if kind == tarfile.REGTYPE:
        member.size = info.st_size
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        member.devmajor, member.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
    return member


def _time(info: os.stat_result) -> int:
    """Return a file's time in nanoseconds; none is later than $SOURCE_DATE_EPOCH, if that is set."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH", "")
    return min(info.st_mtime_ns, int(stamp) * 1_000_000_000) if stamp.isdigit() else info.st_mtime_ns


class Stream:
    """An upper layer as a source of tar, written by a thread of its own; used by `with`."""

    def __init__(self, upper_fd: int, *, root: bool) -> None:
        self._upper_fd = upper_fd
        self._root = root
        self.error: OSError | tarfile.TarError | ImageError | None = None
        self.members = 0
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._write, name="layer", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with open(self._write_fd, "wb") as file:
                self.members = write(self._upper_fd, file, root=self._root)
        except BrokenPipeError:
            pass  # the reader says why it stopped
        except (OSError, tarfile.TarError, ImageError) as err:
            self.error = err

    def read(self, size: int, /) -> bytes:
        """Return the next bytes. Raises ImageError where the layer could not be read to its end."""
        data = os.read(self._read_fd, size)
        if not data:
            self._thread.join()
            if isinstance(self.error, ImageError):
                raise self.error
            if self.error is not None:
                raise ImageError("read layer", getattr(self.error, "filename", None) or "",
                                 getattr(self.error, "strerror", None) or str(self.error))
        return data

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read_fd)
        self._thread.join()
