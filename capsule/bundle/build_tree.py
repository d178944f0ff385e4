"""What one step of a build changes: an image's layers and an upper one as one tree that is mounted nowhere.

Whatever is written goes beneath its root by openat2(RESOLVE_IN_ROOT); whatever is read of a context goes beneath the
context's. No path of either leads anywhere else, whatever links they hold.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from capsule._ext import openbeneath
from capsule.bundle.volumes import merged
from capsule.errors import ImageError
from capsule.image import ignoring, layertar, patterns
from capsule.linux import trees

_CHUNK = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WILD = "*?["

Entry = tuple[str, int, str, os.stat_result]  # path below what is copied ("" is itself), its directory, name, status


class Tree:
    """The layers below, and a new upper one in `place`, a directory of ours."""

    def __init__(self, place: str, layers: list[str]) -> None:
        self.upper, self.work, self.empty = f"{place}/upper", f"{place}/work", f"{place}/empty"
        for path in (place, self.upper, self.work, self.empty):
            os.mkdir(path, 0o700)
        self.layers = layers or [self.empty]
        self._top = os.stat(self.layers[-1]) if layers else None
        # The root of an overlay shows the owner and mode of its upper layer.
        os.chown(self.upper, self._top.st_uid if self._top else 0, self._top.st_gid if self._top else 0)
        os.chmod(self.upper, stat.S_IMODE(self._top.st_mode) if self._top else 0o755)

    def open(self) -> int:
        """Return an fd of the whole tree's root. Raises OSError."""
        fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (self.upper, self.work)]
        try:
            return merged(self.layers, "", *fds)
        finally:
            for fd in fds:
                os.close(fd)

    def look(self) -> int:
        """Return an fd of the root of the layers alone, read-only, before the first `open`. Raises OSError."""
        return merged(self.layers, self.work)

    @property
    def root_changed(self) -> bool:
        """Tell whether the root's own owner or mode are others than below."""
        now, top = os.stat(self.upper), self._top
        return top is None or (now.st_mode, now.st_uid, now.st_gid) != (top.st_mode, top.st_uid, top.st_gid)

    @property
    def is_changed(self) -> bool:
        """Tell whether there is anything for a layer."""
        return bool(os.listdir(self.upper)) or (self._top is not None and self.root_changed)


class Context:
    """A tree that COPY and ADD read from: a directory of the caller's, or an image's."""

    def __init__(self, root_fd: int, ignored: ignoring.Ignored | None = None) -> None:
        self.root_fd = root_fd
        self.ignored = ignored or ignoring.Ignored()

    def find(self, pattern: str) -> list[str]:
        """List the paths that a source means, in order. Raises ImageError where there is none."""
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ImageError("copy", pattern, "it leads out of the context")
        found = [""]
        for part in parts:
            if any(char in part for char in _WILD):
                wanted = patterns.Name(part)
                found = [f"{base}/{name}" for base in found for name in self._names(base) if wanted.fits(name)]
            else:
                found = [f"{base}/{part}" for base in found]
        found = [path.lstrip("/") for path in found]
        found = [path for path in found if self._is_there(path)]
        if not found:
            raise ImageError("copy", pattern, "no such file in the context, or .dockerignore leaves it out")
        return found

    def _names(self, path: str) -> list[str]:
        try:
            fd = openbeneath.open_in_root(self.root_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def _is_there(self, path: str) -> bool:
        """Tell whether there is a source that is not ignored, or a directory with something that is not."""
        try:
            fd = openbeneath.open_in_root(self.root_fd, path or ".", openbeneath.O_PATH)
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        try:
            if not path or not self._is_hidden(path, self._place_of(fd, path)):
                return True
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
        return is_directory and self.ignored.has_exceptions and next(self.below(path), None) is not None

    def _is_hidden(self, path: str, place: str) -> bool:
        """Tell whether a path is ignored, or `place`, where the links in it lead."""
        return self.ignored.hides(path) or (place != path and bool(place) and self.ignored.hides(place))

    def _place_of(self, fd: int, path: str) -> str:
        """Return where in the context an open file lies; `path` if nothing is ignored. Raises OSError, ImageError."""
        if self.ignored.is_empty:
            return path
        top, place = (os.readlink(f"/proc/self/fd/{one}") for one in (self.root_fd, fd))
        if place == top:
            return ""
        if not place.startswith(f"{top.rstrip('/')}/"):
            raise ImageError("copy", path, "the context was moved while it was read")
        return place[len(top.rstrip("/")) + 1 :]

    def is_directory(self, path: str) -> bool:
        """Tell whether a source is a directory, links followed. Raises OSError."""
        fd = openbeneath.open_in_root(self.root_fd, path or ".", openbeneath.O_PATH)
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def open_file(self, path: str) -> int:
        """Open a source that is a regular file, links followed within the context. Raises OSError, ImageError."""
        fd = openbeneath.open_in_root(self.root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError("copy", path, "neither a file nor a directory")
        if self._is_hidden(path, self._place_of(fd, path)):
            os.close(fd)
            raise ImageError("copy", path, "it leads to what .dockerignore leaves out")
        return fd

    def below(self, path: str) -> Iterator[Entry]:
        """Yield what lies below a directory of the context and is not ignored. Raises OSError."""
        fd = openbeneath.open_in_root(self.root_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            place = self._place_of(fd, path)
            for inner, directory_fd, name, info in trees.walk(fd):
                if not self._is_hidden(f"{path}/{inner}".lstrip("/"), f"{place}/{inner}".lstrip("/")):
                    yield inner, directory_fd, name, info
        finally:
            os.close(fd)

    def digest(self, path: str) -> str:
        """Return what Account says of a source, without copying it. Raises OSError, ImageError."""
        found = Account()
        if not self.is_directory(path):
            fd = self.open_file(path)
            with open(fd, "rb", buffering=0) as file:
                found.add_file("", fd, _hash(file))
            return found.digest()
        for inner, directory_fd, name, info in self.below(path):
            if stat.S_ISREG(info.st_mode):
                fd = trees.open_listed(name, directory_fd, info)
                with open(fd, "rb", buffering=0) as file:
                    found.add_file(inner, fd, _hash(file))
            else:
                found.add(inner, info, os.readlink(name, dir_fd=directory_fd) if stat.S_ISLNK(info.st_mode) else "")
        return found.digest()


class Account:
    """Tells whether a source has changed: names, kinds, modes, contents, attributes; not times, not owners.

    A source may change at any time: what counts for the cache is what was read while it was copied.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add_file(self, path: str, fd: int, content: str) -> None:
        """Add a regular file, `content` being its digest. Raises OSError."""
        self.add(path, os.fstat(fd), content, _attributes(fd))

    def add(self, path: str, info: os.stat_result, content: str, attributes: dict[str, bytes] | None = None) -> None:
        """Add what lies at a path. content: of a regular file the digest, of a link the text, of others ""."""
        named = "".join(f"{key}={value.hex()}\0" for key, value in (attributes or {}).items())
        line = f"{path}\0{info.st_mode:o}\0{info.st_rdev}\0{content}\0{named}\0"
        self._hash.update(line.encode("utf-8", "surrogateescape"))

    def digest(self) -> str:
        return self._hash.hexdigest()


def _attributes(fd: int) -> dict[str, bytes]:
    """Return the extended attributes of a file that an image keeps, sorted."""
    return {key: os.getxattr(fd, key) for key in sorted(os.listxattr(fd)) if layertar.is_kept(key)}


def _hash(file) -> str:
    found = hashlib.sha256()
    while data := file.read(_CHUNK):
        found.update(data)
    return found.hexdigest()


class Copier:
    """Copies into a tree. owner: of what is copied, None keeps the source's; mode: of all, None keeps it too.

    account: of what was copied since it was last replaced.
    """

    def __init__(self, root_fd: int, owner: tuple[int, int] | None, mode: int | None = None) -> None:
        self.root_fd = root_fd
        self.owner = owner
        self.mode = mode
        self.account = Account()
        self._times: list[tuple[str, int]] = []

    def is_directory(self, path: str) -> bool:
        """Tell whether the tree has a directory there, links followed."""
        try:
            os.close(openbeneath.open_in_root(self.root_fd, path, openbeneath.O_PATH | openbeneath.O_DIRECTORY))
            return True
        except OSError:
            return False

    def directory(self, path: str, info: os.stat_result | None = None) -> None:
        """Make a directory, and what is missing above it; one that is there stays as it is. Raises OSError."""
        fd, created = openbeneath.ensure_dir(self.root_fd, path, 0o755)
        try:
            if created:
                inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
                try:
                    self._give_owner(inner, info)
                    os.fchmod(inner, 0o755 if info is None else self.mode if self.mode is not None
                              else stat.S_IMODE(info.st_mode))
                finally:
                    os.close(inner)
        finally:
            os.close(fd)
        if created and info is not None:
            self._times.append((path, info.st_mtime_ns))

    def tree(self, entries: Iterator[Entry], target: str) -> None:
        """Copy what lies below a directory into one of the tree. Raises OSError, ImageError."""
        for path, directory_fd, name, info in entries:
            if stat.S_ISDIR(info.st_mode):
                self.directory(f"{target}/{path}", info)
                self.account.add(path, info, "")
            else:
                self._entry(path, f"{target}/{path}", directory_fd, name, info)
        for path, time in reversed(self._times):
            fd = openbeneath.open_in_root(self.root_fd, path, os.O_RDONLY | openbeneath.O_DIRECTORY)
            try:
                os.utime(fd, ns=(time, time))
            finally:
                os.close(fd)
        self._times = []

    def file(self, source_fd: int, target: str) -> None:
        """Copy an open file to a path. Raises OSError, ImageError."""
        parent_fd, name = self._parent(target)
        try:
            self._take_away(parent_fd, name, target)
            self._write("", source_fd, parent_fd, name)
        finally:
            os.close(parent_fd)

    def _parent(self, target: str) -> tuple[int, str]:
        directory, _, name = target.rpartition("/")
        return openbeneath.ensure_dir(self.root_fd, directory or "/", 0o755)[0], name

    def _entry(self, path: str, target: str, directory_fd: int, name: str, info: os.stat_result) -> None:
        if stat.S_ISSOCK(info.st_mode):
            self.account.add(path, info, "")
            return
        parent_fd, last = self._parent(target)
        try:
            self._take_away(parent_fd, last, target)
            if stat.S_ISREG(info.st_mode):
                source_fd = trees.open_listed(name, directory_fd, info)
                try:
                    self._write(path, source_fd, parent_fd, last)
                finally:
                    os.close(source_fd)
                return
            content = ""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(name, dir_fd=directory_fd)
                os.symlink(content, last, dir_fd=parent_fd)
            elif stat.S_ISFIFO(info.st_mode):
                os.mkfifo(last, 0o600, dir_fd=parent_fd)
                os.chmod(last, stat.S_IMODE(info.st_mode), dir_fd=parent_fd)
            else:
                raise ImageError("copy", target, "a device is never copied")
            uid, gid = self.owner or (info.st_uid, info.st_gid)
            os.chown(last, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
            os.utime(last, ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
            self.account.add(path, info, content)
        finally:
            os.close(parent_fd)

    def _take_away(self, parent_fd: int, name: str, target: str) -> None:
        try:
            os.unlink(name, dir_fd=parent_fd)
        except FileNotFoundError:
            pass
        except IsADirectoryError as err:
            raise ImageError("copy", target, "there is a directory, and a file is to take its place") from err

    def _give_owner(self, fd: int, info: os.stat_result | None) -> None:
        uid, gid = self.owner or ((info.st_uid, info.st_gid) if info is not None else (0, 0))
        os.fchown(fd, uid, gid)

    def _write(self, path: str, source_fd: int, parent_fd: int, name: str) -> None:
        info = os.fstat(source_fd)
        content = hashlib.sha256()
        fd = os.open(name, _NEW, 0o600, dir_fd=parent_fd)
        try:
            while data := os.read(source_fd, _CHUNK):
                content.update(data)
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
            self._give_owner(fd, info)
            attributes = _attributes(source_fd)
            for key, value in attributes.items():
                os.setxattr(fd, key, value)
            os.fchmod(fd, stat.S_IMODE(info.st_mode) if self.mode is None else self.mode)
            os.utime(fd, ns=(info.st_mtime_ns, info.st_mtime_ns))
            self.account.add(path, info, content.hexdigest(), attributes)
        finally:
            os.close(fd)
