"""The store: one directory a container under the runtime root, locked by flock (docs/state.md).

    <root>/<id>/          0700; its flock is the container's lock
    <root>/<id>/state.json   0600; the record, replaced by rename, never written in place
    <root>/<id>/journal      0600; appended to by create
    <root>/<id>/start.sock   made by create for start
    <root>/<id>/guard        0600; there while an exec keeps the container frozen

Every file is reached through the directory's fd. A lock counts only while the locked directory is still the one
at its path: an id that was deleted and made again is another container.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule._ext import proc
from capsule.errors import AlreadyExists, CorruptRecord, NotFound, StateError
from capsule.state import journal, record
from capsule.state.ids import check_id, is_valid
from capsule.state.record import StateStorage

RECORD = "state.json"
JOURNAL = "journal"
START_SOCKET = "start.sock"
GUARD = "guard"
NOTIFY = "notify"  # a directory: bind-mounted into a container whose supervisor gave us a NOTIFY_SOCKET
USER_NETWORK = "user-network"  # the data file of the attendant that watches pasta or slirp4netns
ATTACHED = "attached"  # there since a container that ran was connected to a network
END = "end.json"  # how a container ended that is kept; its relay writes it
ROOT = "root"  # while a container is made: an overlay covers it in the container's own mount namespace
FAILURES = ".failures"  # beside the containers, see capsule.state.failures
END_SLOTS = 127

_READ_CHUNK = 1 << 18


class Store:
    """The containers under one runtime root. The root is made by the first create, by nothing else."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"

    def create(self, id: str) -> Entry:
        """Make the directory of a new container and return its entry, locked exclusively.

        Raises AlreadyExists, StateError.
        """
        check_id(id)
        path = f"{self.root}/{id}"
        while True:
            self._make(path, id)
            try:
                entry = self.open(id)
                entry.lock()
            except NotFound:
                # A forced delete of this id came before the lock and took the empty directory for a leftover.
                continue
            if not posix.listdir(entry.dir_fd):
                return entry
            # After such a delete another create made the directory again, and had our lock before us.
            entry.close()
            raise _already_exists(id)

    def open(self, id: str) -> Entry:
        """Return the entry of an existing container, not locked.

        Raises NotFound, StateError.
        """
        check_id(id)
        try:
            fd = _open_directory(f"{self.root}/{id}")
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise _not_found(id) from err
            raise StateError("open state directory of container", id, errno=err.errno) from err
        return Entry(self.root, id, fd)

    def ids(self) -> list[str]:
        """Return the ids of all containers, complete or not, sorted; none where the root does not exist."""
        try:
            names = posix.listdir(self.root)
        except OSError as err:
            if err.errno == errno.ENOENT:
                return []
            raise StateError("list state root", self.root, errno=err.errno) from err
        return sorted(name for name in names if is_valid(name))

    def _make(self, path: str, id: str) -> None:
        try:
            try:
                posix.mkdir(path, 0o700)
            except FileNotFoundError:
                make_root(self.root)
                posix.mkdir(path, 0o700)
        except FileExistsError as err:
            raise _already_exists(id) from err
        except OSError as err:
            raise StateError("make state directory", path, errno=err.errno) from err


class Entry:
    """One container's directory, open. Close it; closing drops the lock."""

    __slots__ = ("root", "id", "dir_fd", "_journal_fd")

    def __init__(self, root: str, id: str, dir_fd: int) -> None:
        self.root = root
        self.id = id
        self.dir_fd = dir_fd  # -1 once closed
        self._journal_fd = -1

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The directory's path, for messages; files are reached through dir_fd."""
        return f"{self.root}/{self.id}"

    def exists(self) -> bool:
        """Tell whether the open directory is still the one at the container's path."""
        try:
            there = posix.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        here = posix.fstat(self.dir_fd)
        return there.st_ino == here.st_ino and there.st_dev == here.st_dev

    def lock(self, exclusive: bool = True) -> None:
        """Wait for the container's lock.

        Raises NotFound, and closes the entry, when the container was deleted meanwhile, even if its id was taken again.
        """
        proc.flock(self.dir_fd, proc.LOCK_EX if exclusive else proc.LOCK_SH)
        if not self.exists():
            self.close()
            raise _not_found(self.id)

    def try_lock(self) -> bool:
        """Take the container's lock if nobody has it.

        Raises NotFound as lock() does.
        """
        try:
            proc.flock(self.dir_fd, proc.LOCK_EX | proc.LOCK_NB)
        except BlockingIOError:
            return False
        if not self.exists():
            self.close()
            raise _not_found(self.id)
        return True

    def unlock(self) -> None:
        """Let go of the lock."""
        proc.flock(self.dir_fd, proc.LOCK_UN)

    def close(self) -> None:
        """Close the directory; closing twice is fine."""
        if self._journal_fd >= 0:
            posix.close(self._journal_fd)
            self._journal_fd = -1
        if self.dir_fd >= 0:
            posix.close(self.dir_fd)
            self.dir_fd = -1

    def load(self) -> StateStorage:
        """Return the record; no lock is needed, since records are replaced whole.

        Raises NotFound, CorruptRecord; the latter also while create has not saved a record yet.
        """
        try:
            data = self._read(RECORD)
        except FileNotFoundError as err:
            if not self.exists():
                raise _not_found(self.id) from err
            raise CorruptRecord("load record of container", self.id, "create did not finish") from err
        except OSError as err:
            raise CorruptRecord("load record of container", self.id, errno=err.errno) from err
        return record.from_bytes(data, self.id)

    def save(self, storage: StateStorage) -> None:
        """Replace the record in one step: another process reads the old one or the new one."""
        self.replace(RECORD, storage.to_bytes())

    def replace(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Replace a file of the directory in one step. durable: whatever happens to the machine.

        Raises StateError.
        """
        temporary = f"{name}.{posix.getpid()}.{time.time_ns()}"
        try:
            self._write_new(temporary, data, durable)
            posix.rename(temporary, name, src_dir_fd=self.dir_fd, dst_dir_fd=self.dir_fd)
            if durable:
                posix.fsync(self.dir_fd)
        except OSError as err:
            self._unlink(temporary)
            raise StateError("save record of container", self.id, errno=err.errno) from err

    def make_root(self) -> None:
        """Make the directory that an overlay will cover; what else the container's directory has stays in sight.

        Raises StateError.
        """
        try:
            posix.mkdir(ROOT, 0o700, dir_fd=self.dir_fd)
        except OSError as err:
            raise StateError("make", f"{self.path}/{ROOT}", errno=err.errno) from err

    def drop_root(self) -> None:
        """Remove that directory; the container has its root, and its relay removes a directory of files only."""
        try:
            posix.rmdir(ROOT, dir_fd=self.dir_fd)
        except OSError as err:
            raise StateError("remove", f"{self.path}/{ROOT}", errno=err.errno) from err

    def journal_add(self, kind: str, *values: str | int) -> None:
        """Note what is about to be made; nothing may be made before this returns.

        Raises StateError.
        """
        try:
            if self._journal_fd < 0:
                flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_CLOEXEC
                self._journal_fd = posix.open(JOURNAL, flags, 0o600, dir_fd=self.dir_fd)
            _write_all(self._journal_fd, journal.to_line(kind, values))
        except OSError as err:
            raise StateError("write", f"{self.path}/{JOURNAL}", errno=err.errno) from err

    def journal_read(self) -> list[tuple[str, list]]:
        """Return the journal's (kind, values), none when nothing was journalled."""
        try:
            return journal.from_bytes(self._read(JOURNAL))
        except FileNotFoundError:
            return []

    def mark(self, name: str, data: bytes) -> None:
        """Make a small file that tells other runs of something under way.

        Raises StateError.
        """
        try:
            self._write_new(name, data)
        except FileExistsError as err:
            raise StateError("make", f"{self.path}/{name}", errno=err.errno) from err
        except OSError as err:
            self._unlink(name)
            raise StateError("make", f"{self.path}/{name}", errno=err.errno) from err

    def marked(self, name: str) -> bytes | None:
        """Return what a mark says, None when it is not there.

        Raises StateError.
        """
        try:
            return self._read(name)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StateError("read", f"{self.path}/{name}", errno=err.errno) from err

    def unmark(self, name: str) -> None:
        """Remove a mark; fine when it has gone."""
        self._unlink(name)

    def remove(self) -> None:
        """Remove the directory and what is in it; call it under the exclusive lock.

        Names are unlinked through the directory's fd, so no link is ever followed out of it.

        Raises StateError when it holds a directory that nothing of capsule makes.
        """
        for name in (RECORD, START_SOCKET, JOURNAL):
            self._unlink(name)
        try:
            try:
                posix.rmdir(self.path)
            except OSError as err:
                if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                for name in posix.listdir(self.dir_fd):
                    if name == NOTIFY:
                        self._remove_notify()
                    elif name == ROOT:
                        posix.rmdir(ROOT, dir_fd=self.dir_fd)
                    else:
                        posix.unlink(name, dir_fd=self.dir_fd)
                posix.rmdir(self.path)
        except FileNotFoundError:
            pass
        except OSError as err:
            raise StateError("remove state directory", self.path, errno=err.errno) from err

    def _remove_notify(self) -> None:
        fd = posix.open(NOTIFY, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC,
                        dir_fd=self.dir_fd)
        try:
            for name in posix.listdir(fd):
                posix.unlink(name, dir_fd=fd)
        finally:
            posix.close(fd)
        posix.rmdir(NOTIFY, dir_fd=self.dir_fd)

    def _read(self, name: str) -> bytes:
        flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        fd = posix.open(name, flags, dir_fd=self.dir_fd)
        try:
            data = posix.read(fd, _READ_CHUNK)
            if len(data) == _READ_CHUNK:
                while more := posix.read(fd, _READ_CHUNK):
                    data += more
            return data
        finally:
            posix.close(fd)

    def _write_new(self, name: str, data: bytes, durable: bool = False) -> None:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        fd = posix.open(name, flags, 0o600, dir_fd=self.dir_fd)
        try:
            _write_all(fd, data)
            if durable:
                posix.fsync(fd)
        finally:
            posix.close(fd)

    def _unlink(self, name: str) -> None:
        try:
            posix.unlink(name, dir_fd=self.dir_fd)
        except FileNotFoundError:
            pass
        except OSError as err:
            raise StateError("remove", f"{self.path}/{name}", errno=err.errno) from err


def _open_directory(path: str) -> int:
    return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)


def end_path(root: str, id: str) -> str:
    """Return the path of the slot that tells how the container `id`, which is gone, ended."""
    # The last characters: engines' ids are random digits there, and people's names differ at their ends.
    return f"{root}/{FAILURES}/.end.{int.from_bytes(id[-6:].encode(), 'little') % END_SLOTS}"


def make_root(path: str) -> None:
    """Make the runtime root and what is missing above it; fine when it is there. Raises OSError."""
    parent = path.rpartition("/")[0]
    try:
        posix.mkdir(path, 0o700)
    except FileNotFoundError:
        if not parent:
            raise
        make_root(parent)
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def _write_all(fd: int, data: bytes) -> None:
    written = posix.write(fd, data)
    while written < len(data):
        written += posix.write(fd, data[written:])


def _already_exists(id: str) -> AlreadyExists:
    return AlreadyExists("create container", id, "container with given ID already exists")


def _not_found(id: str) -> NotFound:
    return NotFound(f'container "{id}" does not exist')
