"""What R hands to S2: everything an initializer needs, decided before the first clone.

S2 is a copy of R's memory, so nothing here is encoded; it is one object, filled by R and only read by S2.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.rootfs.plan import RootfsPlan
    from capsule.security.plan import SecurityPlan
    from capsule.spec.model import Config, Process

INIT = "init"  # a container's first process
EXEC = "exec"  # a later one


class InitExecConfig:
    """The initializer's orders; the first three names are the original's JSON keys."""

    __slots__ = (
        "container_config",  # spec.model.Config
        "process_config",  # spec.model.Process, or None: a container without a process
        "id",
        "sync_fd",  # the child's end of the sync channel
        "start_fd",  # listener of the start socket, -1 for exec
        "rootfs_plan",  # rootfs.plan.RootfsPlan, None for exec
        "idmaps",  # fds of the user namespaces of rootfs_plan.idmaps; R's
        "rootfs_path",  # absolute, in the caller's mount namespace
        "bundle",  # absolute; the working directory of createContainer hooks
        "security",  # security.plan.SecurityPlan, None without a process
        "preserve_fds",  # descriptors 3..2+N go to the payload
        "keyring",  # name of the session keyring to join, None: keep the caller's
        "new_network",  # the network namespace is new: bring lo up
        "in_userns",
        "shows_namespaces",  # R gets descriptors of the network and user namespace with the request for hooks
        "clones_tail",  # the tail is a clone of S2: always for exec, for init where a pid namespace was joined
        "pid_namespace",  # fd of the pid namespace that was joined, 0 for none
        "program_fd",  # the tail's image, sealed by R: its owner is the host's root, not the container's
        "has_mount_ns",
        "no_pivot",
        "pdeathsig",  # signal for the payload when its parent dies, 0 for none
        "agent_fd",  # connection to the seccomp agent, -1 for none
        "agent_state",  # what the tail sends it beside the listener
        "cgroup_fds",  # (unified_fd, [tasks fds]) that an exec's tail joins, else (-1, [])
    )
    if TYPE_CHECKING:
        container_config: Config
        process_config: Process | None
        id: str
        sync_fd: int
        rootfs_plan: RootfsPlan
        rootfs_path: str
        bundle: str
        security: SecurityPlan | None
        keyring: str | None
        program_fd: int
        agent_state: bytes

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, None)
        self.start_fd = self.agent_fd = -1
        self.preserve_fds = self.pid_namespace = 0
        self.pdeathsig = 0
        self.cgroup_fds: tuple[int, list[int]] = (-1, [])
        self.idmaps: list[int] = []
        self.new_network = self.in_userns = self.shows_namespaces = self.clones_tail = self.no_pivot = False
        self.has_mount_ns = True
