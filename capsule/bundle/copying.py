"""Files into and out of a container (`cp`). Not linked into the launcher.

The container is hostile and may run meanwhile: its tree is entered through the root of its first process, or, where it
stands still, through that of its layers (capsule.bundle.standing), by openat2 beneath that root (RESOLVE_IN_ROOT), one
component after the other, and no link in it is followed on the way down. What comes out of it is written by the
unpacker of layers, beneath the one directory that was named, each file as a whole or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from typing import IO

from capsule import log, verbs
from capsule._ext import mountapi, openbeneath, unpack
from capsule.bundle import holes, life, running
from capsule.bundle.standing import Standing
from capsule.errors import CapsuleError, NotFound, StateError
from capsule.linux import trees
from capsule.state.store import Entry

_ENTRIES, _BYTES = 4_000_000, 1 << 44
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 500  # directories in directories: each holds a descriptor
_SPARSE_MIN = 1 << 16  # bytes of a file that is looked at for holes
_WHITEOUT = ".wh."  # the unpacker would take such a name for a deletion


def open_running(runtime_root: str, id: str) -> int:
    """Open the root directory that a container's first process sees. Raises StateError when it does not run."""
    pid = verbs.state(runtime_root, id)["pid"]
    try:
        fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if pid else -1
    except OSError:
        fd = -1
    # The number may have become another process's meanwhile.
    if fd < 0 or verbs.state(runtime_root, id)["pid"] != pid:
        if fd >= 0:
            os.close(fd)
        raise StateError("open the files of container", id, "it does not run")
    return fd


class Files:
    """The files of a container, whether it runs or not; `root_fd` until close."""

    def __init__(self, places: running.Places, word: str) -> None:
        self._entry: Entry | None = None
        self._standing: Standing | None = None
        self.root_fd = -1
        try:
            found, self._entry, record = running.open_locked(places, word)
        except NotFound:
            self.root_fd = open_running(places.runtime, word)  # of another caller of the runtime's
            return
        try:
            if life.observe(places.runtime, self._entry, record).is_up:
                self._entry.unlock()
                self.root_fd = open_running(places.runtime, record.id)
                return
            if record.removing:
                raise StateError("open the files of container", word, "its removal has begun")
            self._standing = Standing(self._entry, record)
            self.root_fd = self._standing.root_fd
        except BaseException:
            self._entry.close()
            raise

    @property
    def is_readonly(self) -> bool:
        """Whether its root, without what is mounted in it, is to be read only; the kernel sees to one that runs."""
        return self._standing is not None and self._standing.is_readonly

    def close(self) -> None:
        if self._standing is not None:
            self._standing.close()
        elif self.root_fd >= 0:
            os.close(self.root_fd)
        if self._entry is not None:
            self._entry.close()


class Tree:
    """A place of the host's or of a container's that is copied from or to: the root it lies in, and a path there."""

    def __init__(self, root_fd: int, path: str, where: str, *, is_readonly: bool = False) -> None:
        self.root_fd = root_fd
        self.is_readonly = is_readonly
        self.path = path
        self.where = where  # for messages: "container web" or "this machine"

    def open(self, path: str, flags: int) -> int:
        """Open beneath the root; links are the tree's own and stay in it. Raises CapsuleError."""
        try:
            return openbeneath.open_in_root(self.root_fd, path.lstrip("/") or ".", flags)
        except OSError as err:
            raise CapsuleError("open", f"{self.path} in {self.where}", errno=err.errno or 0) from err

    def kind(self, path: str, *, follow: bool = True) -> int:
        """Return the type bits of what a path leads to, 0 if nothing is there. Raises CapsuleError."""
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            fd = openbeneath.open_in_root(self.root_fd, path.lstrip("/") or ".", flags)
        except FileNotFoundError:
            return 0
        except OSError as err:
            raise CapsuleError("open", f"{path} in {self.where}", errno=err.errno or 0) from err
        try:
            return stat.S_IFMT(os.fstat(fd).st_mode)
        finally:
            os.close(fd)


def copy(source: Tree, target: Tree, *, keep_owner: bool) -> None:
    """Copy a file or a tree, as `cp -r` and Docker place it. Raises CapsuleError."""
    directory, name, wrapped = _destination(source, target)
    with _Writer(target, directory, keep_owner=keep_owner) as writer:
        writer.add_all(walk(source, name, wrapped=wrapped, follow=True))


def copy_in(stream: IO[bytes], target: Tree, *, keep_owner: bool) -> None:
    """Unpack a tar into a directory. Raises CapsuleError."""
    if target.kind(target.path) != stat.S_IFDIR:
        raise CapsuleError("copy to", f"{target.path} in {target.where}", "expected a directory")
    with _Writer(target, target.path, keep_owner=keep_owner) as writer:
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    writer.add(member, archive.extractfile(member) if member.isreg() else None)
        except (tarfile.TarError, EOFError) as err:
            raise CapsuleError("read", "tar on standard input", str(err)) from err


def copy_out(source: Tree, stream: IO[bytes]) -> None:
    """Write a file or a tree as a tar. Raises CapsuleError."""
    name = os.path.basename(source.path.rstrip("/")) or "."
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for member, file in walk(source, name, wrapped=True, follow=True):
            archive.addfile(member, file)
            archive.members.clear()  # type: ignore[attr-defined]


def _destination(source: Tree, target: Tree) -> tuple[str, str, bool]:
    """Return (directory to write in, name there, whether a directory's own entry is written). Raises CapsuleError."""
    is_tree = source.kind(source.path) == stat.S_IFDIR
    base = os.path.basename(source.path.rstrip("/"))
    contents = is_tree and (base in (".", "") or source.path.endswith("/."))
    there = target.kind(target.path)
    if there == stat.S_IFDIR:
        return target.path, base, not contents
    if there and is_tree:
        raise CapsuleError("copy to", f"{target.path} in {target.where}", "a file is there, and a directory comes")
    if target.path.endswith("/") and not is_tree:
        raise CapsuleError("copy to", f"{target.path} in {target.where}", "there is no such directory")
    parent, _, name = target.path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise CapsuleError("copy to", f"{target.path} in {target.where}", "no such directory")
    if target.kind(parent or "/") != stat.S_IFDIR:
        raise CapsuleError("copy to", f"{target.path} in {target.where}", f"there is no directory {parent or '/'}")
    return parent or "/", name, True


def walk(source: Tree, name: str, *, wrapped: bool, follow: bool) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the members of an archive of what lies at a path, under `name`.

    wrapped: with the top directory's own entry. follow: a link at the path itself is followed, beneath the root.
    """
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    fd = source.open(source.path, flags)
    try:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            top = os.open(".", _DIRECTORY, dir_fd=fd)
            if wrapped:
                yield _member(name, info), None
            yield from _below(source, top, name if wrapped else "", 0)
        elif stat.S_ISREG(info.st_mode):
            reading = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(reading, "rb") as file:
                yield _member(name, os.fstat(reading)), file
        else:
            raise CapsuleError("copy", f"{source.path} in {source.where}", "it is no file and no directory")
    finally:
        os.close(fd)


def _below(source: Tree, fd: int, prefix: str, depth: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield what a directory, whose descriptor is closed at the end, holds."""
    try:
        if depth > _DEPTH:
            raise CapsuleError("copy", f"{source.path} in {source.where}", f"deeper than {_DEPTH} directories")
        for entry in sorted(os.listdir(fd)):
            name = f"{prefix}/{entry}" if prefix else entry
            try:
                info = os.stat(entry, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    below = os.open(entry, _DIRECTORY, dir_fd=fd)
                    yield _member(name, info), None
                    yield from _below(source, below, name, depth + 1)
                elif stat.S_ISLNK(info.st_mode):
                    yield _member(name, info, os.readlink(entry, dir_fd=fd)), None
                elif stat.S_ISREG(info.st_mode):
                    reading = trees.open_listed(entry, fd, info)
                    with open(reading, "rb") as file:
                        yield _member(name, os.fstat(reading)), file
                else:
                    log.warning(f"copy leaves out {name} in {source.where}: it is no file, directory or link")
            except FileNotFoundError:
                continue  # it has gone since it was listed
            except OSError as err:
                raise CapsuleError("copy", f"{name} in {source.where}", (err.strerror or "").lower(),
                                   errno=err.errno or 0) from err
    finally:
        os.close(fd)


def _member(name: str, info: os.stat_result, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(info.st_mode)
    member.uid, member.gid, member.mtime = info.st_uid, info.st_gid, int(info.st_mtime)
    if stat.S_ISDIR(info.st_mode):
        member.type = tarfile.DIRTYPE
    elif link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    else:
        member.size = info.st_size
    return member


class _Writer:
    """Members on their way into a directory: owners, modes and names are decided here, the rest by the unpacker."""

    def __init__(self, target: Tree, directory: str, *, keep_owner: bool) -> None:
        self.target = target
        self.directory = directory
        self.keep_owner = keep_owner
        self.fd = target.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        is_root = os.fstat(self.fd).st_dev == os.fstat(target.root_fd).st_dev
        if os.fstatvfs(self.fd).f_flag & os.ST_RDONLY or target.is_readonly and is_root:
            os.close(self.fd)
            raise CapsuleError("copy to", f"{target.path} in {target.where}", errno=errno.EROFS)
        unpack.private_umask()
        self.unpacker = unpack.Unpacker(self.fd, lower_fds=[], flags=unpack.WHOLE, entries=_ENTRIES, bytes=_BYTES,
                                        file_size=_BYTES)
        self.archive = tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT)  # type: ignore[call-overload]

    def write(self, data: bytes) -> int:
        """Take bytes of the archive that we make."""
        try:
            self.unpacker.feed(data)
        except OSError as err:
            raise self._failed(err) from err
        return len(data)

    def _failed(self, err: OSError) -> CapsuleError:
        """The unpacker says at which member; the kernel's word is beside it."""
        return CapsuleError("copy to", f"{self.target.path} in {self.target.where}",
                            f"{err.strerror}: {os.strerror(err.errno or 0).lower()}", errno=err.errno or 0)

    def add_all(self, members: Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]) -> None:
        for member, file in members:
            self.add(member, file)

    def add(self, member: tarfile.TarInfo, file: IO[bytes] | None) -> None:
        """Pass on a member. Raises CapsuleError for one that is none of files, directories and links."""
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            log.warning(f"copy leaves out {member.name}: it is no file, directory or link")
            return
        if os.path.basename(member.name.rstrip("/")).startswith(_WHITEOUT):
            raise CapsuleError("copy", member.name, f"names that begin with {_WHITEOUT} mean deletions to overlays")
        there, is_mount = self._look(member.name)
        if there and (there == stat.S_IFDIR) != member.isdir():
            # The unpacker puts the upper layer's in its place, with all below: a container would choose what we lose.
            raise CapsuleError("copy", f"{member.name} to {self.target.where}",
                               "a directory is there, and none comes" if there == stat.S_IFDIR else
                               "a file is there, and a directory comes")
        if there == stat.S_IFDIR:
            return  # it keeps its owner and mode
        if is_mount:
            # A rename over it would take the mount away from the container.
            self._write_in_place(member, file)
            return
        if not self.keep_owner:
            # Whoever made the file decides what is in it, and not whom it makes of those who run it.
            member.uid, member.gid, member.mode = os.geteuid(), os.getegid(), member.mode & 0o1777
        member.uname = member.gname = ""
        if file is not None and member.size > _SPARSE_MIN:
            file = holes.without(member, file)
        try:
            self.archive.addfile(member, file)
            self.archive.members.clear()  # type: ignore[attr-defined]  # a container would choose how much we remember
        except (OSError, tarfile.TarError) as err:  # it has become shorter meanwhile, say
            raise CapsuleError("copy", f"{member.name} to {self.target.where}", str(err)) from err

    def _look(self, name: str) -> tuple[int, bool]:
        """Return the type bits of what has a name there, 0 for nothing, and whether it is mounted there."""
        flags = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = openbeneath.open_in_root(self.target.root_fd, f"{self.directory}/{name}".lstrip("/") or ".", flags)
        except FileNotFoundError:
            return 0, False
        except OSError as err:
            raise CapsuleError("open", f"{name} in {self.target.where}", errno=err.errno or 0) from err
        try:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            return kind, kind != stat.S_IFDIR and mountapi.is_mount_root(fd)
        finally:
            os.close(fd)

    def _write_in_place(self, member: tarfile.TarInfo, file: IO[bytes] | None) -> None:
        """Write into a file that is mounted where it is; it keeps its owner and mode. Raises CapsuleError."""
        path = f"{self.directory}/{member.name}"
        try:
            named = openbeneath.open_in_root(self.target.root_fd, path.lstrip("/"), os.O_PATH | os.O_NOFOLLOW)
            try:
                if file is None or not stat.S_ISREG(os.fstat(named).st_mode):
                    raise CapsuleError("copy", f"{member.name} to {self.target.where}", "something is mounted there")
                fd = os.open(f"/proc/self/fd/{named}", os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC)
            finally:
                os.close(named)
            with open(fd, "wb") as there:
                shutil.copyfileobj(file, there)
        except OSError as err:
            raise CapsuleError("copy", f"{member.name} to {self.target.where}", errno=err.errno or 0) from err

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *_exc_info: object) -> None:
        try:
            if kind is None:
                self.archive.close()
                self.unpacker.finish()
        except OSError as err:
            raise self._failed(err) from err
        finally:
            self.unpacker.close()
            os.close(self.fd)
