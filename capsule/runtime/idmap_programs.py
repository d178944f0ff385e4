"""newuidmap and newgidmap: finding them safely, running them, explaining them (man 1 newuidmap).

They act with root's privilege on our behalf. Which one is run never depends on PATH: the environment of who calls
us may not choose a program, and theirs is empty.
"""

from __future__ import annotations

import posix

from capsule._ext import openbeneath, proc
from capsule.errors import KernelError, Unsupported, errno_text
from capsule.linux import program, subids, users

DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin")
_ENV = ["PATH=/usr/bin:/bin", "LC_ALL=C"]
_TIMEOUT_MS = 20_000  # they may ask a directory service
_S_IFMT, _S_IFREG, _S_ISUID = 0o170000, 0o100000, 0o4000
_CAPABILITIES = "security.capability"
_REPAIR_MISSING = "apt-get install uidmap (elsewhere: shadow-utils)"


def find(name: str, directories: tuple[str, ...] = DIRECTORIES) -> str:
    """Return the path of newuidmap or newgidmap; a candidate that others than root could change is passed over.

    Raises Unsupported where there is none.
    """
    passed_over = ""
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            info = posix.stat(path)
        except OSError:
            continue
        fault = _fault(info)
        if not fault and posix.access(path, posix.X_OK, effective_ids=True):
            return path
        passed_over = f"{path}: {fault or 'it may not be executed'}; "
    raise Unsupported("map ids", "of a user namespace", f"{passed_over}no {name} is installed; {_REPAIR_MISSING}")


def _fault(info) -> str:
    """Return why a program is not one to trust."""
    if info.st_mode & _S_IFMT != _S_IFREG:
        return "it is no regular file"
    # In a user namespace that does not map the host's root, its files show the overflow id.
    if info.st_uid not in (0, _overflow_uid()):
        return f"it belongs to uid {info.st_uid}"
    return "others than root may write to it" if info.st_mode & 0o022 else ""


def _overflow_uid() -> int:
    fd = posix.open("/proc/sys/kernel/overflowuid", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return int(posix.read(fd, 32))
    finally:
        posix.close(fd)


def lost_privilege(path: str) -> str:
    """Return what repairs a program that has neither its setuid bit nor its capability, "" where it has one."""
    if posix.stat(path).st_mode & _S_ISUID:
        return ""
    try:
        if posix.getxattr(path, _CAPABILITIES):
            return ""
    except OSError:
        pass  # ENODATA: it has none
    name = path.rpartition("/")[2]
    return f"setcap cap_set{name[3:6]}+ep {path}, or chmod u+s {path}"


def run(name: str, pid: int, mappings: list[tuple[int, int, int]]) -> None:
    """Have newuidmap or newgidmap write the map of a process. Raises KernelError with the cause, Unsupported."""
    path = find(name)
    cause, mending = attempt(path, pid, mappings)
    if cause:
        raise KernelError(f"map {name[3:6]}s with", path, f"{cause}: {mending}" if mending else cause)


def attempt(path: str, pid: int, mappings: list[tuple[int, int, int]]) -> tuple[str, str]:
    """Run a program on a process in a user namespace without maps; ("", ""), or (what is wrong, what repairs it)."""
    name = path.rpartition("/")[2]
    words = [str(number) for mapping in mappings for number in mapping]
    try:
        status, said = program.run(path, [name, str(pid), *words], _ENV, stdin=b"", timeout_ms=_TIMEOUT_MS)
    except OSError as err:
        return errno_text(err.errno), ""
    except program.TimedOut:
        return f"it did not end within {_TIMEOUT_MS // 1000} s", ""
    return _explain(path, name[3:6], mappings, status, said) if status else ("", "")


def _explain(path: str, kind: str, mappings: list, status: int, said: bytes) -> tuple[str, str]:
    last = " ".join(said.decode("utf-8", "replace").split()).rstrip(".")
    cause = last or program.describe_status(status)
    privilege = lost_privilege(path)
    if privilege:
        return f"{cause}; it has lost its privilege", privilege
    if no_new_privileges():
        return f"{cause}; no_new_privs is set on us, so that it does not get its privilege", ""
    uid = posix.getuid()
    missing = subids.lacking(mappings, uid if kind == "uid" else posix.getgid(), granted(kind, uid))
    if missing:
        span = f"{missing[0][0]}-{missing[0][1]}"
        lack = f"/etc/sub{kind} does not give {kind}s {span} to uid {uid}"
        return f"{cause}; {lack}", repair(kind, uid, missing[0])
    return cause, ""


def repair(kind: str, uid: int, missing: tuple[int, int] | None = None) -> str:
    """Return what gives a user of this machine ids, or those that are missing; see repair_in()."""
    root_fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        return repair_in(root_fd, kind, uid, missing)
    finally:
        posix.close(root_fd)


def repair_in(root_fd: int, kind: str, uid: int, missing: tuple[int, int] | None) -> str:
    """Return what gives a user the ids that are missing; others, where those are somebody's; "" if none are left."""
    used = subids.taken(root_fd, kind)
    if missing is not None and subids.may_be_given(*missing, used):
        return _words(root_fd, kind, uid, *missing)
    first = subids.free(used)
    if not first:
        return ""
    others = _words(root_fd, kind, uid, first, first + subids.SIZE - 1)
    return others if missing is None else f"these {kind}s are not to be had, map others: {others}"


def _words(root_fd: int, kind: str, uid: int, first: int, last: int) -> str:
    entry = users.lookup(root_fd, uid)
    if entry is None:  # usermod knows the users of /etc/passwd only
        return f"add the line {uid}:{first}:{last - first + 1} to /etc/sub{kind}"
    return f"usermod --add-sub{kind}s {first}-{last} {entry[0]}"


def no_new_privileges() -> bool:
    """Tell whether setuid bits and file capabilities are without effect for what we start."""
    pr_get_no_new_privs = 39
    return proc.prctl(pr_get_no_new_privs) == 1


def granted(kind: str, uid: int) -> list[tuple[int, int]]:
    """Return the ranges that /etc/subuid or /etc/subgid gives a user."""
    root_fd = openbeneath.open_host("/", openbeneath.O_PATH | openbeneath.O_DIRECTORY)
    try:
        return subids.ranges(root_fd, kind, uid)
    finally:
        posix.close(root_fd)
