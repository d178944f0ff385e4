"""What of a checked config this machine cannot give: for `spec --check`, which starts nothing and changes nothing.

Where create decides by itself, its own decision is asked for (namespaces, cgroups, root, filter).
"""

from __future__ import annotations

import posix

from capsule import cgroups
from capsule._ext import openbeneath
from capsule.errors import CapsuleError, errno_text
from capsule.linux.namespaces import KINDS
from capsule.rootfs import lookup
from capsule.runtime import blueprint, namespaces
from capsule.spec.check import quote
from capsule.spec.checkup import HOST, NOTE, Problem

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/status"
_NO_SUCH_CALL = -1  # __NR_SCMP_ERROR; calls of other architectures have pseudo numbers below it


def examine(config, bundle: str) -> list[Problem]:
    """Return what is missing on this host, each problem by itself."""
    found: list[Problem] = []
    root = _root(config, bundle, found)
    _namespaces(config, found)
    _cgroups(config, found)
    _sources(config, bundle, found)
    _hooks(config, found)
    if config.process is not None:
        _labels(config.process, found)
        if root:
            _program(config, root, found)
    if config.seccomp is not None:
        _seccomp(config.seccomp, found)
    return found


def _host(path: str, cause: str) -> Problem:
    return Problem(path, cause, "", HOST)


def _missing(path: str) -> str:
    """Return why a path of the host cannot be used, "" if it can."""
    try:
        posix.stat(path)
    except OSError as err:
        return f"{path}: {errno_text(err.errno)}"
    return ""


def _root(config, bundle: str, found: list[Problem]) -> str:
    try:
        return blueprint.check_rootfs(bundle, config.root_path)
    except CapsuleError as err:
        found.append(_host(err.subject, err.cause))
        return ""


def _namespaces(config, found: list[Problem]) -> None:
    for index, (word, path) in enumerate(config.namespaces):
        where = f"linux.namespaces[{index}]"
        if path is None:
            if _missing(f"/proc/self/ns/{KINDS[word][1]}"):
                found.append(_host(f"{where}.type", f"this kernel has no {word} namespaces"))
            continue
        try:
            namespaces.plan([(word, path)]).close()
        except CapsuleError as err:
            cause = err.cause if err.subject.startswith("linux.") else f"{path}: {err.cause}"
            found.append(_host(f"{where}.path", cause))


def _cgroups(config, found: list[Problem]) -> None:
    try:
        manager = cgroups.open_manager(config.cgroups_path, "check")
    except CapsuleError as err:
        found.append(_host("linux.cgroupsPath", str(err)))
        return
    for key, value in config.resources.items():
        try:
            manager.check({key: value})
        except CapsuleError as err:
            path = err.subject if err.subject.startswith("linux.") else f"linux.resources.{key}"
            found.append(_host(path, err.cause if path == err.subject else str(err)))


def _sources(config, bundle: str, found: list[Problem]) -> None:
    for index, mount in enumerate(config.mounts):
        if mount.is_bind() and mount.source and "remount" not in mount.options:
            source = mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"
            cause = _missing(source)
            if cause:
                found.append(_host(f"mounts[{index}].source", cause))
        elif mount.type and not mount.is_bind() and mount.type not in ("cgroup", "none") and not _has(mount.type):
            found.append(_host(f"mounts[{index}].type", f"this kernel knows no file system {quote(mount.type)} (yet)"))


def _has(fstype: str) -> bool:
    fd = posix.open("/proc/filesystems", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        lines = posix.read(fd, 1 << 16).decode("ascii", "replace").split("\n")
    finally:
        posix.close(fd)
    return any([line.rpartition("\t")[2] == fstype for line in lines])


def _hooks(config, found: list[Problem]) -> None:
    for kind, hooks in config.hooks.items():
        if kind == "startContainer":
            continue  # its paths are the container's
        for index, hook in enumerate(hooks):
            cause = _missing(hook.path)
            if not cause and not posix.access(hook.path, posix.X_OK):
                cause = f"{hook.path}: permission denied"
            if cause:
                found.append(_host(f"hooks.{kind}[{index}].path", cause))


def _program(config, root: str, found: list[Problem]) -> None:
    """Look for args[0] in the root; a mount may bring it, so what lies below one is left alone."""
    process = config.process
    path_env = None
    for entry in process.env:
        if entry.startswith("PATH="):
            path_env = entry[5:]
    name = process.args[0]
    if any([name.startswith(mount.destination.rstrip("/") + "/") for mount in config.mounts]):
        return
    root_fd = posix.open(root, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        lookup.find_executable(root_fd, name, path_env, process.cwd)
    except CapsuleError as err:
        found.append(_host("process.args[0]", str(err)))
    else:
        try:
            posix.close(openbeneath.open_in_root(root_fd, process.cwd))
        except OSError:
            found.append(Problem("process.cwd", f"{process.cwd} is not in the root; it will be made", "", NOTE))
    finally:
        posix.close(root_fd)


def _labels(process, found: list[Problem]) -> None:
    if process.apparmor_profile and _first_byte(_APPARMOR) != b"Y":
        found.append(_host("process.apparmorProfile", "AppArmor is not enabled"))
    if process.selinux_label and _missing(_SELINUX):
        found.append(_host("process.selinuxLabel", "SELinux is not enabled"))


def _first_byte(path: str) -> bytes:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(fd, 1)
    finally:
        posix.close(fd)


def _seccomp(profile: dict, found: list[Problem]) -> None:
    from capsule._ext import seccomp as ext
    from capsule.security.plan import seccomp

    try:
        seccomp.compile_filter(profile, cache_dir=None, warn=_ignore)
        names = ext.Names()
    except CapsuleError as err:
        found.append(_host(err.subject if err.subject.startswith("linux.") else "linux.seccomp", str(err)))
        return
    try:
        arch = ext.native_arch()
        unknown = [name for rule in profile.get("syscalls", []) for name in rule["names"]
                   if names.resolve(arch, name.encode()) == _NO_SUCH_CALL]
    finally:
        names.close()
    if unknown:
        found.append(Problem("linux.seccomp.syscalls", f"unknown to this libseccomp and ignored: {' '.join(unknown)}",
                             "", NOTE))


def _ignore(message: str) -> None:
    """Take a warning that the check says in its own way."""
