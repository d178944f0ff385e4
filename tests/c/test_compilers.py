"""The C core has no warning in either compiler, nor where pointers and long are those of another machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from build_support import launcher, python  # noqa: E402


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_no_source_of_the_core_has_a_warning(compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    sources = sorted(ROOT.glob("csrc/*.c"))
    includes = ["-Icsrc", *python.include_flags()]
    if compiler.startswith("aarch64"):  # whose Python.h is not here
        sources = [source for source in sources if "<Python.h>" not in everything(source)]
        includes = ["-Icsrc"]
    command = [compiler, "-std=gnu11", "-fsyntax-only", *launcher.C_WARNINGS, "-Werror", *includes, *sources]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def everything(source: Path) -> str:
    """Return the text of a source and of its own headers, where launcher.h brings Python.h."""
    text = source.read_text(encoding="utf-8")
    return text + (ROOT / "csrc/launcher.h").read_text(encoding="utf-8") if '"launcher' in text else text
