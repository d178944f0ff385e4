"""rename: another name for a container of the engine; in its networks it keeps the old one until it is started anew."""

from __future__ import annotations

from capsule.bundle import containers
from capsule.bundle.containers import Containers
from capsule.cli.paths import containers_root
from capsule.cli.scanner import Invocation
from capsule.errors import StateError


def run(invocation: Invocation) -> int:
    """Rename. Raises NotFound, AlreadyExists, StateError."""
    word, name = invocation.positionals
    found = Containers(containers_root(invocation))
    with found.open(found.find(word), lock=True) as entry:
        record = containers.read(entry)
        if record.removing:
            raise StateError("rename container", record.name, "its removal has begun")
        before = record.name
        found.rename(entry, record, name)
        requests = ((record.network or {}).get("networks") or {}).get("requests") or []
        for request in requests:
            request["aliases"] = [name if alias == before else alias for alias in request["aliases"]]
        if requests:
            containers.save(entry, record)
    return 0
