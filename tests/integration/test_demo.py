"""`make demo`: sandboxes, and an image of the host's busybox, as the README tells people to see them."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from helpers.requires import ROOT, binary, requires
from helpers.runtime import DEADLINE

pytestmark = requires("root", "runtime", "busybox", "make")


@pytest.mark.skipif(bool(os.environ.get("CAPSULE_BINARY")), reason="the demo is of build/capsule")
def test_the_demo_shows_sandboxes_and_an_image_and_leaves_nothing() -> None:
    """What it is built by has been built; `.ci/run` makes it from nothing."""
    assert binary() == [str(ROOT / "build" / "capsule")]
    done = subprocess.run(["make", "--no-print-directory", "-o", "bootstrap-demo", "-o", "build", "demo"], cwd=ROOT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * DEADLINE, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for pattern in (r"\$ capsule sandbox -- .*\nroot\n", r"A \S*/made\n", r'"reason":"timeout"|sleep 1000',
                    r"image create demo/busybox", r"user: +uid=0", r"called demo\n", r"logs demo-\w+\nready\n",
                    r"Nothing is left"):
        assert re.search(pattern, done.stdout), f"{pattern}:\n{done.stdout}"
