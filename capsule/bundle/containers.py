"""The engine's containers: one record each, which outlives the container's runs (docs/engine.md).

    <containers>/.names/NAME      a link to the id; flock of the directory: whoever gives or takes a name
    <containers>/ID/              0700; its flock is the lock of the container's life: start, rename, removal
    <containers>/ID/record.json   0600; replaced by rename
    <containers>/ID/room          0600; blank: room for the next record on a full disk
    <containers>/ID/config.json   0600; the compiled configuration: the directory is an OCI bundle
    <containers>/ID/end.json      0600; how the last run ended, written by its relay or monitor

What the kernel can be asked is in no record: whether it runs (capsule.bundle.life).
"""

from __future__ import annotations

import errno
import posix
import time

from capsule._ext import json, proc
from capsule.bundle import spare
from capsule.errors import AlreadyExists, CorruptRecord, NotFound, StateError
from capsule.linux import files
from capsule.state import failures
from capsule.state.ids import check_id, is_valid
from capsule.state.record import format_time
from capsule.state.store import Entry, Store, make_root

SCHEMA_VERSION = 1
RECORD = "record.json"
CONFIG = "config.json"
NAMES = ".names"
ID_BYTES = 32  # an id is twice as many hexadecimal digits
RESUME = "resume"  # key of `extra`: it ran when it was stopped for a reboot
FULL = (errno.ENOSPC, errno.EDQUOT)
SHORT = 12  # digits of an id that people are shown

# Every key of the file: name, what it is when a record is made. The default's type is the key's.
FIELDS: tuple[tuple[str, object], ...] = (
    ("id", ""),
    ("name", ""),
    ("create_time", ""),  # RFC 3339, UTC
    ("image", ""),  # as it was named; "host" is the built-in one
    ("image_id", ""),  # digest of its configuration; "" for the built-in one
    ("command", []),  # of the first process, whole
    ("labels", {}),
    ("overlay", {}),  # what rootfs.plan.overlay takes
    ("network", {}),  # what runtime.networking takes; {} leaves the configuration's own
    ("volumes", []),  # one dict a mount that `rm -v`, `inspect` and `prune` must know
    ("detached", False),  # it has a monitor; otherwise a relay in the foreground
    ("remove", False),  # --rm: the end of a run is the end of it
    ("tty", False),
    ("interactive", False),  # standard input stays open without anyone attached
    ("restart", {}),  # policy: no, on-failure, always, unless-stopped; max: tries of on-failure, 0 without end
    ("stop_signal", "TERM"),
    ("stop_timeout", 10),  # seconds from there to SIGKILL
    ("timeout_ms", 0),  # longest run; 0: no limit
    ("log", {}),  # driver, path, max_size (bytes), max_file; {} keeps none
    ("health", {}),  # command (list), interval_ms, timeout_ms, start_period_ms, retries; {}: not watched
    ("runs", 0),  # how often it was started
    ("restarts", 0),  # how often by its policy since somebody started it
    ("started_ns", 0),  # since 1970: when the last run began
    ("error", ""),  # why the last start failed, "" if it did not
    ("wanted", False),  # somebody wants it to run: `stop` takes that back, a reboot does not
    ("removing", False),  # `rm` has begun: nothing but another `rm` may follow
    ("removing_volumes", False),  # and was asked to take the volumes without a name along
    ("extra", {}),  # of features that keep something of their own
)


class Record:
    """What is known of a container beyond its runs; the attributes are the names of FIELDS."""

    __slots__ = (
        "id", "name", "create_time", "image", "image_id", "command", "labels", "overlay", "network", "volumes",
        "detached", "remove", "tty", "interactive", "restart", "stop_signal", "stop_timeout", "timeout_ms", "log",
        "health", "runs", "restarts", "started_ns", "error", "wanted", "removing", "removing_volumes", "extra",
    )  # fmt: skip

    def __init__(self, id: str, name: str = "") -> None:
        self.id = id
        self.name = name or id[:SHORT]
        self.create_time = ""
        self.image = ""
        self.image_id = ""
        self.command: list[str] = []
        self.labels: dict[str, str] = {}
        self.overlay: dict = {}
        self.network: dict = {}
        self.volumes: list[dict] = []
        self.detached = False
        self.remove = False
        self.tty = False
        self.interactive = False
        self.restart: dict = {}
        self.stop_signal = "TERM"
        self.stop_timeout = 10
        self.timeout_ms = 0
        self.log: dict = {}
        self.health: dict = {}
        self.runs = 0
        self.restarts = 0
        self.started_ns = 0
        self.error = ""
        self.wanted = False
        self.removing = False
        self.removing_volumes = False
        self.extra: dict = {}

    @property
    def is_kept(self) -> bool:
        """Tell whether it has anything that outlives its run: throw-away ones of the foreground are in memory."""
        return self.detached or not self.remove

    @property
    def start_time(self) -> str:
        """When the last run began, as create_time; "" before the first."""
        return format_time(self.started_ns) if self.started_ns else ""

    def take(self, other: Record) -> None:
        """Become what `other` says: the record of this container as it was read later."""
        for name, _ in FIELDS:
            setattr(self, name, getattr(other, name))

    def to_dict(self) -> dict:
        """Return the record as JSON values."""
        return {"schema_version": SCHEMA_VERSION, **{name: getattr(self, name) for name, _ in FIELDS}}


def from_bytes(data: bytes, id: str) -> Record:
    """Return the record that `data` stores; keys that an older capsule did not know have their defaults.

    Raises CorruptRecord when it is no record, is another container's, or has a newer schema.
    """
    try:
        tree = json.loads(data)
    except ValueError as err:
        raise _corrupt(id, str(err)) from err
    if not isinstance(tree, dict) or type(tree.get("schema_version")) is not int:
        raise _corrupt(id, "it is not a record")
    if tree["schema_version"] > SCHEMA_VERSION:
        raise _corrupt(id, f"its schema version is {tree['schema_version']}, this capsule knows {SCHEMA_VERSION}")
    if tree.get("id") != id:
        raise _corrupt(id, f"it is the record of {tree.get('id')!r}")
    record = Record(id)
    for name, default in FIELDS:
        value = tree.get(name, default)
        if type(value) is not type(default):
            raise _corrupt(id, f"its {name} is not of type {type(default).__name__}")
        if name in tree:
            setattr(record, name, value)
    return record


def new_id() -> str:
    """Return an id that nothing else has."""
    return posix.urandom(ID_BYTES).hex()


class Containers:
    """The containers below one directory (cli.paths.containers_root); the first `create` makes it."""

    __slots__ = ("root", "store")

    def __init__(self, root: str) -> None:
        self.root = root
        self.store = Store(root)

    def create(self, record: Record, config: bytes) -> Entry:
        """Write down a new container with its name; returns its entry, locked.

        Raises AlreadyExists, naming who has the name, StateError.
        """
        entry = self.reserve(record)
        try:
            self.fill(entry, record, config)
        except BaseException:
            entry.remove()
            entry.close()
            raise
        return entry

    def reserve(self, record: Record) -> Entry:
        """Make the directory of a container, locked; what holds images and volumes is there before its holds are.

        Whoever looks for what has been left behind sees by the lock that it is in the making. Raises StateError.
        """
        check_id(record.name)
        return self.store.create(record.id)

    def fill(self, entry: Entry, record: Record, config: bytes) -> None:
        """Write down a container that was reserved. Raises AlreadyExists, naming who has the name, StateError."""
        record.create_time = format_time(time.time_ns())
        try:
            entry.replace(CONFIG, config, durable=record.is_kept)
            save(entry, record)
            if record.is_kept:
                files.sync_directory(self.root)
        except OSError as err:
            raise StateError("record container", record.name, errno=err.errno) from err
        proc.stop_point("engine-recorded")
        self.take_name(record.name, record.id, durable=record.is_kept)

    def find(self, word: str) -> str:
        """Return the id that a name, an id or the beginning of one means.

        Raises NotFound; StateError where several ids begin so.
        """
        if is_valid(word):
            id = self._named(word)
            if id:
                return id
            if posix.access(f"{self.root}/{word}/{RECORD}", posix.F_OK):
                return word
            found = [id for id in self.store.ids() if id.startswith(word)]
            if len(found) > 1:
                raise StateError("find container", word,
                                 f"ambiguous: {', '.join([id[:SHORT] for id in found])}")
            if found:
                return found[0]
        raise NotFound(f'container "{word}" does not exist; `capsule ps --all` names those that are here')

    def open(self, id: str, *, lock: bool = False) -> Entry:
        """Open a container's directory. Raises NotFound."""
        entry = self.store.open(id)
        if lock:
            entry.lock()
        return entry

    def load(self, id: str) -> Record:
        """Return the record of an id. Raises NotFound, CorruptRecord."""
        with self.open(id) as entry:
            return read(entry)

    def records(self) -> list[Record]:
        """List the records that can be read, the oldest container first; a damaged one hides no other."""
        found = []
        for id in self.store.ids():
            try:
                found.append(self.load(id))
            except StateError:
                continue
        return sorted(found, key=_age)

    def rename(self, entry: Entry, record: Record, name: str) -> None:
        """Give a container, locked by the caller, another name. Raises AlreadyExists, StateError."""
        check_id(name)
        before = record.name
        self.take_name(name, record.id)
        record.name = name
        save(entry, record)
        if before != name:
            self.drop_name(before, record.id)

    def forget(self, entry: Entry, record: Record) -> None:
        """Remove the record, the name with it; the caller has the lock and has removed everything else."""
        self.drop_name(record.name, record.id)
        entry.remove()

    def _named(self, name: str) -> str:
        try:
            id = posix.readlink(f"{self.root}/{NAMES}/{name}")
        except OSError:
            return ""
        return id if is_valid(id) and posix.access(f"{self.root}/{id}/{RECORD}", posix.F_OK) else ""

    def take_name(self, name: str, id: str, *, durable: bool = True) -> None:
        """Have a name lead to a container. Raises AlreadyExists, naming whose it is, StateError."""
        lock_fd = self._lock_names()
        try:
            owner = self._named(name)
            if owner == id:
                return
            if owner:
                raise AlreadyExists("name container", name,
                                    f"it is the name of {owner[:SHORT]}; remove or rename that, or choose another")
            try:
                posix.unlink(name, dir_fd=lock_fd)  # of a container that has gone
            except FileNotFoundError:
                pass
            posix.symlink(id, name, dir_fd=lock_fd)
            if durable:
                posix.fsync(lock_fd)
        except OSError as err:
            raise StateError("name container", name, errno=err.errno) from err
        finally:
            posix.close(lock_fd)

    def drop_name(self, name: str, id: str) -> None:
        """Let a name go that leads to a container, or ("" for its id) to none that is there. Raises StateError."""
        lock_fd = self._lock_names()
        try:
            if self._named(name) == id or posix.readlink(name, dir_fd=lock_fd) == id:
                posix.unlink(name, dir_fd=lock_fd)
        except FileNotFoundError:
            pass
        except OSError as err:
            raise StateError("take the name of container", name, errno=err.errno) from err
        finally:
            posix.close(lock_fd)

    def _lock_names(self) -> int:
        path = f"{self.root}/{NAMES}"
        try:
            make_root(path)
            fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        except OSError as err:
            raise StateError("open", path, errno=err.errno) from err
        proc.flock(fd, proc.LOCK_EX)
        return fd


def read(entry: Entry) -> Record:
    """Return the record of an open entry. Raises NotFound, CorruptRecord."""
    data = entry.marked(RECORD)
    if data is None:
        if not entry.exists():
            raise NotFound(f'container "{entry.id}" does not exist')
        raise _corrupt(entry.id, "its making, or its removal, did not finish")
    return from_bytes(data, entry.id)


def save(entry: Entry, record: Record) -> None:
    """Replace the record in one step, for good if it is kept; the caller has the lock. Raises StateError.

    Room for another is kept: the disk may be full by this very container, which is to be stopped then.
    """
    data = json.dumps(record.to_dict()) + b"\n"
    try:
        entry.replace(RECORD, data, durable=record.is_kept)
    except StateError as err:
        if err.errno not in FULL or not spare.replace(entry.dir_fd, RECORD, data):
            raise
    if record.is_kept:
        spare.keep(entry.dir_fd, len(data))


def end_of(entry: Entry, record: Record, name: str = "end.json") -> dict | None:
    """Return how the last run ended: `reason`, `exit_code` or `signal`, `time`, `status` (as a shell has it).

    None while it runs, before the first run, and where whoever would have written it down was killed.
    """
    data = entry.marked(name)
    fields = None if data is None else failures.read_end(data, record.id)
    if fields is None or fields.get("run") != record.runs:
        return None
    return {**failures.describe_end(fields), "status": exit_status(fields)}


def exit_status(fields: dict) -> int:
    """Return the exit status of an end's record as a shell has it: 128 and the signal's number for a signal."""
    status = fields.get("wait_status")
    wait = status if type(status) is int else 0
    return 128 + (wait & 0x7F) if wait & 0x7F else wait >> 8 & 0xFF


def _age(record: Record) -> tuple[str, str]:
    return record.create_time, record.id


def _corrupt(id: str, cause: str) -> CorruptRecord:
    return CorruptRecord("load record of container", id, cause)
