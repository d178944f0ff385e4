"""The examples of the engine's pages run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.engine import Engine
from helpers.requires import ROOT, requires
from helpers.runtime import DEADLINE, ENVIRONMENT

pytestmark = requires("root", "runtime", "busybox", "ps")
PAGES = ("docs/engine.md", "docs/engine/containers.md")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, capsule, tmp_path: Path) -> None:
    found = examples(page)
    assert found, f"{page} shows no example"
    engine = Engine(capsule)
    program = shlex.join([*capsule.argv, "--root", str(capsule.root)])
    try:
        for number, text in enumerate(found):
            script = f'set -e\ncapsule() {{ {program} "$@"; }}\n{text}'
            done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=ENVIRONMENT, timeout=3 * DEADLINE,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"example {number + 1} of {page}:\n{text}\n{done.stdout}\n{done.stderr}"
    finally:
        engine.clean()
