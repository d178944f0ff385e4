"""doctor: try what containers need of this machine."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import StateError
from capsule.runtime import doctor
from capsule.runtime.findings import Finding

_UNWELL = 1  # exit status


def run(invocation: Invocation) -> int:
    """Print a line for each subject; succeed if all works that every container needs."""
    try:
        root = runtime_root(invocation)
    except StateError:
        root = ""  # it says so itself, and why
    found = doctor.examine(root)
    if invocation.options["json"]:
        rows = [{name: getattr(finding, name) for name in ("subject", "status", "detail", "repair")
                 if getattr(finding, name)} for finding in found]
        output.print_json({"ok": doctor.is_well(found), "findings": rows}, pretty=True)
    else:
        width = max([len(finding.subject) for finding in found])
        output.print_out("".join([_line(finding, width) + "\n" for finding in found]))
    return 0 if doctor.is_well(found) else _UNWELL


def _line(finding: Finding, width: int) -> str:
    line = f"{finding.status:<8} {finding.subject:<{width}}  {finding.detail}".rstrip()
    return f"{line}; repair: {finding.repair}" if finding.repair else line
