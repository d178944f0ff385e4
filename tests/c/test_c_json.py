"""csrc/json.c by itself, under the address and undefined-behaviour sanitizers, and fuzzed for a moment."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.budget import times
from helpers.config import BASE

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
STRICT = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Wstrict-prototypes",
          "-Wmissing-prototypes", "-Wformat=2", "-Wswitch-enum", "-Werror", f"-I{CSRC}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WRAPPED = "-Wl,--wrap=malloc,--wrap=realloc,--wrap=reallocarray"
RUNS = str(times(20000))
SECONDS = times(20)
SEEDS = [json.dumps(BASE), '{"a":1,"a":2}', '["\\ud83d\\ude00\\u00e9\\n",-1.5e+3,true,null]', "[" * 70, '{"é":{}}',
         "{" + ",".join(f'"k{n}":[{n}]' for n in range(20)) + "}"]


def compiled(compiler: str, output: Path, flags: list[str], *sources: str) -> subprocess.CompletedProcess[str]:
    files = [str(HERE / name) for name in sources] + [str(CSRC / "json.c"), str(CSRC / "json_write.c")]
    return subprocess.run([compiler, *STRICT, *flags, "-o", str(output), *files], capture_output=True, text=True)


def can_link(compiler: str, flags: list[str], directory: Path) -> bool:
    """Tell whether the compiler is here with the libraries that the flags need."""
    if shutil.which(compiler) is None:
        return False
    source = directory / "probe.c"
    source.write_text("int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }\n"
                      + ("" if "-fsanitize=fuzzer" in flags else "int main(void) { return 0; }\n"))
    command = [compiler, *flags, "-o", str(directory / "probe"), str(source)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def seeds(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"seed{number}" for number in range(len(SEEDS))]
    for path, text in zip(paths, SEEDS, strict=True):
        path.write_bytes(text.encode())
    return [str(path) for path in paths]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_parser_holds_its_contract(compiler: str, tmp_path: Path) -> None:
    flags = SANITIZERS if can_link(compiler, SANITIZERS, tmp_path) else []
    if not flags and not can_link(compiler, [], tmp_path):
        pytest.skip(f"{compiler} is not installed")
    built = compiled(compiler, tmp_path / "json", [*flags, WRAPPED], "json_parse.c")
    assert built.returncode == 0, built.stderr
    result = subprocess.run([str(tmp_path / "json")], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_parser_survives_blind_mutation(tmp_path: Path, seeds: list[str]) -> None:
    if not can_link("gcc", SANITIZERS, tmp_path):
        pytest.skip("gcc with its sanitizers is not installed")
    built = compiled("gcc", tmp_path / "fuzz", SANITIZERS, "fuzz_json.c", "fuzz_main.c")
    assert built.returncode == 0, built.stderr
    result = subprocess.run([str(tmp_path / "fuzz"), RUNS, "1", *seeds], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]


def test_the_parser_survives_guided_fuzzing(tmp_path: Path, seeds: list[str]) -> None:
    flags = ["-fsanitize=fuzzer", *SANITIZERS]
    if not can_link("clang", flags, tmp_path):
        pytest.skip("clang with libFuzzer is not installed")
    built = compiled("clang", tmp_path / "fuzz", flags, "fuzz_json.c")
    assert built.returncode == 0, built.stderr
    command = [str(tmp_path / "fuzz"), f"-runs={RUNS}", "-seed=1", "-max_len=4096", f"-max_total_time={SECONDS}",
               f"-artifact_prefix={tmp_path}/", f"-seed_inputs={','.join(seeds)}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
