"""events without an id: what happens to containers of the engine.

Nothing writes a journal. Of the past is told what the records keep: that a container was created, its last start, its
last end. What happens while this runs is seen by looking twice a second: what comes and goes between two looks is not.
"""

from __future__ import annotations

import time

from capsule import log
from capsule._ext import proc
from capsule.bundle import health, life
from capsule.bundle.containers import Containers
from capsule.cli import output, times
from capsule.cli.paths import containers_root, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound
from capsule.state.record import format_time

_PAUSE_MS = 500
_FORMATS = ("", "text", "json")


def run(invocation: Invocation) -> int:
    """Print events, the kept ones first; without an end unless --no-stream. Raises CapsuleError."""
    options = invocation.options
    if options["format"] not in _FORMATS:
        raise CapsuleError(f"invalid format option: {options['format']}")
    since = _moment("--since", options["since"]) if options["since"] else 0
    seen = look(invocation)
    for event in sorted([event for one in seen.values() for event in kept(one)], key=_time):
        if event["timeNano"] >= since:
            _print(event, options["format"])
    while not options["no_stream"]:
        proc.poll([], _PAUSE_MS)
        now = look(invocation)
        for event in changes(seen, now):
            _print(event, options["format"])
        seen = now
    return 0


def look(invocation: Invocation) -> dict[str, dict]:
    """Return what there is to compare of every container, by id."""
    root = runtime_root(invocation)
    found = Containers(containers_root(invocation))
    seen = {}
    for record in found.records():
        try:
            with found.open(record.id) as entry:
                state, known = life.observe(root, entry, record), health.read(entry, record)
        except NotFound:
            continue
        end = state.end or {}
        seen[record.id] = {
            "id": record.id, "name": record.name, "image": record.image, "labels": record.labels,
            "created": record.create_time, "runs": record.runs, "started": record.start_time, "status": state.status,
            "ended": end.get("time", ""), "exit": end.get("status"), "reason": end.get("reason", ""),
            "health": known.get("status", ""),
        }
    return seen


def kept(one: dict) -> list[dict]:
    """Return what a record tells of the past."""
    found = [_event(one, "create", one["created"])]
    if one["started"]:
        found.append(_event(one, "start", one["started"]))
    if one["exit"] is not None:
        found.append(_event(one, "die", one["ended"] or one["started"]))
    return found


def changes(before: dict[str, dict], now: dict[str, dict]) -> list[dict]:
    """Return what has happened between two looks, in order of time."""
    moment = format_time(time.time_ns())
    found = []
    for id, one in now.items():
        old = before.get(id)
        if old is None:
            found += kept(one)
            continue
        if one["runs"] != old["runs"]:
            if old["exit"] is None and old["runs"]:
                found.append(_event({**old, "exit": None}, "die", one["started"]))
            found.append(_event(one, "start", one["started"]))
        if one["exit"] is not None and (old["exit"] is None or one["runs"] != old["runs"]):
            found.append(_event(one, "die", one["ended"] or moment))
        if one["name"] != old["name"]:
            found.append(_event(one, "rename", moment))
        if "paused" in (one["status"], old["status"]) and one["status"] != old["status"]:
            found.append(_event(one, "pause" if one["status"] == "paused" else "unpause", moment))
        if one["health"] != old["health"] and one["health"] in (health.HEALTHY, health.UNHEALTHY):
            found.append(_event(one, "health_status", moment))
    found += [_event(old, "remove", moment) for id, old in before.items() if id not in now]
    return sorted(found, key=_time)


def _event(one: dict, status: str, moment: str) -> dict:
    attributes = {"name": one["name"], "image": one["image"], **one["labels"]}
    if status == "die" and one["exit"] is not None:
        attributes["exitCode"] = str(one["exit"])
        attributes["reason"] = one["reason"]
    if status == "health_status":
        attributes["health"] = one["health"]
    return {"time": moment, "timeNano": times.parse(moment) or 0, "Type": "container", "status": status,
            "id": one["id"], "Attributes": attributes}


def _time(event: dict) -> int:
    return event["timeNano"]


def _print(event: dict, kind: str) -> None:
    if kind == "json":
        output.print_json(event, pretty=False)
        return
    words = ", ".join([f"{key}={value}" for key, value in event["Attributes"].items()])
    line = f"{event['time']} {event['Type']} {event['status']} {event['id']} ({words})"
    output.print_out(log.plain(line) + "\n")


def _moment(option: str, text: str) -> int:
    """Read a time, RFC 3339 or how long ago as `10m`, in nanoseconds since 1970. Raises CapsuleError."""
    found = times.parse(text)
    if found is None:
        from capsule.cli import quantities

        found = time.time_ns() - quantities.duration_ns(option, text)
    return found
