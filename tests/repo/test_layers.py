"""docs/architecture.md's layer table holds: imports point downward, and the hot path imports next to nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sources import ROOT, imports, layers, module_name, own_modules, owner, parse, python_sources

from build_support import modules
from capsule.cli import grammar, nouns

TABLE = layers()
SOURCES = python_sources("capsule")
#: Modules above the table: the package's lazy names, its version, and the fallback program.
APART = {"capsule", "capsule._version", "capsule.__main__"}
#: Reasons for the exceptions: the linked module that only the launcher has.
BUILT_BY_LAUNCHER = {"capsule._launcher"}


def test_table_names_every_package() -> None:
    assert {"capsule.errors", "capsule._ext", "capsule.cli"} <= set(TABLE)
    homeless = {name for name in own_modules() if owner(name, TABLE) is None}
    assert homeless == APART


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_downward(path: Path) -> None:
    name = module_name(path)
    mine = owner(name, TABLE)
    if mine is None:
        return
    wrong = []
    for line, imported in imports(path):
        theirs = owner(imported, TABLE)
        if theirs is None or theirs == mine:
            continue
        if TABLE[theirs] > TABLE[mine] or (TABLE[theirs] == TABLE[mine] and TABLE[mine] not in (1, 2)):
            wrong.append(f"{path}:{line}: {name} (L{TABLE[mine]}) imports {imported} (L{TABLE[theirs]})")
    assert not wrong


@pytest.mark.parametrize(("mine", "theirs"), [("capsule.runtime", "capsule.init"), ("capsule.init", "capsule.runtime")])
def test_parent_and_child_share_protocol_only(mine: str, theirs: str) -> None:
    found = [f"{path}:{line}" for path in SOURCES if module_name(path).startswith(mine)
             for line, name in imports(path) if name.startswith(theirs)]
    assert not found


def test_own_imports_exist() -> None:
    known = own_modules() | BUILT_BY_LAUNCHER
    missing = [f"{path}:{line}: {name}" for path in SOURCES for line, name in imports(path)
               if name.partition(".")[0] == "capsule" and name not in known]
    assert not missing


def test_hot_modules_import_what_the_launcher_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    hot = [Path(module.path) for module in modules.hot_modules() if not module.is_cython]
    wrong = [f"{path}:{line}: {name}" for path in hot for line, name in imports(path)
             if name.partition(".")[0] not in modules.BUILT_IN | {"capsule"}]
    assert len(hot) > 20 and not wrong


def test_hot_modules_import_only_modules_that_are_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    linked = {module.name: module for module in modules.hot_modules()}
    # cli/main hands over to the front by a new process, never by an import; the library's names are not hot.
    hot = [Path(module.path) for module in linked.values() if not module.is_cython and module.name != "capsule"]
    wrong = [f"{path}:{line}: {name}" for path in hot for line, name in imports(path)
             if name.partition(".")[0] == "capsule" and name not in linked and name not in BUILT_BY_LAUNCHER]
    assert not wrong


def test_commands_that_the_scanner_runs_are_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    linked = {module.name for module in modules.hot_modules()}
    found = {name: nouns.find(name) for name in nouns.LINKED}
    assert all(found.values())
    verbs = [*grammar.COMMANDS, *grammar.HIDDEN_COMMANDS, *found.values()]
    assert {f"capsule.cli.{command[1]}" for command in verbs if command} <= linked


def test_initializers_import_nothing_after_the_clone() -> None:
    """S2 is sealed: an import statement inside a function of init/ would end it."""
    wrong = []
    for path in SOURCES:
        if module_name(path).startswith("capsule.init"):
            top = {node.lineno for node in parse(path).body}
            wrong += [f"{path}:{line}: {name}" for line, name in imports(path) if line not in top]
    assert not wrong


def test_python_h_is_included_by_the_launcher_and_the_seal_only() -> None:
    including = re.compile(r"^#\s*include\s+<Python.h>", re.MULTILINE)
    found = {path.name for path in (ROOT / "csrc").glob("*.[ch]") if including.search(path.read_text(encoding="utf-8"))}
    assert found == {"launcher.c", "launcher.h", "launcher_lean.c", "launcher_lean.h", "launcher_memory.c",
                     "launcher_names.c", "launcher_posix.c", "launcher_types.c", "seal.c"}
