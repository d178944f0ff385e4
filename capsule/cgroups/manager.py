"""Manager: one container's cgroups in every hierarchy, v1, v2 or both."""

from __future__ import annotations

import posix

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError
from capsule.linux import mountinfo

UNIFIED = ""

_TASKS = posix.O_WRONLY | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


def open_manager(cgroups_path: str | None, container_id: str) -> Manager:
    """Find the hierarchies and place the container in them; make nothing yet."""
    from capsule.cgroups import layout

    hierarchies = layout.detect(mountinfo.read_text("/proc/self/cgroup"), mountinfo.read_text("/proc/self/mountinfo"))
    layout.place(hierarchies, cgroups_path, container_id)
    paths = {name: hierarchy.leaf for hierarchy in hierarchies for name in hierarchy.controllers}
    manager = Manager(paths, [], fresh=True)
    manager.hierarchies = hierarchies
    return manager


class Manager:
    """A container's cgroups: `paths` maps each controller to its directory, "" being v2; `made` is what create made."""

    __slots__ = ("paths", "made", "hierarchies", "restricts_devices", "_fresh")

    def __init__(self, paths: dict[str, str], made: list[str], *, fresh: bool = False) -> None:
        self.paths = paths
        self.made = made  # parents before children
        self.hierarchies: list = []  # in mount order; only known to the Manager that open_manager returned
        # False: in a user namespace nobody can make a node, and rules would need the host's root (EPERM).
        self.restricts_devices = True
        self._fresh = fresh

    @property
    def unit(self) -> dict | None:
        """The systemd unit that holds the cgroups, as the record keeps it; None for cgroups of our own making."""
        return None

    def is_v2(self) -> bool:
        """Tell whether v2 is the only hierarchy."""
        return len(self.paths) == 1 and UNIFIED in self.paths

    def leave(self, hierarchies: list) -> None:
        """Stay in the runtime's own cgroup of these hierarchies; before create()."""
        for hierarchy in list(hierarchies):
            hierarchy.leaf = hierarchy.own
            for name in hierarchy.controllers:
                self.paths.pop(name, None)

    # Making

    def planned(self) -> list[str]:
        """Return every directory that create() would make now, parents before children."""
        planned: list[str] = []
        there = {"", *(hierarchy.mount_point for hierarchy in self.hierarchies)}
        there.update(hierarchy.own for hierarchy in self.hierarchies)
        for directory in self._leaves():
            missing = []
            while directory not in there and not posix.access(directory, posix.F_OK):
                missing.append(directory)
                directory = directory.rpartition("/")[0]
            planned += reversed(missing)
        return planned

    def create(self) -> None:
        """Make the cgroups, ready to be joined; on failure remove what was made.

        Raises CgroupError, also when a cgroup was there before and is frozen or holds processes.
        """
        try:
            for directory in self._leaves():
                made = cgroupfs.make(directory)
                self.made += made
                self._check_mount(directory)
                if not made:
                    self._check_unused(directory)
                self._check_runs(directory)
            if self.is_v2():
                from capsule.cgroups.v2 import controllers

                controllers.check_type(self.paths[UNIFIED])
            if "cpuset" in self.paths:
                self._inherit_cpuset(self.paths["cpuset"], ("cpuset.cpus", "cpuset.mems"))
        except BaseException:
            for directory in reversed(self.made):
                cgroupfs.remove_empty(directory)
            self.made = []
            raise

    def _check_mount(self, directory: str) -> None:
        # Over a cgroup file system's directory anything may be mounted: its files would be written, and limit nothing.
        for hierarchy in self.hierarchies:
            if hierarchy.leaf == directory and posix.stat(directory).st_dev != posix.stat(hierarchy.mount_point).st_dev:
                raise CgroupError("create cgroup", directory, "another file system is mounted there")

    def _check_unused(self, directory: str) -> None:
        count = len(cgroupfs.processes(directory))
        if count:
            raise CgroupError("container's cgroup is not empty", directory, f"{count} process(es) found")

    def _check_runs(self, directory: str) -> None:
        # A process that joins a frozen cgroup, or one below it, stops there for good.
        if directory != self.paths.get("freezer", self.paths.get(UNIFIED)):
            return
        if "freezer" in self.paths:
            stops = cgroupfs.read(directory, "freezer.state") != "THAWED"
        else:
            stops = "frozen 1" in cgroupfs.read(directory, "cgroup.events")  # cgroup.freeze is what it was asked itself
        if stops:
            raise CgroupError("container's cgroup unexpectedly frozen", directory)

    def _inherit_cpuset(self, directory: str, names: tuple) -> None:
        # A v1 cpuset starts empty, and nothing can join it before it has both cpus and memory nodes.
        for name in names:
            if directory in self.made or not cgroupfs.read(directory, name):
                cgroupfs.write(directory, name, self._effective_cpuset(directory.rpartition("/")[0], name))

    def _effective_cpuset(self, directory: str, name: str) -> str:
        value = cgroupfs.read(directory, name)
        if not value:
            value = self._effective_cpuset(directory.rpartition("/")[0], name)
            cgroupfs.write(directory, name, value)
        return value

    def made_leaves(self) -> bool:
        """Tell whether create() made every cgroup that the container is in."""
        return all(directory in self.made for directory in self._leaves())

    # Limits

    def check(self, resources: dict, *, update: bool = False) -> None:
        """Refuse resources that cannot be applied here, before anything is made.

        Raises SpecError for values that contradict each other, CgroupError where a controller is missing,
        Unsupported.
        """
        if not self.restricts_devices:
            resources = {key: value for key, value in resources.items() if key != "devices"}
        if not resources:
            return
        from capsule.cgroups import limits

        limits.check(self.paths, resources, update=update)

    def apply_early(self, resources: dict) -> None:
        """Apply everything but memory and pids, before any process joins; device access is restricted in any case.

        Raises CgroupError.
        """
        if not self.restricts_devices:
            resources = {key: value for key, value in resources.items() if key != "devices"}
        elif "devices" in self.paths:
            from capsule.cgroups.v1 import devices

            devices.apply(self.paths, resources.get("devices") or [])
        elif UNIFIED in self.paths:
            from capsule.cgroups.v2 import devices as unified_devices

            unified_devices.apply(self.paths[UNIFIED], resources.get("devices") or [])
        else:
            cause = "the devices controller is not mounted" if self.paths else "the container has no cgroup"
            log.warning(f"access to devices is not restricted: {cause}")
        if resources:
            from capsule.cgroups import limits

            limits.apply_early(self.paths, resources)

    def apply_late(self, resources: dict) -> None:
        """Apply memory and pids, after the init has become small.

        Raises CgroupError.
        """
        if resources.get("memory") or resources.get("pids") or resources.get("unified"):
            from capsule.cgroups import limits

            before = self.oom_kills() if self.is_v2() else 0
            limits.apply_late(self.paths, resources)
            if self.is_v2() and self.oom_kills() > before:
                # Where v1 refuses a limit below what is used, v2 takes it and kills.
                cause = f"the first process ran out of memory and was killed; {self._needs()} is needed"
                raise CgroupError("set memory limit of", self.paths[UNIFIED], cause)

    def _needs(self) -> str:
        directory, name = self.paths[UNIFIED], "memory.peak"
        return f"more than {cgroupfs.read(directory, name)} bytes" if cgroupfs.has(directory, name) else "more"

    def delegate(self, uid: int) -> None:
        """Make a host's user the owner of the container's v2 cgroup; see cgroups.v2.ownership. Raises CgroupError."""
        from capsule.cgroups.v2 import ownership

        ownership.give(self.paths[UNIFIED], uid)

    def update(self, resources: dict) -> None:
        """Change limits of a container that runs; what is not named keeps its value, cgroups.undo takes it back.

        Raises SpecError, CgroupError, Unsupported.
        """
        if not resources:
            return
        self.check(resources, update=True)
        from capsule.cgroups import limits

        limits.apply_early(self.paths, resources)
        limits.apply_late(self.paths, resources)
        if resources.get("devices"):
            # Last, so that nothing can fail after it: undo knows files only.
            from capsule.cgroups.v2 import devices

            devices.apply(self.paths[UNIFIED], resources["devices"])

    # Joining

    def join_fds(self) -> tuple[int, list[int]]:
        """Return (fd of the v2 directory for CLONE_INTO_CGROUP or -1, fds of the v1 `tasks` files to write "0" to).

        Writing "0" moves the writing thread alone, without the grace period that cgroup.procs waits for.
        The caller closes them. Raises CgroupError.
        """
        return self._open_join_fds(self.paths)

    def join_fds_for_exec(self, sub: dict[str, str] | list[str] | None, init_pid: int = 0) -> tuple[int, list[int]]:
        """Return join fds for a process that enters a running container.

        `sub` names cgroups below the container's own: {controller, or "" for all: path}, or the command line's
        words `[CONTROLLER[,CONTROLLER]:]PATH`. Where the container's v2 cgroup cannot hold processes any more,
        that of the init is joined, unless `sub` names one. A v2 cgroup that was given to another user is joined by
        its cgroup.procs: the process has no CAP_DAC_OVERRIDE by then, but the kernel asks whoever opened the file.

        Raises CgroupError.
        """
        from capsule.cgroups import enter

        paths = enter.targets(self.paths, sub, init_pid)
        by_file = UNIFIED in paths and enter.is_others(paths[UNIFIED])
        return self._open_join_fds(paths, by_file=by_file)

    def _open_join_fds(self, paths: dict[str, str], *, by_file: bool = False) -> tuple[int, list[int]]:
        unified_fd = -1
        tasks_fds: list[int] = []
        path = ""
        try:
            for path in dict.fromkeys(paths.values()):
                if path != paths.get(UNIFIED):
                    tasks_fds.append(posix.open(path + "/tasks", _TASKS))
            if by_file:
                path = paths[UNIFIED]
                tasks_fds.append(posix.open(path + "/cgroup.procs", _TASKS))
            elif UNIFIED in paths:
                path = paths[UNIFIED]
                unified_fd = posix.open(path, _DIRECTORY)
        except OSError as err:
            for fd in tasks_fds:
                posix.close(fd)
            raise CgroupError("join cgroup", path, errno=err.errno) from err
        return unified_fd, tasks_fds

    def admit(self, pid: int) -> None:
        """Take note that a process has been cloned which belongs in here, before it does anything; may be repeated."""

    def attach(self, pid: int) -> None:
        """Move a process, all its threads, into every cgroup: the slow way that always works.

        Raises CgroupError.
        """
        for directory in self._leaves():
            cgroupfs.write(directory, "cgroup.procs", str(pid))

    # Looking and acting

    def pids(self) -> list[int]:
        """Return the pids of all processes in the container's cgroups and below."""
        return cgroupfs.processes(self.process_directory()) if self.paths else []

    def process_directory(self) -> str:
        """Return the directory that is asked for the container's processes: where they are frozen, if anywhere."""
        for name in ("freezer", "devices", "pids"):
            if name in self.paths:
                return self.paths[name]
        return next(iter(self.paths.values()))

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop every process of the container, or none: after `timeout` seconds thaw again and raise CgroupError."""
        from capsule.cgroups import freezer

        freezer.freeze(self.paths, timeout)

    def thaw(self) -> None:
        """Let the container's processes run again."""
        from capsule.cgroups import freezer

        freezer.thaw(self.paths)

    def is_frozen(self) -> bool:
        """Tell whether the container's processes are frozen, or being frozen."""
        from capsule.cgroups import freezer

        return freezer.is_frozen(self.paths)

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for the memory limit; 0 where nobody counts."""
        directory, name = self.paths.get("memory"), "memory.oom_control"
        if directory is None:
            directory, name = self.paths.get(UNIFIED), "memory.events"
        try:
            text = cgroupfs.read(directory, name) if directory is not None else ""
        except CgroupError:
            return 0  # the cgroup has gone
        for line in text.split("\n"):
            if line.startswith("oom_kill "):
                return int(line[9:])
        return 0

    def kill(self, sig: int, *, freeze: bool = True) -> None:
        """Send a signal to every process of the container; SIGKILL also thaws it.

        Without `freeze` the container is neither frozen nor thawed, and what is forked meanwhile may be missed.
        Raises CgroupError.
        """
        from capsule.cgroups import signals

        if not self.paths:
            return
        if freeze:
            signals.send_all(self.paths, self.process_directory(), sig)
        else:
            signals.send_once(self.process_directory(), sig)

    def remove(self) -> None:
        """Remove the container's cgroups and all below them, then the parents that create made if they are unused.

        A Manager that made them removes those; one from a record removes all that the record names.

        Raises CgroupError, the first one, after having tried everything.
        """
        failure = None
        leaves = self._leaves()
        for directory in leaves:
            if self._fresh and directory not in self.made:
                continue
            try:
                cgroupfs.remove(directory)
            except CgroupError as err:
                failure = failure or err
        for directory in reversed(self.made):
            if directory not in leaves:
                cgroupfs.remove_empty(directory)
        if failure is not None:
            raise failure

    def mounts_for_container(self) -> list[tuple[str, str, str]]:
        """Return (directory name, mount option, the container's directory) of each hierarchy, in mount order.

        The option is what a cgroup mount of the hierarchy is given, "" for v2; a name such as "cpu,cpuacct" wants
        a link per controller beside it; the name is "" where v2 is the only hierarchy.
        """
        pure = len(self.hierarchies) == 1 and self.hierarchies[0].controllers == [UNIFIED]
        return [
            ("" if pure else hierarchy.name, ",".join(hierarchy.controllers), hierarchy.leaf)
            for hierarchy in self.hierarchies
        ]

    def _leaves(self) -> list[str]:
        # Co-mounted controllers share a directory.
        return list(dict.fromkeys(self.paths.values()))
