"""Every Cython module has a stub with the same public names, names sources that exist, and no Python logic."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sources import ROOT

sys.path.insert(0, str(ROOT))

from build_support import modules, programs

CYTHON = sorted((ROOT / "capsule" / "_ext").glob("*.pyx"))


def public_of_source(text: str) -> set[str]:
    """Name what a .pyx defines at its top level: functions, classes and plain constants."""
    names = set(re.findall(r"^(?:def|cpdef [\w ]*?|class|cdef class) ?(\w+)(?=[(:])", text, re.MULTILINE))
    for line in re.findall(r"^([A-Za-z]\w*(?: *, *[A-Za-z]\w*)*) *=(?!=)", text, re.MULTILINE):
        names.update(word.strip() for word in line.split(","))
    return {name for name in names if not name.startswith("_")}


def public_of_stub(text: str) -> set[str]:
    """Name what a .pyi declares at its top level; an assignment there is only an alias of a type."""
    names: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.stem)
def test_stub_declares_the_same_names(path: Path) -> None:
    stub = path.with_suffix(".pyi")
    assert stub.exists()
    assert public_of_stub(stub.read_text()) == public_of_source(path.read_text())


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.stem)
def test_sources_exist(path: Path) -> None:
    sources = modules.directive(str(path), "sources")
    missing = [source for source in sources if source != programs.EMBEDDED and not (ROOT / source).exists()]
    assert sources and not missing


@pytest.mark.parametrize("path", CYTHON, ids=lambda path: path.stem)
def test_head_sets_the_language_level(path: Path) -> None:
    head = path.read_text().split('"""')[0]
    assert "# cython:" in head and "language_level=3" in head
