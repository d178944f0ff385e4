"""The examples of the engine's pages and of the README do what is shown there."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import pages
from helpers.engine import Engine
from helpers.requires import ROOT, requires

pytestmark = requires("root", "runtime", "busybox", "ps", "ip", "nft")
#: A network namespace for each page: ports and names of networks are the examples' own.
APART = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
PAGES = ["README.md", "docs/engine.md", "docs/build-images.md", "docs/volumes.md",
         *[str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs/engine").glob("*.md"))]]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_do_what_is_shown(page: str, engine: Engine, tmp_path: Path) -> None:
    pages.play(page, engine.runtime, tmp_path, APART)


def test_a_page_that_shows_something_else_would_fail() -> None:
    assert pages.fits(["a...c", "...", "end"], ["abc", "x", "y", "end"])
    assert pages.fits(["..."], []) and not pages.fits([], ["x"])
    assert not pages.fits(["a", "b"], ["a"]) and not pages.fits(["a"], ["a", "b"]) and not pages.fits(["a.c"], ["abc"])
