"""What doctor tries where the machine's root is not ours: each of the usual failures, and what repairs it.

Diagnosed by trying (csrc/trial.c, a child in a user namespace, a cgroup made and removed); a setting is read only to
name the cause of what has failed.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import idmap, proc, trial
from capsule.cgroups import layout, unprivileged
from capsule.errors import CapsuleError, Unsupported, errno_text
from capsule.linux import mountinfo, own_program, subids
from capsule.runtime import idmap_programs
from capsule.runtime.findings import FAILS, MISSING, WORKS, Finding
from capsule.state import roots

_SYSCTL = "/proc/sys"
_MAXIMUM = "user/max_user_namespaces"
_DEBIAN = "kernel/unprivileged_userns_clone"
_APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"
_RESTRICTED = "kernel.apparmor_restrict_unprivileged_userns is 1"
_DENIED = "run outside the container, security module or seccomp filter that denies it"
_PROFILE = "/etc/apparmor.d/capsule"
_WANTED = ("cpu", "memory", "pids")  # what limits of most containers need


def examine() -> list[Finding]:
    """Try what containers of an ordinary user, or of a user namespace's root, need beyond those of root."""
    found = []
    if posix.geteuid() != 0:
        found.append(_runtime_dir())
        space = _user_namespace()
        found.append(space)
        found += [_ids(kind, possible=space.status == WORKS) for kind in ("uid", "gid")]
    return [*found, _delegation()]


def _runtime_dir() -> Finding:
    """Look at XDG_RUNTIME_DIR, below which the records lie."""
    path = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    repair = "log in through systemd-logind, or loginctl enable-linger USER"
    if not path:
        return Finding("XDG_RUNTIME_DIR", MISSING, f"not set; records are kept in {_fallback()}", repair)
    if not path.startswith("/"):
        return Finding("XDG_RUNTIME_DIR", MISSING, f"{path} is not absolute; records are kept in {_fallback()}", repair)
    cause = roots.why_not_private(path, posix.geteuid())
    if cause:
        return Finding("XDG_RUNTIME_DIR", FAILS, f"{path}: {cause}", f"unset XDG_RUNTIME_DIR, or {repair}")
    return Finding("XDG_RUNTIME_DIR", WORKS, path)


def _fallback() -> str:
    try:
        return roots.private_root("")
    except CapsuleError as err:
        return str(err)


def sysctl(name: str) -> str:
    """Return a setting, "" where this kernel has none of that name."""
    try:
        return mountinfo.read_text(f"{_SYSCTL}/{name}").strip()
    except OSError:
        return ""


def _user_namespace() -> Finding:
    """Make one, and use the privilege in it."""
    number = trial.run("user", -1, True)
    if number:
        return Finding("user namespace of a user", FAILS, *why_no_user_namespace(number))
    number = trial.run("uts", -1, True)
    if not number:
        return Finding("user namespace of a user", WORKS)
    cause = f"it is made, but gives no privilege: {errno_text(number)}"
    if sysctl(_APPARMOR) == "1":
        return Finding("user namespace of a user", FAILS, f"{cause}; {_RESTRICTED}", apparmor_repair())
    return Finding("user namespace of a user", FAILS, cause, _DENIED)


def why_no_user_namespace(number: int) -> tuple[str, str]:
    """Return what keeps user namespaces from us, and the repair."""
    cause = errno_text(number)
    if number in (errno.ENOSPC, errno.EUSERS):
        return (f"{cause}; user.max_user_namespaces is {sysctl(_MAXIMUM) or 'unknown'}",
                "sysctl -w user.max_user_namespaces=15000")
    if sysctl(_DEBIAN) == "0":
        return f"{cause}; kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"
    if sysctl(_APPARMOR) == "1":
        return f"{cause}; {_RESTRICTED}", apparmor_repair()
    if number == errno.EINVAL:
        return cause, "kernel with CONFIG_USER_NS"
    return cause, _DENIED


def apparmor_repair() -> str:
    """Return the words that give this program, at its path, a profile that permits user namespaces."""
    path = own_program.program_argv()[0].decode("utf-8", "replace")
    profile = ("abi <abi/4.0>,\\ninclude <tunables/global>\\n"
               f"profile capsule {path} flags=(unconfined) {{\\n  userns,\\n}}\\n")
    return f"printf '{profile}' > {_PROFILE} && apparmor_parser -r {_PROFILE}"


def _ids(kind: str, *, possible: bool) -> Finding:
    """Map the ids that the user has been given, in a user namespace of a child."""
    subject, lost = f"sub{kind}s of the user", f"containers of one {kind}"
    name = f"new{kind}map"
    uid, own = posix.geteuid(), posix.geteuid() if kind == "uid" else posix.getegid()
    rows = idmap_programs.granted(kind, uid)
    if not rows:
        return Finding(subject, MISSING, f"no row for uid {uid} in /etc/sub{kind}; without: {lost} only",
                       idmap_programs.repair(kind, uid) or f"row of /etc/sub{kind}, where no ids are left")
    try:
        path = idmap_programs.find(name)
    except Unsupported as err:
        return Finding(subject, FAILS, str(err), "apt-get install uidmap")
    if not possible:
        return Finding(subject, MISSING, f"not tried without a user namespace; without: {lost} only",
                       "see the user namespace above")
    mappings = subids.suggest(own, rows)
    cause, repair = _try_map(path, mappings)
    if cause:
        return Finding(subject, FAILS, f"{path}: {cause}", repair or "see man 1 " + name)
    return Finding(subject, WORKS, f"{sum([size for _, _, size in mappings[1:]])} by {path}")


def _try_map(path: str, mappings: list[tuple[int, int, int]]) -> tuple[str, str]:
    try:
        pid, fd = idmap.hold()
    except OSError as err:
        return errno_text(err.errno), ""
    try:
        return idmap_programs.attempt(path, pid, mappings)
    finally:
        posix.close(fd)
        proc.wait_pid(pid)


def _delegation() -> Finding:
    """Make a cgroup where a container's would lie, and see which controllers it has."""
    subject = "cgroup delegation"
    lost = "without: limits and pause"
    try:
        mounts = mountinfo.read_text("/proc/self/mountinfo")
        hierarchies = layout.detect(mountinfo.read_text("/proc/self/cgroup"), mounts)
        layout.place(hierarchies, None, f"doctor-{posix.getpid()}")
    except (CapsuleError, OSError) as err:
        return Finding(subject, MISSING, f"{err}; {lost}", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    if len(hierarchies) != 1 or hierarchies[0].controllers != [layout.UNIFIED]:
        return Finding(subject, MISSING, f"cgroup v1 is not delegated to users; {lost}",
                       "boot with systemd.unified_cgroup_hierarchy=1")
    hierarchy = hierarchies[0]
    cause = _try_cgroup(hierarchy.leaf)
    place = unprivileged.obstacle(hierarchy)
    if cause or place:
        return Finding(subject, MISSING, f"{unprivileged.whose(place) if place else cause}; {lost}",
                       unprivileged.repair(hierarchy))
    parent = hierarchy.leaf.rpartition("/")[0]
    for controller in _WANTED:
        if controller not in unprivileged.words(parent, "cgroup.controllers"):
            cause = unprivileged.not_handed_down(parent, controller, hierarchy.mount_point)
            return Finding(subject, MISSING, cause, unprivileged.delegation(controller))
    return Finding(subject, WORKS, parent)


def _try_cgroup(directory: str) -> str:
    try:
        posix.mkdir(directory, 0o755)
        posix.rmdir(directory)
    except OSError as err:
        return f"{directory}: {errno_text(err.errno)}"
    return ""
