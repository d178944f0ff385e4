"""The table of scenarios and runtimes: which scenario works with which runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runtimes import RIVALS, SUBJECT

WORDS = {"pass": "pass", "fail": "FAIL", "known": "known", "skip": "-"}


class Table:
    """Outcomes by (engine, scenario) and runtime."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[str, str]] = {}
        self.reasons: dict[tuple[str, str, str], str] = {}

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take a phase of a test into the table; a later phase can only make it worse."""
        place = position(item)
        if not place:
            return
        engine, scenario, runtime = place
        row = self.rows.setdefault((engine, scenario), {})
        worse = self._outcome(report)
        if worse != "pass" or runtime not in row:
            row[runtime] = worse
            if worse in ("fail", "known"):
                self.reasons[(engine, scenario, runtime)] = _first_line(report)

    @staticmethod
    def _outcome(report: pytest.TestReport) -> str:
        if report.failed:
            return "fail"
        if hasattr(report, "wasxfail"):
            return "known" if report.wasxfail.startswith("known: ") else "fail"
        return "skip" if report.skipped else "pass"

    def lines(self) -> list[str]:
        """Return the table as Markdown, an engine after the other, then the reason of every failure."""
        names = [name for name in (SUBJECT, *RIVALS) if any(name in row for row in self.rows.values())]
        lines = []
        for engine in sorted({engine for engine, _ in self.rows}):
            rows = {scenario: row for (of, scenario), row in self.rows.items() if of == engine}
            counts = [f"{name} {sum(row.get(name) == 'pass' for row in rows.values())}" for name in names]
            lines += ["", f"## {engine}: {len(rows)} scenarios, passed by {', '.join(counts)}", "",
                      f"| scenario | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
            lines += [f"| {scenario} | {' | '.join(WORDS[row.get(name, 'skip')] for name in names)} |"
                      for scenario, row in sorted(rows.items())]
        if self.reasons:
            lines += ["", "## Failures", ""]
            lines += [f"- {engine}: {scenario}, {runtime}: {text}"
                      for (engine, scenario, runtime), text in sorted(self.reasons.items())]
        return lines

    def regressions(self) -> list[str]:
        """Return the scenarios that work with runc and not with the runtime under test."""
        return [f"{engine}: {scenario}" for (engine, scenario), row in sorted(self.rows.items())
                if row.get("runc") == "pass" and row.get(SUBJECT) in ("fail", "known")]

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("# Engines\n" + "\n".join(self.lines()) + "\n", encoding="utf-8")


def position(item: pytest.Item) -> tuple[str, str, str] | None:
    """Return (engine, scenario, runtime) of a test that has an engine."""
    callspec = getattr(item, "callspec", None)
    engine = getattr(getattr(item, "module", None), "ENGINE", None)
    if engine is None or callspec is None or "runtime" not in callspec.params:
        return None
    others = [str(value) for name, value in callspec.params.items() if name != "runtime"]
    group = f"{item.cls.__name__.removeprefix('Test').lower()}: " if item.cls else ""
    name = group + item.originalname.removeprefix("test_").replace("_", " ")
    return engine.NAME, " ".join([name, *([f"({', '.join(others)})"] if others else [])]), callspec.params["runtime"]


def _first_line(report: pytest.TestReport) -> str:
    known = getattr(report, "wasxfail", "")
    if known.startswith("known: "):
        return known
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    text = " ".join(line.strip() for line in text.splitlines()).replace("|", "\\|")
    return text if len(text) < 900 else f"{text[:400]} [...] {text[-400:]}"
