"""csrc/unpack.c with its tar reader under the sanitizers: mutated hostile layers, and a decoy beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_c_json import CSRC, HERE, SANITIZERS, SECONDS, STRICT, can_link

sys.path.insert(0, str(HERE.parent))

from helpers.budget import times
from image.tars import END, long_name, member, pax

SOURCES = ["unpack.c", "unpack_path.c", "unpack_times.c", "unpack_whole.c", "tarread.c", "tarpax.c", "removetree.c",
           "openbeneath.c"]
RUNS = str(times(3000))
SEEDS = [
    member("d/", b"5") + member("d/f", data=b"data") + member("l", b"2", link="../decoy") + END,
    member("l", b"2", link="../decoy/victim") + member("l", data=b"x") + member("h", b"1", link="l"),
    pax({"path": "a/b/c", "mtime": "-1.5", "SCHILY.xattr.user.x": "y", "uid": "7"}) + member("x", data=b"abc") + END,
    long_name("n" * 150) + long_name("../decoy/victim", b"K") + member("x", b"1") + END,
    pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "1000"})
    + member("x", data=b"1\n100\n2\n".ljust(512, b"\0") + b"ab") + END,
    pax({"GNU.sparse.size": "100", "GNU.sparse.map": "5,2,50,1"}) + member("x", data=b"abc") + END,
    member("a/.wh.b") + member("a/.wh..wh..opq") + member("a/b/", b"5") + member(".wh.a") + END,
    member("d/", b"5") + member("d/d/", b"5") + member("d", b"2", link="..") + member("d/decoy/victim", data=b"x"),
    member("p", b"6") + member("n", b"3", major=1, minor=3) + member("p/", b"5", mode=0o7777, uid=5) + END,
]


def build(compiler: str, output: Path, flags: list[str], *sources: str) -> None:
    files = [*(str(HERE / name) for name in sources), *(str(CSRC / name) for name in SOURCES)]
    built = subprocess.run([compiler, *STRICT, *flags, "-o", str(output), *files], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@pytest.fixture
def seeds(tmp_path: Path) -> list[str]:
    (tmp_path / "outside").mkdir()
    paths = [tmp_path / f"seed{number}" for number in range(len(SEEDS))]
    for path, data in zip(paths, SEEDS, strict=True):
        path.write_bytes(data)
    return [str(path) for path in paths]


def run(tmp_path: Path, command: list[str]) -> None:
    environment = {**os.environ, "FUZZ_ROOT": str(tmp_path / "outside")}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    assert os.listdir(tmp_path / "outside") == ["decoy"]


def test_the_unpacker_survives_blind_mutation(tmp_path: Path, seeds: list[str]) -> None:
    if not can_link("gcc", SANITIZERS, tmp_path):
        pytest.skip("gcc with its sanitizers is not installed")
    build("gcc", tmp_path / "fuzz", SANITIZERS, "fuzz_unpack.c", "fuzz_main.c")
    run(tmp_path, [str(tmp_path / "fuzz"), RUNS, "1", *seeds])


def test_the_unpacker_survives_guided_fuzzing(tmp_path: Path, seeds: list[str]) -> None:
    flags = ["-fsanitize=fuzzer", *SANITIZERS]
    if not can_link("clang", flags, tmp_path):
        pytest.skip("clang with libFuzzer is not installed")
    build("clang", tmp_path / "fuzz", flags, "fuzz_unpack.c")
    run(tmp_path, [str(tmp_path / "fuzz"), f"-runs={RUNS}", "-seed=1", "-max_len=4096", f"-max_total_time={SECONDS}",
                   f"-artifact_prefix={tmp_path}/", f"-seed_inputs={','.join(seeds)}"])  # fmt: skip
