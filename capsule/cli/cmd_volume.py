"""volume: create, list, inspect, delete, prune."""

from __future__ import annotations

from capsule import log
from capsule.cli import filters, output, quantities, several, templates
from capsule.cli.paths import volume_root
from capsule.cli.scanner import Invocation
from capsule.cli.tables import layout
from capsule.errors import CapsuleError, Unsupported, VolumeError
from capsule.image.views import size_text
from capsule.volume import views
from capsule.volume.store import Volumes, check_name

_OPTIONS = ("uid", "gid", "mode")  # of a tmpfs, besides its size


def run(invocation: Invocation) -> int:
    """Run one of the noun's commands. Raises CapsuleError."""
    verb = invocation.command.partition(" ")[2]
    return _VERBS[verb](invocation, Volumes(volume_root(invocation)))


def _create(invocation: Invocation, volumes: Volumes) -> int:
    options = invocation.options
    name = (invocation.positionals or [""])[0]
    if name:
        check_name(name)
    if options["driver"] not in ("", "local"):
        raise Unsupported("create volume", name, f"the driver {options['driver']} is not built; local is")
    labels = dict(_pair(name, "label", text) for text in options["label"])
    record = volumes.create(name, labels=labels, tmpfs=_tmpfs(name, options["opt"]), exist_ok=options["ignore"])
    output.print_out(record["name"] + "\n")
    return 0


def _pair(name: str, what: str, text: str) -> tuple[str, str]:
    key, has_value, value = text.partition("=")
    if not key or not has_value:
        raise VolumeError("create volume", name, f"the {what} {text!r} is not of the form NAME=VALUE")
    return key, value


def _tmpfs(name: str, texts: list[str]) -> list[str]:
    """Return the options of the tmpfs that a volume shall be, [] for a directory; o=size=... is docker's spelling."""
    given: dict[str, str] = {}
    for key, value in (_pair(name, "option", text) for text in texts):
        given.update([_pair(name, "option", word) for word in value.split(",")] if key == "o" else [(key, value)])
    if not given:
        return []
    if given.pop("type", "tmpfs") != "tmpfs" or given.pop("device", "tmpfs") != "tmpfs":
        raise Unsupported("create volume", name, "the only type with options is tmpfs")
    size = given.pop("size", "")
    bytes = quantities.size("--opt size", size) if size else 0
    if size and bytes <= 0:
        raise VolumeError("create volume", name, f"size={size} is no limit")
    words = [f"size={bytes}"] if size else []
    for key, value in given.items():
        if key not in _OPTIONS:
            raise Unsupported("create volume", name, f"the option {key} is not known; size, {', '.join(_OPTIONS)} are")
        if not (value.isascii() and value.isdigit()) or (key == "mode" and value.strip("01234567")):
            raise VolumeError("create volume", name, f"{key}={value} is not a number")
        words.append(f"{key}={value}")
    return words or ["size=50%"]


def _records(volumes: Volumes) -> list[dict]:
    """Load every volume; one that cannot be read is a warning and hides no other."""
    found = []
    for name in volumes.names():
        try:
            found.append(volumes.load(name))
        except CapsuleError as err:
            log.warning(str(err))
    return found


def _list(invocation: Invocation, volumes: Volumes) -> int:
    options = invocation.options
    kind = templates.kind("volume list", options["format"])
    rows = [views.details(volumes, record) for record in _records(volumes)]
    rows = filters.choose("volume list", options["filter"], _FILTERS, rows)
    if kind == "json":
        output.print_json(rows, pretty=True)
    elif kind == "template":
        words = [{**row, "driver": "local"} for row in rows]
        output.print_out(templates.lines("volume list", options["format"], words))
    elif options["quiet"]:
        output.print_out("".join(f"{row['name']}\n" for row in rows))
    else:
        cells = [[row["name"], row["type"], row["created"], ",".join(row["containers"])] for row in rows]
        output.print_out(layout([["NAME", "TYPE", "CREATED", "CONTAINERS"], *cells]))
    return 0


_FILTERS: dict[str, filters.Match] = {
    "name": lambda row, text: text in row["name"],
    "label": lambda row, text: filters.has_label(row["labels"], text),
    "dangling": lambda row, text: (not row["containers"]) == (text == "true"),
}


def _inspect(invocation: Invocation, volumes: Volumes) -> int:
    documents = [views.details(volumes, volumes.load(name)) for name in invocation.positionals]
    output.print_out(templates.documents("volume inspect", invocation.options["format"], documents))
    return 0


def _delete(invocation: Invocation, volumes: Volumes) -> int:
    def remove(name: str) -> str:
        check_name(name)
        if invocation.options["force"] and not volumes.exists(name):
            return ""
        volumes.remove(name)
        return name

    return several.each(invocation.positionals, remove)


def _prune(invocation: Invocation, volumes: Volumes) -> int:
    removed, freed = views.prune(volumes, all_unused=invocation.options["all"])
    output.print_out("".join(f"deleted {name}\n" for name in removed) + f"freed {size_text(freed)}\n")
    return 0


_VERBS = {"create": _create, "list": _list, "inspect": _inspect, "delete": _delete, "prune": _prune}
