"""Finding: one line of doctor's."""

from __future__ import annotations

WORKS, MISSING, FAILS = "works", "missing", "fails"  # missing: not needed by every container


class Finding:
    """One line: its subject, the status, what was seen or is lost, and the repair."""

    __slots__ = ("subject", "status", "detail", "repair")

    def __init__(self, subject: str, status: str, detail: str = "", repair: str = "") -> None:
        self.subject = subject
        self.status = status
        self.detail = detail
        self.repair = repair
