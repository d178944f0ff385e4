"""The checked configuration: what every other part of capsule knows about config.json.

Only `capsule.spec` builds these from JSON; after that nobody looks at the JSON again, except for the two
subtrees whose owners compile them (`resources`, `seccomp`), which are checked and hold the spec's key names.
A field is None, empty or False where the config has none. runtime-spec config.md, config-linux.md.
"""

from __future__ import annotations


class Mount:
    """One entry of `mounts`; `options` are the spec's words (see mount_options.parse_options)."""

    __slots__ = ("destination", "type", "source", "options", "uid_mappings", "gid_mappings")

    def __init__(
        self,
        destination: str,
        type: str | None = None,
        source: str | None = None,
        options: list[str] | None = None,
        uid_mappings: list[tuple[int, int, int]] | None = None,
        gid_mappings: list[tuple[int, int, int]] | None = None,
    ) -> None:
        self.destination = destination
        self.type = type
        self.source = source
        self.options = options or []
        self.uid_mappings = uid_mappings or []
        self.gid_mappings = gid_mappings or []

    def is_bind(self) -> bool:
        """Tell whether this is a bind mount: by its type or, as engines write it, by an option."""
        return self.type == "bind" or "bind" in self.options or "rbind" in self.options


class Device:
    """One entry of `linux.devices`; `type` is c, b, u or p; major and minor are 0 for p."""

    __slots__ = ("type", "path", "major", "minor", "file_mode", "uid", "gid")

    def __init__(
        self,
        type: str,
        path: str,
        major: int = 0,
        minor: int = 0,
        file_mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self.type = type
        self.path = path
        self.major = major
        self.minor = minor
        self.file_mode = file_mode
        self.uid = uid
        self.gid = gid


class Hook:
    """One hook; `args` has argv[0] and is [path] where the config has none; `timeout` is in seconds."""

    __slots__ = ("path", "args", "env", "timeout")

    def __init__(
        self, path: str, args: list[str] | None = None, env: list[str] | None = None, timeout: int | None = None
    ) -> None:
        self.path = path
        self.args = args or [path]
        self.env = env
        self.timeout = timeout


class Process:
    """The `process` object of config.json, or a whole process.json of exec."""

    __slots__ = (
        "terminal", "console_size", "cwd", "args", "env", "uid", "gid", "umask", "additional_gids",
        "capabilities", "no_new_privileges", "rlimits", "oom_score_adj", "apparmor_profile", "selinux_label",
        "scheduler", "io_priority", "cpu_affinity",
    )

    def __init__(self) -> None:
        self.terminal: bool = False
        self.console_size: tuple[int, int] | None = None  # (height, width) in characters
        self.cwd: str = "/"
        self.args: list[str] | None = None
        self.env: list[str] = []
        self.uid: int = 0
        self.gid: int = 0
        self.umask: int | None = None
        self.additional_gids: list[int] = []
        # Set name (bounding, effective, ...) to names as given, unknown ones included; None: all sets empty.
        self.capabilities: dict[str, list[str]] | None = None
        self.no_new_privileges: bool = False
        self.rlimits: list[tuple[str, int, int]] = []  # (RLIMIT_X, soft, hard), u64; 2**64-1 is no limit
        self.oom_score_adj: int | None = None
        self.apparmor_profile: str | None = None
        self.selinux_label: str | None = None
        self.scheduler: dict[str, object] | None = None  # checked, with the spec's key names
        self.io_priority: tuple[str, int] | None = None  # (class word, level)
        self.cpu_affinity: tuple[list[int], list[int]] | None = None  # before and after joining the cgroup; exec only


class Config:
    """A whole config.json."""

    __slots__ = (
        "oci_version", "root_path", "root_readonly", "process", "hostname", "domainname", "mounts", "hooks",
        "annotations", "namespaces", "uid_mappings", "gid_mappings", "time_offsets", "devices", "cgroups_path",
        "resources", "rootfs_propagation", "masked_paths", "readonly_paths", "sysctl", "seccomp",
        "mount_label", "personality", "memory_policy", "net_devices", "intel_rdt", "raw",
    )

    def __init__(self) -> None:
        self.oci_version: str = ""
        self.root_path: str = ""
        self.root_readonly: bool = False
        self.process: Process | None = None
        self.hostname: str | None = None
        self.domainname: str | None = None
        self.mounts: list[Mount] = []
        self.hooks: dict[str, list[Hook]] = {}  # absent kinds are absent
        self.annotations: dict[str, str] = {}
        self.namespaces: list[tuple[str, str | None]] = []  # (type word, path to join or None for a new one)
        self.uid_mappings: list[tuple[int, int, int]] = []  # (container id, host id, size)
        self.gid_mappings: list[tuple[int, int, int]] = []
        self.time_offsets: dict[str, tuple[int, int]] = {}  # clock to (seconds, nanoseconds)
        self.devices: list[Device] = []
        self.cgroups_path: str | None = None
        self.resources: dict[str, object] = {}
        self.rootfs_propagation: str | None = None
        self.masked_paths: list[str] = []
        self.readonly_paths: list[str] = []
        self.sysctl: dict[str, str] = {}  # keys with the separators of a path below /proc/sys
        self.seccomp: dict[str, object] | None = None
        self.mount_label: str | None = None
        self.personality: str | None = None  # LINUX or LINUX32
        self.memory_policy: tuple[str, list[int], list[str]] | None = None  # (mode, nodes, flags)
        self.intel_rdt: dict[str, object] | None = None  # a subtree with the spec's key names
        self.net_devices: dict[str, str] = {}  # name here to name in the container
        self.raw: bytes = b""
