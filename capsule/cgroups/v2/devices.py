"""Device access on cgroup v2: a BPF program that is asked at each open and mknod (admin-guide/cgroup-v2, Device).

The specification's rules are an ordered list in which the last match wins, starting from "nothing is allowed"; the
program is that list, read from its end. v1 can represent less of it.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule._ext import devbpf
from capsule.cgroups.v1.devices import DEFAULT_RULES, in_user_namespace, parse
from capsule.errors import CgroupError, SpecError

_KINDS = {"b": 1, "c": 2, "bc": 3}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_RULES_MAX = 500  # the kernel's verifier takes 5 s for them, and gives up before 1000

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


def check(rules: list[dict]) -> None:
    """Refuse rules that are malformed, or too many.

    Raises SpecError.
    """
    if len(rules) > _RULES_MAX:
        cause = f"{len(rules)} rules, where {_RULES_MAX} are the most"
        raise SpecError("invalid configuration", "linux.resources.devices", cause)
    ordered(rules)


def ordered(rules: list[dict]) -> list[tuple[bool, int, int, int, int]]:
    """Return the rules and the defaults behind them as capsule._ext.devbpf reads them. Raises SpecError."""
    found = []
    for index, rule in enumerate(rules):
        allow, kinds, major, minor, access = parse(rule, index)
        found.append((allow, _KINDS[kinds], _bits(access), major, minor))
    for kind, major, minor, access in DEFAULT_RULES:
        found.append((True, _KINDS[kind], _bits(access), major, minor))
    return found


def is_powerless() -> bool:
    """Tell whether the kernel lets us attach no program at all."""
    return posix.geteuid() != 0 or in_user_namespace()


def apply(directory: str, rules: list[dict]) -> None:
    """Restrict the processes of a cgroup to the rules and the defaults, in place of what was applied before.

    Raises CgroupError, SpecError.
    """
    try:
        program_fd = devbpf.load(devbpf.compile_rules(ordered(rules)))
    except OSError as err:
        if err.errno == errno.EPERM and is_powerless():
            # Only the initial user namespace may; inside another one the kernel refuses mknod anyway.
            log.debug("access to devices is not restricted: only nodes that are bound into the container can be used")
            return
        raise CgroupError("load the device program of", directory, _why(err), errno=err.errno) from err
    try:
        _attach(directory, program_fd)
    finally:
        posix.close(program_fd)


def _attach(directory: str, program_fd: int) -> None:
    cause = ""
    try:
        cgroup_fd = posix.open(directory, _DIRECTORY)
        try:
            others = devbpf.attach(cgroup_fd, program_fd)
        finally:
            posix.close(cgroup_fd)
    except OSError as err:
        if err.errno == errno.EEXIST:
            cause = "a program is attached already that suffers no second (bpftool cgroup show)"
        elif err.errno == errno.EPERM:
            cause = "a cgroup above it has a program that suffers none below it, or CAP_NET_ADMIN is not ours"
        raise CgroupError("attach the device program to", directory, cause, errno=err.errno) from err
    if others:
        log.debug(f"{others} device program(s) of others are attached to {directory} and may deny more")


def _why(err: OSError) -> str:
    if err.filename:
        return f"{posix.strerror(err.errno or 0).lower()}; the kernel's verifier says: {err.filename.strip()}"
    if err.errno in (errno.ENOSYS, errno.EINVAL):
        return f"{posix.strerror(err.errno).lower()}: the kernel needs CONFIG_CGROUP_BPF (Linux 5.6)"
    return ""


def _bits(access: str) -> int:
    return sum([_ACCESS[letter] for letter in access])
