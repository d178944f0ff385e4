"""list: one line for each container."""

from __future__ import annotations

import posix

from capsule import log, verbs
from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.cli.tables import layout
from capsule.errors import CapsuleError

# Engines match the JSON text in this order of keys (runc's).
_KEYS = ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner")


def run(invocation: Invocation) -> int:
    """Print the containers as table, JSON or ids."""
    options = invocation.options
    root = runtime_root(invocation)
    if options["format"] not in ("", "table", "json"):
        raise CapsuleError(f"invalid format option: {options['format']}")
    if invocation.globals["root"]:
        _require_directory(root)
    states = sorted(verbs.list_(root), key=_id)
    for state in states:
        if "error" in state:
            log.warning(state["error"])
    if options["quiet"]:
        output.print_out("".join([state["id"] + "\n" for state in states]))
    elif options["format"] == "json":
        output.print_json([{key: state[key] for key in _KEYS if key in state} for state in states], pretty=False)
    else:
        output.print_out(layout(_rows(states, wide=options["wide"])))
    return 0


def _require_directory(root: str) -> None:
    """Refuse a --root that does not exist: a mistyped one must not read as "no containers"."""
    try:
        posix.stat(root)
    except OSError as err:
        raise CapsuleError("list", root, errno=err.errno or 0) from err


def _id(state: dict) -> str:
    return state["id"]


def _rows(states: list, *, wide: bool) -> list:
    """Return the rows of runc's table; `wide` inserts the IP column."""
    head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    if wide:
        head.insert(3, "IP")
    rows = [head]
    for state in states:
        row = [state["id"], str(state["pid"]), state["status"], state["bundle"], state["created"], state["owner"]]
        if wide:
            row.insert(3, state.get("ip", ""))
        rows.append(row)
    return rows
