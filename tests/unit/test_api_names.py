"""The names of the original library: list, pages and code agree."""

import importlib
import re
from pathlib import Path

import pytest

import capsule

TREE = Path(capsule.__file__).parents[1]
PAGES = ("docs/api.md", "docs/errors.md")
ROW = re.compile(r"^\| (type|method|func|const|field|key|facade|promise|error) \| (\S+) \| `([\w.]+)` \|$", re.M)


def listed():
    """Return the (kind, name) pairs of the list."""
    lines = (TREE / "tests/data/libcapsule-names.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines if not line.startswith("#")]


def mapped():
    """Return the (kind, name, ours) rows of the pages."""
    return [row for page in PAGES for row in ROW.findall((TREE / page).read_text())]


def resolve(path):
    """Import what a dotted path names."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return found
    raise AssertionError(f"nothing is called {path}")


def test_pages_map_each_listed_name_once_and_no_other():
    assert sorted((kind, name) for kind, name, _ours in mapped()) == sorted(listed())


@pytest.mark.parametrize("row", mapped(), ids=lambda row: f"{row[0]} {row[1]}")
def test_every_name_has_a_counterpart(row):
    assert resolve(row[2]) is not None


def test_the_sixty_codes_are_all_there():
    assert len({name for kind, name in listed() if kind == "error"}) == 60


@pytest.mark.parametrize("name", [name for kind, name, _ours in mapped() if kind in ("error", "promise")])
def test_every_code_is_an_exception(name):
    (ours,) = [ours for kind, each, ours in mapped() if kind in ("error", "promise") and each == name]
    assert issubclass(resolve(ours), capsule.CapsuleError)


def test_the_keys_of_the_record_are_the_originals():
    keys = {name.partition(".")[2] for kind, name in listed() if kind == "key" and name.startswith("StateStorage.")}
    assert keys <= set(capsule.StateStorage("c1").to_dict())


def test_status_numbers_are_the_originals():
    assert [int(capsule.ContainerStatus[name]) for name in ("CREATED", "RUNNING", "STOPPED")] == [0, 1, 2]


@pytest.mark.parametrize("name", sorted(capsule.__all__))
def test_every_public_name_loads(name):
    assert getattr(capsule, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = capsule.nosuch


def test_the_stub_declares_the_public_names():
    declared = re.findall(r"\b(\w+) as \1\b", (TREE / "capsule/__init__.pyi").read_text())
    assert sorted(declared) == sorted(capsule.__all__)


def test_every_error_class_is_described_and_public():
    from capsule import errors

    page = (TREE / "docs/errors.md").read_text()
    classes = [name for name in dir(errors) if isinstance(getattr(errors, name), type) and name[0].isupper()]
    assert [name for name in classes if f"`{name}`" not in page] == []
    assert set(classes) <= set(capsule.__all__)
