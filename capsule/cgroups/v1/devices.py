"""Device access on cgroup v1 (admin-guide/cgroup-v1/devices).

The spec's rules are an ordered list in which the last match wins, starting from "nothing is allowed". The kernel
keeps one default and a set of exceptions to it. So the list is folded into that shape first, and written after;
a list that the kernel cannot represent is refused rather than approximated.
"""

from __future__ import annotations

import errno

from capsule import log
from capsule.cgroups import cgroupfs
from capsule.errors import CgroupError, SpecError, Unsupported

ANY = -1

_PATH = "linux.resources.devices"

# Allowed to every container, after its own rules: making any node, and using those that every container has.
# The host's console (c 5:1) is not among them: a container's /dev/console is a pseudo terminal.
DEFAULT_RULES = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, ANY, "rwm"),  # pts/*
    ("c", 10, 200, "rwm"),  # net/tun
)


def check(paths: dict[str, str], rules: list[dict]) -> None:
    """Refuse rules that are malformed or that the kernel cannot represent.

    Raises SpecError, Unsupported, CgroupError.
    """
    fold(rules)
    if "devices" not in paths and any(not rule.get("allow") for rule in rules):
        cause = "the devices controller is not mounted" if paths else "the container has no cgroup"
        raise CgroupError("cannot restrict devices", "", cause)


def apply(paths: dict[str, str], rules: list[dict]) -> None:
    """Restrict a new, empty cgroup to the rules and the defaults.

    Raises CgroupError.
    """
    directory = paths["devices"]
    allow_all, exceptions = fold(rules)
    reset, add = ("devices.allow", "devices.deny") if allow_all else ("devices.deny", "devices.allow")
    try:
        # "a" sets the default and forgets the exceptions that came from the parent.
        cgroupfs.write(directory, reset, "a")
        if exceptions:
            cgroupfs.write_all(directory, add, [to_line(key, access) for key, access in exceptions.items()])
    except CgroupError as err:
        # Only the initial user namespace may write here; inside another one the kernel refuses mknod anyway.
        if err.errno != errno.EPERM or not in_user_namespace():
            raise


def fold(rules: list[dict]) -> tuple[bool, dict[tuple[str, int, int], str]]:
    """Return (whether everything is allowed, exceptions to that: {(type, major, minor): access}).

    Raises SpecError, Unsupported.
    """
    allow_all = False
    exceptions: dict[tuple[str, int, int], str] = {}
    for index, rule in enumerate(rules):
        allow, types, major, minor, access = parse(rule, index)
        if len(types) == 2 and major == ANY and minor == ANY and len(access) == 3:
            allow_all = allow
            exceptions = {}
            continue
        for kind in types:
            _add(allow_all, exceptions, allow, (kind, major, minor), access, f"{_PATH}[{index}]")
    for kind, major, minor, access in DEFAULT_RULES:
        _add(allow_all, exceptions, True, (kind, major, minor), access, _PATH)
    return allow_all, exceptions


def to_line(key: tuple[str, int, int], access: str) -> str:
    """Return one exception as the kernel reads it."""
    kind, major, minor = key
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {access}"


def parse(rule: dict, index: int) -> tuple[bool, str, int, int, str]:
    """Return (allow, types "b", "c" or "bc", major, minor, access) of a rule. Raises SpecError."""
    path = f"{_PATH}[{index}]"
    kind = rule.get("type") or "a"
    types = {"a": "bc", "b": "b", "c": "c", "u": "c"}.get(kind)
    if types is None:
        raise SpecError("invalid configuration", f"{path}.type", f"{kind!r} is not a, b, c or u")
    numbers = []
    for name in ("major", "minor"):
        number = rule.get(name)
        number = ANY if number is None else number
        if not ANY <= number < 1 << 32:
            raise SpecError("invalid configuration", f"{path}.{name}", f"{number} is not a device number")
        numbers.append(number)
    given = rule.get("access") or ""
    access = "".join(letter for letter in "rwm" if letter in given)
    if not access:
        raise SpecError("invalid configuration", f"{path}.access", f"{given!r} has none of r, w and m")
    if given.strip("rwm"):
        log.warning(f"{path}.access: letters of {given!r} other than r, w and m are ignored")
    return bool(rule.get("allow")), types, numbers[0], numbers[1], access


def _add(allow_all: bool, exceptions: dict, allow: bool, key: tuple[str, int, int], access: str, path: str) -> None:
    if allow != allow_all:
        exceptions[key] = _union(exceptions.get(key, ""), access)
        return
    # The rule takes exceptions back. The kernel has no exception to an exception: what a wider one grants or
    # denies cannot be taken back in part.
    for other in list(exceptions):
        if not _overlap(key, other) or not _common(exceptions[other], access):
            continue
        if not _covers(key, other):
            verb = "allow" if allow else "deny"
            raise Unsupported(
                verb,
                path,  # without an index: one of the defaults
                f"cgroup v1 cannot {verb} {to_line(key, access)} within {to_line(other, exceptions[other])}",
            )
        left = "".join(letter for letter in exceptions[other] if letter not in access)
        if left:
            exceptions[other] = left
        else:
            del exceptions[other]


def _union(first: str, second: str) -> str:
    return "".join(letter for letter in "rwm" if letter in first or letter in second)


def _common(first: str, second: str) -> bool:
    return any(letter in second for letter in first)


def _covers(wide: tuple, narrow: tuple) -> bool:
    return wide[0] == narrow[0] and wide[1] in (ANY, narrow[1]) and wide[2] in (ANY, narrow[2])


def _overlap(one: tuple, two: tuple) -> bool:
    return one[0] == two[0] and all(a == b or ANY in (a, b) for a, b in zip(one[1:], two[1:], strict=True))


def in_user_namespace() -> bool:
    """Tell whether we are in another user namespace than the initial one."""
    return cgroupfs.read("/proc/self", "uid_map").split() != ["0", "0", "4294967295"]
