"""Primitives that are forbidden outside their home, with the reason beside each."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sources import ROOT, module_name, parse, python_sources, read, walk

PRODUCT = python_sources("capsule")
ALL = python_sources("capsule", "tests", "build_support", "bench", "tools")

#: Dotted call → reason.
CALLS = {
    "os.system": "a shell reads the words again",
    "os.popen": "a shell reads the words again",
    "posix.system": "a shell reads the words again",
    "os.fork": "the library's host has threads; stages are cloned by nsexec",
    "posix.fork": "the library's host has threads; stages are cloned by nsexec",
    "pty.fork": "the library's host has threads; stages are cloned by nsexec",
    "eval": "no text becomes code",
    "exec": "no text becomes code",
}
MODULES = {"ctypes": "system calls live in csrc/", "pickle": "records are JSON", "pyroute2": "netlink.py only"}
PYROUTE2_HOME = "capsule.network.netlink"
PRINT_HOME = ("capsule.cli.output", "capsule.cli.front")
SLEEP_HOME = ("capsule.cgroups.cgroupfs",)


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    for node in walk(parse(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_no_banned_call() -> None:
    wrong = [f"{path}:{line}: {name}: {CALLS[name]}" for path in PRODUCT for line, name, _ in calls(path)
             if name in CALLS]
    assert not wrong


def test_no_banned_module() -> None:
    wrong = []
    for path in PRODUCT:
        for node in walk(parse(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} & set(MODULES)
            if module_name(path) == PYROUTE2_HOME:
                roots.discard("pyroute2")
            wrong += [f"{path}:{node.lineno}: {root}: {MODULES[root]}" for root in roots]
    assert not wrong


def test_no_shell() -> None:
    wrong = [f"{path}:{line}" for path in ALL for line, _, call in calls(path)
             for word in call.keywords
             if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)]
    assert not wrong


def test_no_bare_except() -> None:
    wrong = [f"{path}:{node.lineno}" for path in ALL for node in walk(parse(path))
             if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not wrong


def test_print_is_the_command_lines_alone() -> None:
    wrong = [f"{path}:{line}" for path in PRODUCT if module_name(path) not in PRINT_HOME
             for line, name, _ in calls(path) if name == "print"]
    assert not wrong


def test_sleep_has_one_home() -> None:
    wrong = [f"{path}:{line}" for path in PRODUCT if module_name(path) not in SLEEP_HOME
             for line, name, _ in calls(path) if name == "time.sleep"]
    assert not wrong


def narrows(test: ast.expr) -> bool:
    """Tell whether an assertion only tells the type checker what is known: `x is not None`, isinstance(x, T)."""
    if isinstance(test, ast.BoolOp):
        return all(map(narrows, test.values))
    return (isinstance(test, ast.Compare) and ast.unparse(test).endswith(" is not None")) or (
        isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance")


def test_no_assert_checks_input() -> None:
    wrong = [f"{path}:{node.lineno}" for path in PRODUCT for node in walk(parse(path))
             if isinstance(node, ast.Assert) and not narrows(node.test)]
    assert not wrong


def test_todo_names_an_issue() -> None:
    texts = [*ALL, *(path.relative_to(ROOT) for pattern in ("csrc/*.[ch]", "capsule/_ext/*.pyx", "docs/*.md")
                     for path in ROOT.glob(pattern))]
    wrong = [f"{path}:{number}" for path in texts if path != Path(__file__).relative_to(ROOT)
             for number, line in enumerate(read(path).splitlines(), 1)
             if re.search(r"\b(?:TODO|FIXME|XXX)\b(?! ?\(?#\d+)", line)]
    assert not wrong


def test_c_core_avoids_unsafe_functions() -> None:
    banned = re.compile(r"(?<![\w.>])(strcpy|strcat|vsprintf|gets|strtok|alloca|system|atoi|atol)\s*\(")
    wrong = [f"{path.name}:{number}: {found[1]}" for path in sorted((ROOT / "csrc").glob("*.[ch]"))
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             if (found := banned.search(line))]
    assert not wrong
