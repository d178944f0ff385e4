"""docs/conformance.md is what the tests' `row` marks say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

TOP = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("conformance", str(TOP / "tools" / "conformance"))
    spec = importlib.util.spec_from_loader("conformance", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_row_has_a_test_or_a_reason_and_every_mark_a_row():
    problems = _tool().Conformance().problems()
    assert not problems, "\n".join(problems)


def test_the_page_is_what_the_marks_say():
    tool = _tool()
    assert tool.PAGE.read_text(encoding="utf-8") == tool.Conformance().page(), "run tools/conformance"


def test_a_mark_is_found_wherever_it_stands(tmp_path):
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.row(1)]\n"
        "@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.row(2, 'features:hooks'))])\n"
        "def test_a(a): pass\n"
        "class TestB:\n"
        "    @pytest.mark.row(3)\n"
        "    def test_c(self): pass\n")
    assert _tool().marks(tmp_path) == {
        "1": ["test_one.py::test_a", "test_one.py::test_c"], "2": ["test_one.py::test_a"],
        "features:hooks": ["test_one.py::test_a"], "3": ["test_one.py::test_c"]}
