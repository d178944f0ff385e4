"""What this machine can give containers: tried, not guessed, each in a child that ends with it (csrc/trial.c)."""

from __future__ import annotations

import posix

from capsule._ext import seccomp, trial
from capsule.cgroups import layout
from capsule.errors import CapsuleError, errno_text
from capsule.linux import mountinfo, namespaces
from capsule.runtime.findings import FAILS, MISSING, WORKS, Finding

# (trial, name, whether no container runs without it, what is lost, what repairs it)
_TRIALS = (
    ("mount", "mount namespace", True, "", "run in the initial user namespace, with CAP_SYS_ADMIN"),
    ("pid", "pid namespace with procfs", True, "", "unmask /proc: mount a whole procfs"),
    ("network", "network namespace with sysfs", True, "", "kernel with CONFIG_NET_NS"),
    ("ipc", "ipc namespace with mqueue", True, "", "kernel with CONFIG_IPC_NS and CONFIG_POSIX_MQUEUE"),
    ("uts", "uts namespace", True, "", "kernel with CONFIG_UTS_NS"),
    ("cgroup", "cgroup namespace", False, "configs with a cgroup namespace", "Linux 4.6 with CONFIG_CGROUPS"),
    ("user", "user namespace", False, "configs with a user namespace", "sysctl -w user.max_user_namespaces=15000"),
    ("time", "time namespace", False, "configs with time offsets", "Linux 5.6 with CONFIG_TIME_NS"),
    ("pidfd", "pidfd", True, "", "Linux 5.3"),
    ("openat2", "openat2", False, "paths are walked step by step", "Linux 5.6; a seccomp filter around us may hide it"),
    ("open_tree", "open_tree", False, "mounts by path of a private procfs", "Linux 5.2"),
    ("fsopen", "fsopen and fsmount", False, "mounts by path of a private procfs", "Linux 5.2"),
    ("mount_setattr", "mount_setattr", False, "recursive mount options (rro, rnosuid ...)", "Linux 5.12"),
    ("idmapped_mount", "idmapped tmpfs", False, "idmap on tmpfs", "Linux 6.3"),
    ("devpts", "devpts of one's own", True, "", "kernel with CONFIG_UNIX98_PTYS"),
    ("memfd_exec", "execution of a sealed memfd", False, "an unnamed file takes its place",
     "sysctl -w vm.memfd_noexec=0"),
    ("overlay", "overlay file system", False, "engines' image layers", "modprobe overlay"),
    ("clone_into_cgroup", "clone into a v2 cgroup", False, "processes are moved, which takes longer",
     "Linux 5.7, and a cgroup2 mount"),
)
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "hugetlb")
_V2_NAMES = {"blkio": "io"}
_V2_ALWAYS = ("devices", "freezer")  # not controllers there: BPF programs, and cgroup.freeze of each cgroup
_PROGRAMS = (
    ("newuidmap", "user namespaces without privilege", "apt-get install uidmap"),
    ("newgidmap", "user namespaces without privilege", "apt-get install uidmap"),
    ("nft", "networks with ports", "apt-get install nftables"),
    ("criu", "checkpoint and restore", "apt-get install criu"),
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def examine(root: str) -> list[Finding]:
    """Try everything; `root` is where containers' records would lie, "" where that is what fails."""
    found = [_privilege(), _state_root(root)]
    if posix.geteuid() != 0 or not namespaces.is_initial_user():
        from capsule.runtime import doctor_user

        found += doctor_user.examine()
    found += _cgroup_findings()
    unified_fd = _own_unified()
    try:
        found += [_trial(row, unified_fd) for row in _TRIALS]
    finally:
        if unified_fd >= 0:
            posix.close(unified_fd)
    found += _seccomp_findings()
    found += [_security_module(name) for name in ("apparmor", "selinux")]
    found += [_subordinate(name) for name in ("subuid", "subgid")]
    return found + [_program(*row) for row in _PROGRAMS]


def is_well(found: list[Finding]) -> bool:
    """Tell whether nothing fails that every container needs."""
    return all([finding.status != FAILS for finding in found])


def _privilege() -> Finding:
    uid = posix.geteuid()
    if uid:
        return Finding("privilege", WORKS, f"none (uid {uid}): containers have user namespaces")
    return Finding("privilege", WORKS, "uid 0" if namespaces.is_initial_user() else "uid 0 of a user namespace")


def _state_root(root: str) -> Finding:
    """Make and remove a directory where the records lie, or would: below the nearest directory that is there."""
    if not root:
        return Finding("state directory", FAILS, "the default one is not ours alone", "--root DIR")
    place = root
    while place and not posix.access(place, posix.F_OK):
        place = place.rpartition("/")[0]
    name = f"{place}/.doctor.{posix.getpid()}"
    try:
        posix.mkdir(name, 0o700)
        posix.rmdir(name)
    except OSError as err:
        return Finding("state directory", FAILS, f"{root}: {errno_text(err.errno)}",
                       f"--root DIR, or mount -o remount,rw {place or '/'}")
    return Finding("state directory", WORKS, root)


def _trial(row: tuple, unified_fd: int) -> Finding:
    name, subject, required, lost, repair = row
    number = trial.run(name, unified_fd, posix.geteuid() != 0)
    if not number:
        return Finding(subject, WORKS)
    if required:
        return Finding(subject, FAILS, errno_text(number), repair)
    return Finding(subject, MISSING, f"{errno_text(number)}; without: {lost}", repair)


def _cgroup_findings() -> list[Finding]:
    try:
        hierarchies = layout.detect(_text("/proc/self/cgroup"), _text("/proc/self/mountinfo"))
    except (CapsuleError, OSError) as err:
        return [Finding("cgroups", FAILS, str(err), "mount -t cgroup2 cgroup2 /sys/fs/cgroup")]
    places: dict[str, str] = {}
    for hierarchy in hierarchies:
        names = hierarchy.controllers
        if names == [layout.UNIFIED]:
            names = _v2_controllers(hierarchy.mount_point)
        for name in names:
            places.setdefault(name, hierarchy.mount_point)
    found = [Finding("cgroups", WORKS, f"{len(hierarchies)} hierarchies")]
    for name in _CONTROLLERS:
        place = places.get(name) or places.get(_V2_NAMES.get(name, ""))
        if place:
            found.append(Finding(f"{name} controller", WORKS, place))
        else:
            found.append(Finding(f"{name} controller", MISSING, "not mounted; without: its limits are refused",
                                 f"boot without cgroup_disable={name}, mount its hierarchy"))
    return found


def _v2_controllers(mount_point: str) -> list[str]:
    try:
        names = _text(f"{mount_point}/cgroup.controllers").split()
    except OSError:
        return []
    return [*names, *_V2_ALWAYS] if "memory" in names or "pids" in names else names


def _own_unified() -> int:
    """Open the v2 cgroup of this process, -1 where there is none."""
    try:
        path = layout.unified_directory(_text("/proc/self/cgroup"), _text("/proc/self/mountinfo"))
        if path is not None:
            return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        pass
    return -1


def _seccomp_findings() -> list[Finding]:
    from capsule.security.plan.seccomp import FLAGS, supported_flags

    try:
        flags = supported_flags()
    except CapsuleError as err:
        return [Finding("seccomp", FAILS, str(err), "kernel with CONFIG_SECCOMP_FILTER")]
    lacking = [name for name in FLAGS if name not in flags]
    found = [Finding("seccomp", WORKS, f"without {', '.join(lacking)}" if lacking else "all flags")]
    try:
        names = seccomp.Names()
    except OSError as err:
        found.append(Finding("libseccomp", MISSING, f"{err.strerror}; without: configs with a filter",
                             "apt-get install libseccomp2"))
        return found
    found.append(Finding("libseccomp", WORKS, names.library()))
    names.close()
    return found


def _security_module(name: str) -> Finding:
    try:
        active = _text("/sys/kernel/security/lsm").strip().split(",")
    except OSError:
        active = []
    if name in active:
        return Finding(name, WORKS)
    return Finding(name, MISSING, f"not active; without: its {'profiles' if name == 'apparmor' else 'labels'}",
                   f"boot with lsm=...,{name}")


def _subordinate(name: str) -> Finding:
    try:
        lines = [line for line in _text(f"/etc/{name}").splitlines() if line.count(":") == 2]
    except OSError:
        lines = []
    if lines:
        return Finding(f"/etc/{name}", WORKS, f"{len(lines)} ranges")
    return Finding(f"/etc/{name}", MISSING, "no ranges; without: user namespaces without privilege",
                   f"usermod --add-{name}s 100000-165535 USER")


def _program(name: str, lost: str, repair: str) -> Finding:
    for directory in _PATH.split(":"):
        if posix.access(f"{directory}/{name}", posix.X_OK):
            return Finding(name, WORKS, f"{directory}/{name}")
    return Finding(name, MISSING, f"not installed; without: {lost}", repair)


def _text(path: str) -> str:
    return mountinfo.read_text(path)
