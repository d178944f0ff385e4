"""SystemdManager: a container's cgroups as systemd makes them, one unit for each container (docs/systemd.md).

systemd makes the unit's cgroup in the hierarchies that it manages, and has the limits that it can express; files,
membership, freezing and killing are the Manager's own, in the same directories. Verbs that change nothing of the
unit never speak to systemd.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule._ext import proc
from capsule.cgroups import cgroupfs
from capsule.cgroups.manager import UNIFIED, Manager
from capsule.cgroups.systemd import units
from capsule.errors import CgroupError, Unsupported

_SIGKILL = 9
# The hierarchies in which systemd makes a unit's cgroup itself, given accounting and a device policy.
_MANAGED = (UNIFIED, "name=systemd", "cpu", "cpuacct", "memory", "blkio", "pids", "devices")
_DEAD = ("", "inactive", "failed")


def open_manager(cgroups_path: str | None, container_id: str, annotations: dict[str, str]) -> SystemdManager:
    """Place a container that is about to be created; make nothing yet.

    Raises SpecError, Unsupported where no systemd answers, CgroupError where the unit is there and alive.
    """
    from capsule.cgroups import layout
    from capsule.cgroups.systemd import annotations as unsafe, calls
    from capsule.linux import mountinfo

    user = calls.is_user()
    place = units.place(cgroups_path, container_id, user=user)
    extra = unsafe.properties(annotations)
    hierarchies = layout.detect(mountinfo.read_text("/proc/self/cgroup"), mountinfo.read_text("/proc/self/mountinfo"))
    with calls.Systemd(user=user) as systemd:
        version, root = systemd.version(), systemd.root()
        state = systemd.active_state(place.name)
    if user and (len(hierarchies) > 1 or hierarchies[0].controllers != [UNIFIED]):
        cause = "without root it needs cgroup v2 alone: v1 is not delegated to users"
        raise Unsupported("manage cgroups", "through systemd", cause)
    if state not in _DEAD:
        raise CgroupError("container's unit exists already", place.name, f"it is {state}")
    for hierarchy in hierarchies:
        inside = layout.relative_to(root + place.path, hierarchy.mount_root)
        if inside is None:
            raise CgroupError("find the cgroup of unit", place.name, f"it is not below {hierarchy.mount_point}")
        hierarchy.leaf = hierarchy.mount_point + inside
    paths = {name: hierarchy.leaf for hierarchy in hierarchies for name in hierarchy.controllers}
    manager = SystemdManager({"name": place.name, "user": user}, paths, [], fresh=True)
    manager.hierarchies = hierarchies
    manager.place, manager.version, manager.extra = place, version, extra
    return manager


class SystemdManager(Manager):
    """A container's cgroups in a unit; what is not said here is as in Manager."""

    __slots__ = ("_unit", "place", "version", "extra", "resources", "_holder", "_started", "_admitted")

    def __init__(self, unit: dict, paths: dict[str, str], made: list[str], *, fresh: bool = False) -> None:
        Manager.__init__(self, paths, made, fresh=fresh)
        self._unit = unit
        # Known to the manager that open_manager returned:
        self.place: units.Place | None = None
        self.version = 0  # of systemd
        self.extra: list = []  # properties that annotations give
        self.resources: dict = {}  # that check() has seen
        self._holder = 0  # pid of the process that a new scope begins with
        self._started = False
        self._admitted = False

    @property
    def unit(self) -> dict | None:
        """What the record keeps: `name`, `user` for the user manager's, `denied` of v1's devices.list."""
        return self._unit

    def _systemd(self):
        from capsule.cgroups.systemd import calls

        return calls.Systemd(user=self._unit["user"])

    # Making

    def planned(self) -> list[str]:
        """Return the container's cgroups and the parents that create() would make, without those that systemd makes."""
        ours = self._unmanaged()
        own = [directory for directory in Manager.planned(self) if any([_is_above(directory, leaf) for leaf in ours])]
        return own + [leaf for leaf in self._leaves() if leaf not in own]

    def _unmanaged(self) -> list[str]:
        managed = {path for name, path in self.paths.items() if name in _MANAGED}
        return [leaf for leaf in self._leaves() if leaf not in managed]

    def check(self, resources: dict, *, update: bool = False) -> None:
        """Refuse resources that cannot be applied here, or that no unit can have.

        Raises SpecError, CgroupError, Unsupported.
        """
        Manager.check(self, resources, update=update)
        if not resources and update:
            return
        from capsule.cgroups.systemd import devices, properties

        properties.check(resources, v2=self.is_v2(), version=self.version or self._ask_version())
        if not update:
            rules = resources.get("devices") or []
            devices.properties(rules, v2=self.is_v2())
            if not self.is_v2():
                self._unit["denied"] = devices.denied(rules)
            self.resources = resources

    def _ask_version(self) -> int:
        with self._systemd() as systemd:
            self.version = systemd.version()
        return self.version

    def create(self) -> None:
        """Start the unit, with the limits that check() has seen but memory and pids, and make what systemd does not.

        Raises CgroupError; nothing is left then.
        """
        assert self.place is not None
        for leaf in self._leaves():
            if posix.access(leaf, posix.F_OK):
                Manager._check_unused(self, leaf)
        try:
            self._start(self.place)
            Manager.create(self)
        except BaseException:
            self._release()
            if self._started:
                self._stop(self.place)
            raise
        self.made += [leaf for leaf in self._leaves() if leaf not in self.made]

    def _start(self, place: units.Place) -> None:
        from capsule.cgroups.systemd import calls, devices, properties

        v2 = self.is_v2()
        if not place.is_slice():
            self._holder = proc.hold()
        wanted = properties.of_unit(place, self._holder, v2=v2) + self.extra
        wanted += devices.properties(self.resources.get("devices") or [], v2=v2)
        wanted += properties.early(self.resources, v2=v2, version=self.version)
        with self._systemd() as systemd:
            # True before: a job that we have not seen the end of may be done all the same.
            self._started = True
            try:
                systemd.start(place.name, wanted)
            except calls.Refused:
                self._started = False  # a unit of that name is another's
                raise
            own = self.paths.get(UNIFIED) or self.paths.get("name=systemd") or next(iter(self.paths.values()))
            if not cgroupfs.has(own, "cgroup.procs"):
                cause = f"systemd has made it at {systemd.control_group(place)}, which is not {own} here"
                raise CgroupError("find the cgroup of unit", place.name, cause)

    def _stop(self, place: units.Place) -> None:
        """Stop what has been started, as far as that can be done: another error is on its way."""
        try:
            with self._systemd() as systemd:
                systemd.stop(place.name)
        except (CgroupError, Unsupported) as err:
            log.warning(f"stop unit {place.name}: {err}")
        self._started = False

    def _check_unused(self, directory: str) -> None:
        """Do nothing: create() has looked before the unit was started, whose first process is there now."""

    def admit(self, pid: int) -> None:
        """Have a process moved in that could not be cloned into the cgroup; the holder has done its part then.

        Raises CgroupError.
        """
        if not self._admitted and self._is_outside():
            with self._systemd() as systemd:
                systemd.attach(self._unit["name"], [pid])
        self._admitted = True
        self._release()

    def _release(self) -> None:
        if self._holder:
            posix.kill(self._holder, _SIGKILL)
            proc.wait_pid(self._holder)
            self._holder = 0

    # Limits

    def apply_late(self, resources: dict) -> None:
        """Apply memory and pids, to the unit and to the files.

        Raises CgroupError.
        """
        from capsule.cgroups.systemd import properties

        late = properties.late(resources, v2=self.is_v2())
        if late:
            self._set_properties(late)
        Manager.apply_late(self, resources)

    def update(self, resources: dict) -> None:
        """Change limits of a container that runs, in the files and then in the unit.

        The files first: the kernel refuses what it cannot do, and cgroups.undo takes it back. Raises SpecError,
        CgroupError, Unsupported.
        """
        Manager.update(self, resources)
        if not resources:
            return
        from capsule.cgroups.systemd import keeping, properties

        v2 = self.is_v2()
        resources = keeping.completed(self.paths, resources)
        changed = properties.early(resources, v2=v2, version=self.version or self._ask_version())
        changed += properties.late(resources, v2=v2)
        if resources.get("devices"):
            from capsule.cgroups.systemd import devices

            # Emptied first: entries are added to those that there are.
            changed += [("DeviceAllow", devices.ALLOW, []), *devices.properties(resources["devices"], v2=v2)]
        if not changed:
            return
        # On v1 systemd takes all devices away before it gives them back: nobody must look meanwhile.
        freezes = "devices" in self.paths and not self.is_frozen()
        if freezes:
            self.freeze()
        try:
            self._set_properties(changed)
        finally:
            if freezes:
                self.thaw()

    def _set_properties(self, changed: list) -> None:
        from capsule.cgroups.systemd import keeping

        kept = keeping.read(self.paths)
        with self._systemd() as systemd:
            systemd.set_properties(self._unit["name"], changed)
        keeping.put_back(kept, self._unit.get("denied", []))

    # Joining

    def join_fds(self) -> tuple[int, list[int]]:
        """As Manager's; nothing to join where only systemd can let the process in: see admit()."""
        if self._is_outside():
            return -1, []
        return Manager.join_fds(self)

    def join_fds_for_exec(self, sub: dict[str, str] | list[str] | None, init_pid: int = 0) -> tuple[int, list[int]]:
        """As Manager's; nothing to join where only systemd can let the process in: see admit()."""
        if self._is_outside():
            if sub:
                raise Unsupported("exec", "--cgroup", "the container's cgroup is out of this session's reach")
            return -1, []
        return Manager.join_fds_for_exec(self, sub, init_pid)

    def _is_outside(self) -> bool:
        """Tell whether the kernel keeps us from moving processes into the unit, as from a login session's scope."""
        if not self._unit["user"]:
            return False
        from capsule.cgroups import layout
        from capsule.linux import mountinfo

        texts = mountinfo.read_text("/proc/self/cgroup"), mountinfo.read_text("/proc/self/mountinfo")
        own = layout.unified_directory(*texts)
        if own is None:
            return True
        # Who may write to cgroup.procs of the cgroup above both may move processes between them (cgroup-v2).
        common = own
        while not _is_above(common, self.paths[UNIFIED]):
            common = common.rpartition("/")[0]
        return not posix.access(f"{common}/cgroup.procs", posix.W_OK, effective_ids=True)

    # The end

    def remove(self) -> None:
        """Stop the unit, then remove what is left of its cgroups.

        A unit whose manager has gone, with the cgroups, has gone itself. Raises CgroupError, Unsupported, the first
        one, after having tried everything.
        """
        self._release()
        failure = None
        if self._started or not self._fresh:
            try:
                with self._systemd() as systemd:
                    systemd.stop(self._unit["name"])
            except (CgroupError, Unsupported) as err:
                if any([posix.access(leaf, posix.F_OK) for leaf in self._leaves()]):
                    failure = err
        Manager.remove(self)
        if failure is not None:
            raise failure


def _is_above(directory: str, path: str) -> bool:
    """Tell whether a cgroup is another's ancestor, or itself."""
    return path == directory or path.startswith(directory + "/")
