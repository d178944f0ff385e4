"""The launcher: which variants this Python offers, what reaches its imports, how it fails."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PR_SET_THP_DISABLE = 41  # linux/prctl.h
sys.path.insert(0, str(ROOT))

from build_support import launcher, modules, python  # noqa: E402

SETUP = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_launcher"]


@pytest.fixture(scope="module")
def capsule() -> Path:
    """Build the launcher of this tree."""
    subprocess.run([*SETUP, "--flavours=capsule"], cwd=ROOT, check=True)
    return ROOT / "build" / "capsule"


@pytest.fixture(scope="module")
def probe() -> Path:
    """Build a launcher whose whole program is tests/helpers/seal_probe.py."""
    subprocess.run([*SETUP, "--flavours=seal-probe"], cwd=ROOT, check=True)
    return ROOT / "build" / "seal-probe"


def run(*command: str | bytes | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env={}, timeout=60, **options)


@pytest.mark.parametrize("variant", launcher.VARIANTS)
def test_every_variant_this_python_offers_links_and_starts(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if launcher.link_flags(variant) is None:
        pytest.skip("this Python has no such library")
    if variant == "shared" and sys.version_info >= (3, 13):
        pytest.skip("libpython.so does not export what prepares the codec registry since 3.13")
    with launcher_lock():
        assert launcher.probe(variant, "0") is not None


def pythons() -> list[str]:
    """Name a Python of each supported minor version that is here, with headers and libpython.a."""
    found = []
    for minor in (11, 12, 13):
        places = [shutil.which(f"python3.{minor}"), *glob(f"/opt/python3.{minor}*/bin/python3"),
                  *glob(os.path.expanduser(f"~/.pyenv/versions/3.{minor}.*/bin/python3"))]
        found += [place for place in places if place and has_static_library(place)][:1]
    return found


def has_static_library(place: str) -> bool:
    words = ("import os, sysconfig; from build_support import python; print(bool(python.static_library())"
             " and os.path.exists(sysconfig.get_path('include') + '/Python.h'))")
    done = subprocess.run([place, "-c", words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout == "True\n"


@pytest.mark.parametrize("place", pythons())
def test_every_supported_python_here_gets_the_first_variant(place: str) -> None:
    words = ("import sys; from build_support import launcher; from build_support.lock import build_lock\n"
             "with build_lock(): sys.exit(launcher.probe('static-frozen', '0') is None)")
    # Cython is plain Python where its extensions are another version's.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("platlib"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([place, "-c", words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("frozen", [
    pytest.param("#error another Python", id="compiles not"),
    pytest.param("int _PyImport_FrozenBootstrap;", id="links not"),
    pytest.param("", id="starts not"),
])
def test_a_python_whose_internals_are_others_gets_the_next_variant(
    frozen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launcher, "ROOT", str(tmp_path))
    monkeypatch.setattr(launcher, "VARIANTS", ("static-frozen",))
    without_importlib = launcher.frozen_text().replace('"_frozen_importlib"', '"other"')
    monkeypatch.setattr(launcher, "frozen_text", lambda: frozen or without_importlib)
    if launcher.link_flags("static") is None:
        pytest.skip("no libpython.a")
    with launcher_lock():
        assert launcher.choose_variant("0") == "script"
    assert "launcher: static-frozen is not possible with " in capfd.readouterr().out


def launcher_lock():
    from build_support.lock import build_lock

    return build_lock()


def test_static_variant_is_chosen_where_libpython_a_exists(capsule: Path) -> None:
    if python.static_library() is None:
        pytest.skip("no libpython.a")
    assert "launcher: static-frozen\n" in run(capsule, "--version").stdout


def faults(program: Path, *, huge: bool) -> int:
    """Count the page faults of a start; without huge pages, those that a kernel without them would serve."""
    def prepare() -> None:
        assert not huge_pages.prctl(PR_SET_THP_DISABLE, 0 if huge else 1, 0, 0, 0)

    huge_pages = ctypes.CDLL(None)
    with subprocess.Popen([program, "--version"], stdout=subprocess.PIPE, env={}, preexec_fn=prepare) as started:
        assert started.stdout is not None
        assert started.stdout.read().startswith(b"capsule version")
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0
    return usage.ru_minflt


@pytest.mark.skipif("[never]" in THP.read_text(encoding="ascii") if THP.exists() else True, reason="no huge pages")
def test_variables_lie_on_a_huge_page_where_there_is_one(capsule: Path) -> None:
    """And stay in pages of 4 KiB where there is none: each of those that is written to costs a fault."""
    fewest = min(faults(capsule, huge=True) for _ in range(5))  # a huge page may just not be free
    assert fewest + 200 < faults(capsule, huge=False)


def test_own_inittab_has_what_the_hot_path_may_import() -> None:
    assert modules.BUILT_IN - {"__future__"} <= set(launcher.INITTAB)


def test_names_of_a_module_are_found_wherever_they_are_used(tmp_path: Path) -> None:
    source = tmp_path / "user.pyx"
    source.write_text("import posix\nfrom posix import (\n    stat_result,\n    O_PATH)\ncdef f(int fd):\n"
                      "    posix.close(fd)\n    return other.read, posix.strerror(1), posixly.odd\n")
    names = modules.names_of("posix", [modules.Module("user", str(source), False)])
    assert names == ["O_PATH", "close", "stat_result", "strerror"]


def test_posix_has_what_linked_modules_name_and_no_more(probe: Path) -> None:
    if python.static_library() is None:
        pytest.skip("no libpython.a")
    names = run(probe, "names").stdout.split()
    assert {"fork", "mkdir", "O_RDONLY", "write"} <= set(names)
    assert not {"chown", "putenv", "O_APPEND"} & set(names)


def test_every_hot_module_is_in_the_table_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = [module.name for module in launcher.linked_modules()]
    assert len(names) == len(set(names))
    assert {"capsule.errors", "capsule.cli.main", "capsule._ext.seal", launcher.ENTRY} <= set(names)
    assert "capsule.cli.front" not in names


def test_initialisers_of_equal_base_names_differ() -> None:
    paths = ["capsule/a/b_c.py", "capsule/a_b/c.py", "capsule/a/b/c.py"]
    assert len({launcher.init_name(modules.module_of(path)) for path in paths}) == len(paths)


def test_version_tells_the_variant_without_environment_or_package_on_the_path(capsule: Path, tmp_path: Path) -> None:
    ended = run(capsule, "--version", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.startswith("capsule version ")


def test_planted_modules_in_the_working_directory_are_not_loaded(capsule: Path, tmp_path: Path) -> None:
    package = tmp_path / "capsule"
    package.mkdir()
    for name in ("os.py", "posix.py", "io.py", "click.py", "sitecustomize.py", "capsule/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('PLANTED')\n")
    for word in ("--version", "--help"):
        ended = run(capsule, word, cwd=tmp_path)
        assert (ended.returncode, "PLANTED" in ended.stdout + ended.stderr) == (0, False)


def test_click_commands_run_in_a_full_python_from_any_directory(capsule: Path) -> None:
    ended = run(capsule, "create", "--help", cwd="/")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--bundle" in ended.stdout


def test_environment_of_python_is_ignored(capsule: Path, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('PLANTED')\n")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": str(tmp_path)}
    ended = subprocess.run([capsule, "--help"], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors_are_not_given_to_other_files(
    closed: tuple[int, ...], capsule: Path
) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    with subprocess.Popen([capsule, "--version"], preexec_fn=close, stdout=subprocess.DEVNULL) as process:
        assert process.wait(60) == 0


def test_unexpected_error_is_one_line(probe: Path) -> None:
    ended = run(probe, b"\xff")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("capsule: UnicodeDecodeError: ")
    assert ended.stderr.count("\n") == 1


def test_unexpected_error_is_traced_with_debug(probe: Path) -> None:
    ended = run(probe, b"\xff", "--debug")
    assert ended.returncode == 1
    assert "seal_probe.py:" in ended.stderr and " main" in ended.stderr.splitlines()[-1].replace(".main", " main")


def test_fallback_answers_as_the_launcher_does(capsule: Path, tmp_path: Path) -> None:
    fallback = [sys.executable, "-I", "-S", str(ROOT / "capsule" / "__main__.py")]
    for words in (["--version"], ["state", "no such id"], ["frob"]):
        mine, other = run(capsule, *words, cwd=tmp_path), run(*fallback, *words, cwd=tmp_path)
        assert mine.returncode == other.returncode
        if words != ["--version"]:
            assert mine.stdout == other.stdout


def test_script_variant_runs_the_same_code(tmp_path: Path) -> None:
    script = tmp_path / "capsule"
    launcher.write_script(str(script), str(ROOT))
    assert run(script, "--version", cwd="/").stdout.startswith("capsule version ")
