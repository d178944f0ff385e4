"""The examples of a page of docs: what is shown is run, and what it prints is compared with what is shown.

In a block `console`, `$ ` begins a command, `> ` goes on with it, and other lines are its output, both streams. There
`...` stands for any text within a line, or, alone on a line, for any number of lines. A block `sh` is run as it is.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from .requires import ROOT
from .runtime import DEADLINE, ENVIRONMENT, Runtime

_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "\x01"


class Example:
    """A command with the lines that are shown below it; no lines are compared where `lines` is None."""

    def __init__(self, command: str, lines: list[str] | None) -> None:
        self.command, self.lines = command, lines


def examples(page: str) -> list[Example]:
    """Return the examples of a page, in their order."""
    found: list[Example] = []
    for kind, text in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if kind == "sh":
            found.append(Example(text, None))
            continue
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append(Example(line[2:], []))
            elif line.startswith("> "):
                found[-1].command += "\n" + line[2:]
            else:
                lines = found[-1].lines
                assert lines is not None
                lines.append(line.rstrip())
    return found


def fits(shown: list[str], printed: list[str]) -> bool:
    """Tell whether output is what is shown."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(fits(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    pattern = ".*".join(re.escape(part) for part in shown[0].split("..."))
    return bool(printed) and re.fullmatch(pattern, printed[0]) is not None and fits(shown[1:], printed[1:])


def play(page: str, capsule: Runtime, directory: Path, before: list[str]) -> None:
    """Run the examples of a page in one shell, in a directory; fails with the first that does not do what is shown.

    before: words before the shell's own.
    """
    found = examples(page)
    assert found, f"{page} shows no example"
    program = shlex.join([*capsule.argv, "--root", str(capsule.root)])
    script = ["exec 2>&1", f'capsule() {{ {program} "$@"; }}', 'sudo() { "$@"; }']
    for example in found:
        script += [f"{{ {example.command}\n}}", f'printf "{_MARK}%s{_MARK}" $?']
    done = subprocess.run([*before, "sh", "-c", "\n".join(script)], cwd=directory, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=4 * DEADLINE)
    parts = done.stdout.split(_MARK)
    for number, example in enumerate(found):
        what = f"{page}: {example.command}\n"
        assert len(parts) > 2 * number + 1, f"{what}ended the shell: {done.stdout[-2000:]}{done.stderr}"
        printed, status = parts[2 * number], parts[2 * number + 1]
        assert status == "0", f"{what}status {status}: {printed}"
        if example.lines is not None:
            lines = [line.rstrip() for line in printed.splitlines()]
            assert fits(example.lines, lines), f"{what}shown: {example.lines}\nprinted: {lines}"
