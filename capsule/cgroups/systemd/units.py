"""Which unit a container gets, and where systemd puts its cgroup (systemd.unit(5), systemd.slice(5))."""

from __future__ import annotations

from capsule.errors import SpecError

PREFIX = "capsule"  # of a container's unit when linux.cgroupsPath gives none
_PATH = "linux.cgroupsPath"
_NAME_MAX = 255
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")


class Place:
    """A container's unit: `name`, the slice it belongs to, and its cgroup below the manager's own."""

    __slots__ = ("name", "slice", "path", "container")

    def __init__(self, name: str, slice: str, path: str, container: str) -> None:
        self.name = name
        self.slice = slice  # the parent; "" for a slice directly below the root
        self.path = path  # such as /a.slice/a-b.slice/capsule-web.scope
        self.container = container  # what the description calls it

    def is_slice(self) -> bool:
        """Tell whether the unit is a slice, which is made without a process."""
        return self.name.endswith(".slice")


def place(cgroups_path: str | None, container_id: str, *, user: bool) -> Place:
    """Return the unit of a container from `linux.cgroupsPath`, which has the form slice:prefix:name.

    Without a path, or with an empty slice, the slice is the manager's default. A name that ends in ".slice" makes
    the container's unit a slice, whose parent its own name tells. Raises SpecError.
    """
    if not cgroups_path:
        slice, prefix, name = "", PREFIX, container_id
    else:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            form = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups'
            raise SpecError("invalid configuration", _PATH, f'{form}, got "{cgroups_path}" instead')
        slice, prefix, name = parts
    default = "user.slice" if user else "system.slice"
    if not name:
        raise SpecError("invalid configuration", _PATH, f'the name in "{cgroups_path}" is empty')
    if name.endswith(".slice"):
        return _slice_place(slice, name)
    unit = check_name(f"{prefix}-{name}.scope" if prefix else f"{name}.scope")
    parent = slice or default
    path = expand_slice(parent)
    return Place(unit, parent, f"{path.rstrip('/')}/{unit}", name)


def _slice_place(slice: str, name: str) -> Place:
    path = expand_slice(check_name(name))
    if path == "/":
        raise SpecError("invalid configuration", _PATH, "the root slice is nobody's container")
    parent = path.rpartition("/")[0].rpartition("/")[2]
    if slice and slice != (parent or "-.slice"):
        cause = f"slice {name} belongs to {parent or '-.slice'}, as its name says, not to {slice}"
        raise SpecError("invalid configuration", _PATH, cause)
    return Place(name, parent, path, name)


def expand_slice(name: str) -> str:
    """Return the cgroup of a slice: "a-b.slice" is /a.slice/a-b.slice, "-.slice" is /. Raises SpecError."""
    check_name(name)
    if name == "-.slice":
        return "/"
    stem = name.removesuffix(".slice")
    if stem == name or not stem:
        raise SpecError("invalid configuration", _PATH, f'"{name}" is no slice: expected a name such as a-b.slice')
    path = prefix = ""
    for component in stem.split("-"):
        if not component:
            raise SpecError("invalid configuration", _PATH, f'"{name}" is no slice: a component of its name is empty')
        path += f"/{prefix}{component}.slice"
        prefix += component + "-"
    return path


def check_name(name: str) -> str:
    """Return a unit's name. Raises SpecError for one that systemd does not accept."""
    wrong = sorted(set(name) - _CHARACTERS)
    if wrong:
        raise SpecError("invalid configuration", _PATH, f"unit {name!r}: systemd permits no {wrong[0]!r} in names")
    if len(name) > _NAME_MAX:
        raise SpecError("invalid configuration", _PATH, f"unit {name!r}: longer than {_NAME_MAX} characters")
    if name.startswith((".", "@")):
        raise SpecError("invalid configuration", _PATH, f"unit {name!r}: systemd permits no {name[0]!r} at its start")
    return name


def object_path(name: str) -> str:
    """Return a unit's D-Bus object: every byte but letters and digits becomes _xx (sd_bus_path_encode(3))."""
    encoded = ""
    for index, char in enumerate(name):
        plain = char.isascii() and char.isalnum() and (index or not char.isdigit())
        encoded += char if plain else f"_{ord(char):02x}"
    return "/org/freedesktop/systemd1/unit/" + encoded
