"""system check: are images, containers and volumes whole?"""

from __future__ import annotations

import os

from capsule import log
from capsule.bundle import container_check
from capsule.bundle.containers import Containers
from capsule.bundle.room import check_volumes
from capsule.bundle.volumes import beside
from capsule.cli import output
from capsule.cli.cmd_life import places_of
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.image.check import Finding, check
from capsule.image.store import Store

_UNWELL = 1  # exit status


def run(invocation: Invocation) -> int:
    """Print a line for each fault; fail if one is left. Raises CapsuleError."""
    options = invocation.options
    # Containers first: what they let go of may be what the store has to keep no longer.
    found = [Finding(*fault) for fault in container_check.check(places_of(invocation), fix=options["fix"])]
    places = places_of(invocation)
    found += [Finding(*row) for row in check_volumes(
        beside(places.containers), Containers(places.containers),
        lambda id: os.path.isdir(f"{places.runtime}/{id}"), fix=options["fix"])]
    found += check(Store(storage_root(invocation)), fix=options["fix"], deep=options["deep"])
    left = [finding for finding in found if not finding.fixed]
    if options["json"]:
        rows = [{"subject": finding.subject, "detail": finding.detail, "fixed": finding.fixed} for finding in found]
        output.print_json({"ok": not left, "findings": rows}, pretty=True)
    else:
        lines = [f"{'fixed' if finding.fixed else 'fault'}   {finding.subject}: {finding.detail}" for finding in found]
        output.print_out("".join(f"{log.plain(line)}\n" for line in lines))
    return _UNWELL if left else 0
