"""ps without an id: the containers of the engine and those of the runtime's other callers, in one listing."""

from __future__ import annotations

import time

from capsule import log, verbs
from capsule.bundle import health, life
from capsule.bundle.containers import RESUME, SHORT, Containers, Record
from capsule.cli import filters, output, templates, times
from capsule.cli.paths import containers_root, runtime_root
from capsule.cli.scanner import Invocation
from capsule.cli.tables import layout
from capsule.errors import CapsuleError, NotFound
from capsule.state.store import Entry

_COMMAND_MAX = 20


def run(invocation: Invocation) -> int:
    """Print the containers that run; all of them with --all. Raises CapsuleError."""
    options = invocation.options
    kind = templates.kind("ps", options["format"])
    wanted = filters.pairs("ps", options["filter"], list(FILTERS))
    last = _last(options)
    # Who asks for a state, or for the last ones, asks for those that do not run as well.
    everything = options["all"] or last is not None or "status" in wanted or "exited" in wanted
    rows = [row for row in collect(invocation) if everything or row["State"] in ("running", "paused")]
    rows = filters.choose("ps", options["filter"], FILTERS, rows[:last])
    if options["quiet"]:
        output.print_out("".join([f"{row['Id'] if options['no_trunc'] else _short(row)}\n" for row in rows]))
    elif kind == "json":
        output.print_json(rows, pretty=True)
    elif kind == "template":
        words = [_words(row, options["no_trunc"]) for row in rows]
        output.print_out(templates.lines("ps", options["format"], words))
    else:
        output.print_out(layout([_HEAD, *[_cells(row, options["no_trunc"]) for row in rows]]))
    return 0


def collect(invocation: Invocation) -> list[dict]:
    """Return every container, the newest first, under podman's keys. A damaged record hides no other."""
    root = runtime_root(invocation)
    endpoints = _endpoints(root)
    found = Containers(containers_root(invocation))
    rows, known = [], set()
    for record in found.records():
        known.add(record.id)
        try:
            with found.open(record.id) as entry:
                rows.append(_of_engine(entry, record, life.observe(root, entry, record), endpoints.get(record.id, [])))
        except NotFound:
            continue  # it has just gone
    for state in verbs.list_(root):
        if state["id"] not in known:
            if "error" in state:
                log.warning(state["error"])
            rows.append(_of_runtime(root, state, endpoints.get(state["id"], [])))
    return sorted(rows, key=lambda row: row["CreatedAt"], reverse=True)


def endpoints_of(root: str, id: str) -> list[dict]:
    """Return the endpoints of a container."""
    return _endpoints(root).get(id, [])


def _endpoints(root: str) -> dict[str, list[dict]]:
    from capsule.network import user_mode
    from capsule.network.store import Networks

    found: dict[str, list[dict]] = {}
    for endpoint in Networks(root).endpoints() + user_mode.endpoints(root):
        found.setdefault(endpoint["container"], []).append(endpoint)
    return found


def _of_engine(entry: Entry, record: Record, seen: life.Life, endpoints: list[dict]) -> dict:
    row = _row(record.id, record.name, record.create_time, seen.status, seen.pid, endpoints)
    row.update({"Image": record.image, "ImageID": record.image_id, "Command": record.command,
                "Labels": record.labels, "StartedAt": record.start_time, "Restarts": record.restarts,
                "RestartPolicy": (record.restart or {}).get("policy", "no"),
                "Wanted": record.wanted or RESUME in record.extra,
                "Health": health.read(entry, record).get("status", "") if seen.is_up else "",
                "Mounts": [one[key] for one in record.volumes for key in ("name", "destination") if key in one],
                "ExitCode": seen.end["status"] if seen.end is not None else None,
                "ExitedAt": seen.end["time"] if seen.end is not None else "", "IsEngine": True})
    row["Status"] = _status(row)
    return row


def _of_runtime(root: str, state: dict, endpoints: list[dict]) -> dict:
    command: list[str] = []
    try:
        command = verbs.detail(root, state["id"])["config"]["process"]["args"]
    except (CapsuleError, KeyError):
        pass  # half-made, damaged, or without a program
    row = _row(state["id"], state["id"], state["created"], state["status"], state["pid"], endpoints)
    row.update({"Image": state["bundle"], "ImageID": "", "Command": command, "StartedAt": "", "Restarts": 0,
                "RestartPolicy": "no", "Wanted": False, "Health": "", "Mounts": [],
                "Labels": state.get("annotations") or {}, "ExitCode": None, "ExitedAt": "", "IsEngine": False})
    row["Status"] = _status(row)
    return row


def _row(id: str, name: str, created: str, status: str, pid: int, endpoints: list[dict]) -> dict:
    return {"Id": id, "Names": [name], "CreatedAt": created, "State": status, "Pid": pid,
            "Networks": [endpoint["network"] for endpoint in endpoints], "Ports": _ports(endpoints)}


def _ports(endpoints: list[dict]) -> list[str]:
    return [f"{port['host_ip'] or '0.0.0.0'}:{port['host_port']}->{port['container_port']}/{port['proto']}"
            for endpoint in endpoints for port in endpoint["ports"]]


def _status(row: dict) -> str:
    """Return the state in words: `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`."""
    state, now = row["State"], time.time_ns()
    if state in ("running", "paused"):
        since = times.parse(row["StartedAt"] or row["CreatedAt"])
        text = f"Up {times.span(now - since)}" if since is not None else "Up"
        return text + (" (Paused)" if state == "paused" else _HEALTH.get(row["Health"], ""))
    if row["ExitCode"] is not None:
        ended = times.parse(row["ExitedAt"])
        ago = f" {times.span(now - ended)} ago" if ended is not None else ""
        return f"{state[:1].upper()}{state[1:]} ({row['ExitCode']}){ago}"
    return f"{state[:1].upper()}{state[1:]}"


_HEALTH = {health.STARTING: " (health: starting)", health.HEALTHY: " (healthy)", health.UNHEALTHY: " (unhealthy)"}
_HEAD = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]


def _cells(row: dict, whole: bool) -> list[str]:
    command = " ".join(row["Command"])
    if not whole and len(command) > _COMMAND_MAX:
        command = command[: _COMMAND_MAX - 1] + "…"
    created = times.parse(row["CreatedAt"])
    return [row["Id"] if whole else _short(row), row["Image"], command,
            f"{times.span(time.time_ns() - created)} ago" if created is not None else "",
            row["Status"], ", ".join(row["Ports"]), row["Names"][0]]


def _short(row: dict) -> str:
    return row["Id"][:SHORT] if row["IsEngine"] else row["Id"]


def _words(row: dict, whole: bool) -> dict:
    """Return what `{{.Key}}` can name: Docker's and podman's keys, as text."""
    created = times.parse(row["CreatedAt"])
    return {**row, "ID": row["Id"] if whole else _short(row), "Names": row["Names"][0],
            "Command": " ".join(row["Command"]), "Ports": ", ".join(row["Ports"]),
            "Networks": ",".join(row["Networks"]),
            "RunningFor": f"{times.span(time.time_ns() - created)} ago" if created is not None else ""}


def _last(options: dict) -> int | None:
    if options["last"] < 0:
        raise CapsuleError("ps", f"--last {options['last']}", "expected a number of containers")
    return options["last"] or (1 if options["latest"] else None)


FILTERS: dict[str, filters.Match] = {
    "name": lambda row, text: text in row["Names"][0],
    "id": lambda row, text: row["Id"].startswith(text),
    "status": lambda row, text: row["State"] == text or text == "stopped" and row["State"] == "exited",
    "label": lambda row, text: filters.has_label(row["Labels"], text),
    "ancestor": lambda row, text: text in (row["Image"], row["ImageID"], row["Image"].partition(":")[0]),
    "network": lambda row, text: text in row["Networks"],
    "volume": lambda row, text: text in row["Mounts"],
    "health": lambda row, text: (row["Health"] or "none") == text,
    "restart-policy": lambda row, text: row["RestartPolicy"] == text,
    "exited": lambda row, text: row["ExitCode"] is not None and row["ExitCode"] == int(text),
}
