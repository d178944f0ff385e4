"""A process to run in a container, as a caller asks for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.spec import model


class Process:
    """The original's six fields, then what runc's flags add; the client's Process has the same names.

    args, env and cwd of None mean the config's own. All paths are absolute.
    """

    __slots__ = (
        "args", "env", "cwd", "init", "detach", "id", "spec", "console_socket", "pidfd_socket", "pid_file",
        "preserve_fds", "network", "no_pivot", "no_new_keyring", "systemd_cgroup", "cgroup_access", "additional_gids",
        "caps", "user", "tty", "cgroup", "ignore_paused", "no_new_privs", "apparmor", "process_label", "overlay",
    )

    def __init__(self, args: list[str] | None = None, *, env: list[str] | None = None, cwd: str | None = None,
                 init: bool = False, detach: bool = False, id: str = "") -> None:
        self.args = args
        self.env = env
        self.cwd = cwd
        self.init = init  # the container's first process
        self.detach = detach  # nobody stays to relay and reap
        self.id = id  # the container's id, or the exec's
        self.spec: model.Process | None = None  # what is really run
        self.console_socket: str | None = None
        self.pidfd_socket: str | None = None
        self.pid_file: str | None = None
        self.preserve_fds = 0
        self.network: dict | None = None  # what runtime.networking takes; None leaves the config's own
        self.no_pivot = False
        self.no_new_keyring = False
        self.systemd_cgroup = False  # let systemd make the cgroups
        self.cgroup_access = ""  # a word of runtime.cgroup_access; "": as who we are
        self.overlay: dict | None = None  # layers instead of the bundle's root: rootfs.plan.overlay
        # exec only
        self.additional_gids: list[int] = []
        self.caps: list[str] = []
        self.user: str | None = None
        self.tty = False
        self.cgroup: list[str] = []
        self.ignore_paused = False
        self.no_new_privs: bool | None = None
        self.apparmor: str | None = None
        self.process_label: str | None = None
