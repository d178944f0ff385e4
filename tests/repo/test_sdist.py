"""The source distribution holds all that a build reads, the package what its users read."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIRECTORIES = ("build_support", "contrib", "capsule", "csrc", "docs", "tests", "tools")


def tracked() -> set[str]:
    """List the files that the repository has in those directories."""
    done = subprocess.run(["git", "ls-files", *DIRECTORIES], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git repository, or no git")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def test_every_file_of_the_repository_is_in_the_source_distribution(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path),
               "sdist", "--formats=tar", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() - names == set()
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc")) or name.startswith("build/")]


def test_the_package_has_its_types_and_no_sources_of_extensions(tmp_path: Path) -> None:
    """py.typed lets type checkers of other projects read the annotations (PEP 561)."""
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path),
               "build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    installed = [path.relative_to(tmp_path / "lib") for path in (tmp_path / "lib").rglob("*.*")]
    assert {Path("capsule/py.typed"), Path("capsule/__init__.pyi"), Path("capsule/_ext/proc.pyi")} <= set(installed)
    assert {path.suffix for path in installed} - {".pyc"} == {".py", ".pyi", ".typed"}
    assert {path.parts[0] for path in installed} == {"capsule"}
