"""The store of volumes (docs/volumes.md).

    <directory>/.lock               its flock is held to change which volumes there are, and who holds one
    <directory>/NAME/volume.json    the record; replaced by rename, never written in place
    <directory>/NAME/data           what containers see
    <directory>/NAME/holds/USER     an empty file: the container USER needs it
    <directory>/.new-X, .gone-X     being made, being removed

A volume is there when its directory has its name, which it gets last. Linked into the launcher.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule._ext import json, proc
from capsule.errors import VolumeError
from capsule.linux import files, trees
from capsule.state import named

SCHEMA_VERSION = 1
DATA = "data"
RECORD = "volume.json"
HOLDS = "holds"
_LOCK = ".lock"
_NEW, _GONE = ".new-", ".gone-"
_LONGEST = 128
_KEYS = (("name", str), ("created", int), ("labels", dict), ("tmpfs", list), ("anonymous", bool), ("fresh", bool))


class Volumes:
    """The volumes below one directory, which is made by the first of them."""

    __slots__ = ("directory",)

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, name: str) -> str:
        """Return where a volume's files lie on the host."""
        return f"{self.directory}/{name}/{DATA}"

    def names(self) -> list[str]:
        """The names of all volumes, sorted. Raises VolumeError."""
        try:
            return sorted([name for name in posix.listdir(self.directory) if is_valid(name)])
        except FileNotFoundError:
            return []
        except OSError as err:
            raise VolumeError("list volumes in", self.directory, errno=err.errno) from err

    def exists(self, name: str) -> bool:
        """Tell whether there is a volume of that name."""
        return is_valid(name) and trees.is_directory(_lstat(f"{self.directory}/{name}"))

    def load(self, name: str) -> dict:
        """Return a volume's record.

        `created` in seconds since 1970; `tmpfs`: options of the tmpfs that it is, [] where it is a directory; `fresh`:
        no container has had it yet. Raises VolumeError, CorruptRecord.
        """
        check_name(name)
        try:
            data = files.read(f"{self.directory}/{name}/{RECORD}")
        except FileNotFoundError:
            cause = "no such volume; `capsule volume list` names those that are here"
            raise VolumeError("find volume", name, cause, errno=errno.ENOENT) from None
        except OSError as err:
            raise VolumeError("read volume", name, errno=err.errno) from err
        return named.parse("read volume", name, data, version=SCHEMA_VERSION, keys=_KEYS)

    def create(self, name: str = "", *, labels: dict[str, str] | None = None, tmpfs: list[str] | None = None,
               exist_ok: bool = False) -> dict:
        """Make a volume and return its record; without a name it is anonymous and gets one.

        exist_ok: one that is there is returned as it is. Raises VolumeError.
        """
        anonymous = not name
        name = name or posix.urandom(32).hex()
        check_name(name)
        lock_fd = self._lock()
        try:
            if self.exists(name):
                if exist_ok:
                    return self.load(name)
                raise VolumeError("create volume", name, "there is one of that name", errno=errno.EEXIST)
            record = {"schema_version": SCHEMA_VERSION, "name": name, "created": int(time.time()),
                      "labels": dict(labels or {}), "tmpfs": list(tmpfs or []), "anonymous": anonymous, "fresh": True}
            self._make(name, record)
        except OSError as err:
            raise VolumeError("create volume", name, errno=err.errno) from err
        finally:
            posix.close(lock_fd)
        return record

    def _make(self, name: str, record: dict) -> None:
        place = f"{self.directory}/{_NEW}{posix.urandom(8).hex()}"
        try:
            posix.mkdir(place, 0o700)
            posix.mkdir(f"{place}/{HOLDS}", 0o700)
            make_data(f"{place}/{DATA}")
            files.replace(f"{place}/{RECORD}", _bytes(record), durable=True)
            proc.stop_point("volume-made")
            posix.rename(place, f"{self.directory}/{name}")
            _sync(self.directory)
        except OSError:
            trees.remove(place)
            raise

    def save(self, record: dict) -> None:
        """Replace a volume's record. Raises VolumeError."""
        try:
            files.replace(f"{self.directory}/{record['name']}/{RECORD}", _bytes(record), durable=True)
        except OSError as err:
            raise VolumeError("write volume", record["name"], errno=err.errno) from err

    def remove(self, name: str) -> None:
        """Remove a volume and all that is in it. Raises VolumeError where a container has it, or there is none."""
        self.load(name)
        lock_fd = self._lock()
        try:
            users = self.holders(name)
            if users:
                raise VolumeError("remove volume", name, f"in use by {', '.join(users)}", errno=errno.EBUSY)
            gone, gone_fd = self._take_away(name)
        except OSError as err:
            raise VolumeError("remove volume", name, errno=err.errno) from err
        finally:
            posix.close(lock_fd)
        self._clear(gone, gone_fd)

    def hold(self, name: str, user: str) -> bool:
        """Keep a volume from being removed until `release`; tell whether that is new. Raises VolumeError."""
        _check_user(user)
        check_name(name)
        lock_fd = self._lock()
        try:
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
            posix.close(posix.open(f"{self.directory}/{name}/{HOLDS}/{user}", flags, 0o600))
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise VolumeError("hold volume", name, "no such volume", errno=errno.ENOENT) from None
        except OSError as err:
            raise VolumeError("hold volume", name, errno=err.errno) from err
        finally:
            posix.close(lock_fd)

    def release(self, name: str, user: str) -> None:
        """End a hold; fine when there is none. Raises VolumeError."""
        _check_user(user)
        try:
            posix.unlink(f"{self.directory}/{name}/{HOLDS}/{user}")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as err:
            raise VolumeError("release volume", name, errno=err.errno) from err

    def holders(self, name: str) -> list[str]:
        """List the containers that have a volume."""
        try:
            return sorted(posix.listdir(f"{self.directory}/{name}/{HOLDS}"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def of(self, user: str) -> list[str]:
        """List the volumes that a container has."""
        return [name for name in self.names() if user in self.holders(name)]

    def lock_volume(self, name: str) -> int:
        """Return an fd that has one volume's lock, while it is filled; closing it lets go. Raises VolumeError."""
        try:
            fd = trees.open_directory(f"{self.directory}/{name}")
            proc.flock(fd, proc.LOCK_EX)
            return fd
        except OSError as err:
            raise VolumeError("lock volume", name, errno=err.errno) from err

    def sweep(self) -> list[str]:
        """Remove what makers and removers that died have left; return the names. Raises VolumeError."""
        try:
            left = [name for name in posix.listdir(self.directory) if name.startswith((_NEW, _GONE))]
        except FileNotFoundError:
            return []
        found = []
        lock_fd = self._lock()  # nobody makes one now
        try:
            for name in sorted(left):
                fd = self._take_lock(name)
                if fd >= 0:
                    found.append((f"{self.directory}/{name}", fd))
        finally:
            posix.close(lock_fd)
        for path, fd in found:
            self._clear(path, fd)
        return [path.rpartition("/")[2] for path, _ in found]

    def _take_lock(self, name: str) -> int:
        """Open and lock what is being made or removed by nobody; -1 where somebody does."""
        try:
            fd = trees.open_directory(f"{self.directory}/{name}")
        except OSError:
            return -1
        try:
            proc.flock(fd, proc.LOCK_EX | proc.LOCK_NB)
            return fd
        except OSError:
            posix.close(fd)
            return -1

    def _take_away(self, name: str) -> tuple[str, int]:
        """Give a volume a name that nobody looks for; the fd's lock says that it is being removed."""
        gone = f"{self.directory}/{_GONE}{posix.urandom(8).hex()}"
        fd = trees.open_directory(f"{self.directory}/{name}")
        try:
            proc.flock(fd, proc.LOCK_EX | proc.LOCK_NB)
            posix.rename(f"{self.directory}/{name}", gone)
        except OSError:
            posix.close(fd)
            raise
        return gone, fd

    def _clear(self, path: str, fd: int) -> None:
        try:
            trees.remove(path)
        except OSError as err:
            raise VolumeError("remove", path, errno=err.errno) from err
        finally:
            posix.close(fd)

    def _lock(self) -> int:
        """Return an fd that has the store's lock. Raises VolumeError."""
        path = f"{self.directory}/{_LOCK}"
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        try:
            try:
                fd = posix.open(path, flags, 0o600)
            except FileNotFoundError:
                trees.make(self.directory)
                fd = posix.open(path, flags, 0o600)
            proc.flock(fd, proc.LOCK_EX)
            return fd
        except OSError as err:
            raise VolumeError("lock volumes in", self.directory, errno=err.errno) from err


def is_valid(name: str) -> bool:
    """Tell whether a volume can have this name."""
    return named.is_valid(name, _LONGEST)


def check_name(name: str) -> None:
    """Refuse what is no name of a volume. Raises VolumeError."""
    named.check_name("volume", name, _LONGEST, VolumeError)


def make_data(path: str) -> None:
    """Make the directory of a volume's files, as others may read it whatever our umask is. Raises OSError."""
    posix.mkdir(path, 0o755)
    posix.chmod(path, 0o755)


def _bytes(record: dict) -> bytes:
    return json.dumps(record, indent=2) + b"\n"


def _lstat(path: str):
    try:
        return posix.stat(path, follow_symlinks=False)
    except OSError:
        return None


def _sync(path: str) -> None:
    fd = trees.open_directory(path)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def _check_user(user: str) -> None:
    if not user or "/" in user or "\0" in user or user in (".", ".."):
        raise VolumeError("hold volume", repr(user), "not a container's id")
