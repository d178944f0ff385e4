"""csrc/openbeneath.c under the sanitizers, compared with the kernel on hostile trees for a moment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from test_c_json import CSRC, HERE, RUNS, SANITIZERS, SECONDS, STRICT, can_link

SEEDS = [
    "/a/b\n../l0\n/\nl0/l1\nl3/l2/../x", "l0\nl1\nl2\nl3\nl0/a", "../../..\n/../a\na/l1/b\n.\na/l1/b/l2/l3",
    "a/b/../../..\n/l3\n../../l0\na\na/b/l2/a/l1", "\n\n\n\n/", "/nowhere\n../new\n/a/l1/x\nb\na/l1/deep/er",
]  # fmt: skip


def build(compiler: str, output: Path, flags: list[str], *sources: str) -> None:
    files = [*(str(HERE / name) for name in sources), str(CSRC / "openbeneath.c")]
    built = subprocess.run([compiler, *STRICT, *flags, "-o", str(output), *files], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@pytest.fixture
def seeds(tmp_path: Path) -> list[str]:
    (tmp_path / "outside/root").mkdir(parents=True)
    paths = [tmp_path / f"seed{number}" for number in range(len(SEEDS))]
    for path, text in zip(paths, SEEDS, strict=True):
        path.write_text(text)
    return [str(path) for path in paths]


def run(tmp_path: Path, command: list[str]) -> None:
    environment = {**os.environ, "FUZZ_ROOT": str(tmp_path / "outside/root")}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    assert os.listdir(tmp_path / "outside") == ["root"]


def test_the_walker_survives_blind_mutation(tmp_path: Path, seeds: list[str]) -> None:
    if not can_link("gcc", SANITIZERS, tmp_path):
        pytest.skip("gcc with its sanitizers is not installed")
    build("gcc", tmp_path / "fuzz", SANITIZERS, "fuzz_openbeneath.c", "fuzz_main.c")
    run(tmp_path, [str(tmp_path / "fuzz"), RUNS, "1", *seeds])


def test_the_walker_survives_guided_fuzzing(tmp_path: Path, seeds: list[str]) -> None:
    flags = ["-fsanitize=fuzzer", *SANITIZERS]
    if not can_link("clang", flags, tmp_path):
        pytest.skip("clang with libFuzzer is not installed")
    build("clang", tmp_path / "fuzz", flags, "fuzz_openbeneath.c")
    run(tmp_path, [str(tmp_path / "fuzz"), f"-runs={RUNS}", "-seed=1", "-max_len=512", f"-max_total_time={SECONDS}",
                   f"-artifact_prefix={tmp_path}/", f"-seed_inputs={','.join(seeds)}"])  # fmt: skip
