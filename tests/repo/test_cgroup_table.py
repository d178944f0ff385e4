"""docs/cgroups.md has the tables of capsule/cgroups, and those name the files that are written."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOP = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("cgroup_table", str(TOP / "tools" / "cgroup-table"))
    spec = importlib.util.spec_from_loader("cgroup_table", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


TOOL = _tool()


def test_the_page_is_what_the_code_says():
    assert TOOL.PAGE.read_text(encoding="utf-8") == TOOL.page(), "run tools/cgroup-table"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_written_is_in_the_table(version, tmp_path):
    listed = {row[1] for group in TOOL.modules(version).values() for module in group for row in module.FILES}
    for number, resources in enumerate(TOOL.SAMPLES):
        if "unified" in resources or (version == "v2" and "network" in resources):
            continue
        (tmp_path / str(number)).mkdir()
        leaf = TOOL.new_cgroup(tmp_path / str(number), resources)
        files = {name for name, _ in TOOL.written(TOOL.paths_of(version, leaf), resources)}
        assert files
        assert {name.replace("2MB", "SIZE") for name in files} <= listed


def test_every_field_of_the_specification_is_in_the_table():
    from capsule.spec.schema import RESOURCES

    named = {key.partition(".")[0]: set() for key in TOOL.fields()}
    for key in TOOL.fields():
        section, _, field = key.partition(".")
        named[section].update(field.split(", "))
    elsewhere = {"kernel", "kernelTCP", "useHierarchy", "checkBeforeUpdate"}  # in the text below the table
    for section, shape in RESOURCES[1].items():
        if section in ("devices", "unified"):
            continue
        fields = shape[1] if isinstance(shape[1], dict) else shape[1][1]
        assert set(fields) - elsewhere <= named[section], section
