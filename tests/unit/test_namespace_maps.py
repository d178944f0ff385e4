"""Id mappings as the text that the kernel takes in one write."""

from __future__ import annotations

import posix

import pytest

from capsule.errors import SpecError
from capsule.runtime import namespaces

pytestmark = pytest.mark.row(54)


def test_each_range_is_a_line():
    assert namespaces.map_text([(0, 1000, 1), (1, 2000, 5)], "x") == b"0 1000 1\n1 2000 5\n"


def test_as_much_as_a_page_is_refused():
    """The kernel takes 340 ranges, and less than a page (man 7 user_namespaces)."""
    page = posix.sysconf("SC_PAGESIZE")
    row = (1000000000, 1000000000, 1)
    size = len(namespaces.map_text([row], "x"))
    fits = (page - 1) // size
    assert len(namespaces.map_text([row] * fits, "x")) < page
    with pytest.raises(SpecError, match=f"linux.uidMappings: the {fits + 1} ranges are {(fits + 1) * size} bytes"):
        namespaces.map_text([row] * (fits + 1), "linux.uidMappings")
