"""StateStorage: what is known of a container and cannot be asked of the kernel (docs/state.md).

On disk the record is one JSON object in two lines: the first holds every small key, the second the key `config`
with the bytes of config.json as they were given. JSON escapes newlines in strings, so the first newline byte is
the border: most verbs parse the first line and never look at the second. Status is not recorded.
"""

from __future__ import annotations

import time

from capsule._ext import json
from capsule.errors import CorruptRecord

SCHEMA_VERSION = 1

# (namespace word of the spec, key of namespace_paths, name in /proc/<pid>/ns)
NAMESPACES = (
    ("ipc", "NEWIPC", "ipc"),
    ("network", "NEWNET", "net"),
    ("mount", "NEWNS", "mnt"),
    ("pid", "NEWPID", "pid"),
    ("uts", "NEWUTS", "uts"),
    ("user", "NEWUSER", "user"),
    ("cgroup", "NEWCGROUP", "cgroup"),
    ("time", "NEWTIME", "time"),
)

_BORDER = b',\n"config":'
_END = b"}\n"

# The keys of the first line, in the order they are written, each with the type it must have.
_FIELDS = (
    ("schema_version", int),
    ("id", str),
    ("init_process_pid", int),
    ("init_process_start_time", int),
    ("create_time", str),
    ("cgroup_paths", dict),
    ("cgroup_made", list),
    ("namespace_paths", dict),
    ("oci_version", str),
    ("bundle", str),
    ("rootfs", str),
    ("annotations", dict),
    ("owner_uid", int),
    ("rootless", bool),
    ("systemd", bool),
    ("extra", dict),
)


class StateStorage:
    """A container's record; `config` is the raw config.json, `endpoint` is None without a network attachment."""

    __slots__ = (
        "schema_version", "id", "init_process_pid", "init_process_start_time", "create_time", "config",
        "cgroup_paths", "cgroup_made", "namespace_paths", "endpoint", "oci_version", "bundle", "rootfs",
        "annotations", "owner_uid", "rootless", "systemd", "extra",
    )  # fmt: skip

    def __init__(self, id: str) -> None:
        self.schema_version = SCHEMA_VERSION
        self.id = id
        self.init_process_pid = 0  # in the runtime's pid namespace; 0 before the init exists
        self.init_process_start_time = 0  # clock ticks since boot
        self.create_time = ""  # RFC 3339 with nanoseconds, UTC
        self.config = b"{}"
        self.cgroup_paths: dict[str, str] = {}  # controller -> directory; "" is the v2 hierarchy
        self.cgroup_made: list[str] = []  # directories that create made, parents before children
        self.namespace_paths: dict[str, str] = {}  # NEWPID ... -> /proc/<pid>/ns/pid ...
        self.endpoint: dict | None = None
        self.oci_version = ""
        self.bundle = ""
        self.rootfs = ""
        self.annotations: dict[str, str] = {}
        self.owner_uid = 0
        self.rootless = False
        self.systemd = False
        self.extra: dict = {}

    def head(self) -> dict:
        """Return every key but `config`."""
        head = {name: getattr(self, name) for name, _ in _FIELDS}
        head["endpoint"] = self.endpoint
        return head

    def to_dict(self) -> dict:
        """Return the whole record as JSON values, `config` parsed."""
        whole = self.head()
        whole["config"] = json.loads(self.config)
        return whole

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        head = self.head()
        config = self.config.strip()
        head["config_size"] = len(config)
        return json.dumps(head)[:-1] + _BORDER + config + _END


def from_bytes(data: bytes, id: str) -> StateStorage:
    """Return the record that `data` stores; `id` says whose it must be.

    Raises CorruptRecord when it is cut short, is not a record, is another container's, or has a newer schema.
    """
    head_text, border, rest = data.partition(_BORDER)
    if not border or not rest.endswith(_END):
        raise _corrupt(id, "it is cut short")
    try:
        head = json.loads(head_text + b"}")
    except ValueError as err:
        raise _corrupt(id, str(err)) from err
    if not isinstance(head, dict):
        raise _corrupt(id, "it is not an object")
    version = head.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise _corrupt(id, f"its schema version is {version}, this capsule knows {SCHEMA_VERSION}")
    config = rest[: -len(_END)]
    if head.get("config_size") != len(config):
        raise _corrupt(id, "its config is cut short")
    record = StateStorage(id)
    for name, kind in _FIELDS:
        value = head.get(name)
        if type(value) is not kind:
            raise _corrupt(id, f"its {name} is missing or is not of type {kind.__name__}")
        setattr(record, name, value)
    endpoint = head.get("endpoint")
    if endpoint is not None and not isinstance(endpoint, dict):
        raise _corrupt(id, "its endpoint is not an object")
    if record.id != id:
        raise _corrupt(id, f"it is the record of {record.id!r}")
    record.endpoint = endpoint
    record.config = config
    return record


def namespace_paths(pid: int) -> dict[str, str]:
    """Return the paths of every namespace that process `pid` is in, under the record's keys."""
    return {key: f"/proc/{pid}/ns/{name}" for _, key, name in NAMESPACES}


def format_time(time_ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 in UTC, without trailing zeros in the fraction."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return text + "Z"


def _corrupt(id: str, cause: str) -> CorruptRecord:
    return CorruptRecord("load record of container", id, cause)
