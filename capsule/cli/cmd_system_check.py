"""system check: is the store of images whole?"""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.image.check import check
from capsule.image.store import Store

_UNWELL = 1  # exit status


def run(invocation: Invocation) -> int:
    """Print a line for each fault; fail if one is left. Raises CapsuleError."""
    options = invocation.options
    found = check(Store(storage_root(invocation)), fix=options["fix"], deep=options["deep"])
    left = [finding for finding in found if not finding.fixed]
    if options["json"]:
        rows = [{"subject": finding.subject, "detail": finding.detail, "fixed": finding.fixed} for finding in found]
        output.print_json({"ok": not left, "findings": rows}, pretty=True)
    else:
        output.print_out("".join(f"{'fixed' if finding.fixed else 'fault'}   {finding.subject}: {finding.detail}\n"
                                 for finding in found))
    return _UNWELL if left else 0
