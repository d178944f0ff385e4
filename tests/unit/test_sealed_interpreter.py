"""The seal (csrc/seal.c) in the launcher's interpreter and in an ordinary one, and without it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEALED = 70
POSSIBLE = 10
RAISED = 11
FORBIDDEN = ("import", "import_package", "open", "compile", "exec", "codec", "unraisable", "print_error", "fork",
             "execve")
#: Runs the probe where an attacker would want it: an ordinary interpreter that searches the working directory.
ORDINARY = (
    "import sys; root, *sys.argv = sys.argv[1:]; sys.path[:0] = [root, root + '/tests/helpers', '']; "
    "import seal_probe, encodings; encodings.__path__.insert(0, ''); "
    "sys.exit(seal_probe.main([word.encode() for word in sys.argv]))"
)
PLANTED = "open('/proc/self/fd/2', 'w').write('PLANTED\\n')\n"


def ordinary(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", ORDINARY, str(ROOT), "seal_probe", *words]


@pytest.fixture(scope="module")
def launchers() -> dict[str, Path]:
    """Build the probe launchers, with and without the seal."""
    names = ["seal-probe", "seal-probe-noseal"]
    setup = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_launcher"]
    subprocess.run([*setup, f"--flavours={','.join(names)}"], cwd=ROOT, check=True)
    return {name: ROOT / "build" / name for name in names}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Make a working directory as an image might offer it: modules under every name the probe could load."""
    for name in ("planted.py", "io.py", "traceback.py", "warnings.py"):
        (tmp_path / name).write_text(PLANTED)
    # Tracebacks carry this relative name; printing one must not open it.
    source = tmp_path / "tests" / "helpers" / "seal_probe.py"
    source.parent.mkdir(parents=True)
    source.write_text(PLANTED)
    return tmp_path


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={}, timeout=60)


def interpreters(launchers: dict[str, Path], kind: str, *words: str) -> list[str]:
    return ordinary(*words) if kind == "ordinary" else [str(launchers["seal-probe"]), *words]


@pytest.mark.parametrize("kind", ["launcher", "ordinary"])
@pytest.mark.parametrize("action", FORBIDDEN)
def test_sealed_interpreter_ends_on_what_could_load_code(
    action: str, kind: str, launchers: dict[str, Path], hostile: Path
) -> None:
    ended = run(interpreters(launchers, kind, action), hostile)
    assert "PLANTED" not in ended.stderr
    if (action, kind) == ("codec", "launcher"):
        # There is no search function that could be asked.
        assert ended.returncode == RAISED
        return
    assert ended.returncode == SEALED
    assert re.search(r"^capsule: sealed interpreter: refused [\w.]+$", ended.stderr, re.MULTILINE)


@pytest.mark.parametrize("kind", ["launcher", "ordinary"])
def test_sealed_interpreter_lets_plain_code_run(kind: str, launchers: dict[str, Path], hostile: Path) -> None:
    ended = run(interpreters(launchers, kind, "nothing"), hostile)
    assert (ended.returncode, ended.stdout) == (POSSIBLE, "2")


@pytest.mark.parametrize("action", [action for action in FORBIDDEN if action != "execve"])
def test_without_the_seal_nothing_ends_the_process(action: str, launchers: dict[str, Path], hostile: Path) -> None:
    assert run([str(launchers["seal-probe-noseal"]), action], hostile).returncode in (POSSIBLE, RAISED)


@pytest.mark.parametrize("action", ["import", "import_package", "codec"])
def test_without_the_seal_an_ordinary_interpreter_runs_the_image(action: str, launchers: dict, hostile: Path) -> None:
    assert "PLANTED" in run(ordinary(action, "unsealed"), hostile).stderr


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("kind", ["launcher", "ordinary"])
@pytest.mark.parametrize("action", FORBIDDEN)
def test_sealed_interpreter_opens_no_file(
    action: str, kind: str, launchers: dict[str, Path], hostile: Path, tmp_path: Path
) -> None:
    record = tmp_path / "strace"
    calls = "write,open,openat,openat2,creat,execve,execveat"
    run(["/usr/bin/env", "strace", "-f", "-o", str(record), "-e", f"trace={calls}",
         *interpreters(launchers, kind, action)], hostile)
    before, mark, after = record.read_text().partition("-- sealed --")
    assert mark
    assert not re.findall(r"^\d+ +(?:open|creat|exec)\w*\(.*$", after, re.MULTILINE)
