"""P-01..P-03: Python modules planted in the image are never executed, whatever the verb or the error.

The image has hostile modules at every path that an interpreter could look at: the host's own
library paths, the library's own tree, the root, and every directory the caller may be in. A plant
makes a directory with its name when it is executed; nothing else makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.requires import requires, variant
from helpers.runtime import FAILS, Runtime

pytestmark = requires("root", "runtime", "busybox", "gcc")

ROOT = Path(__file__).resolve().parents[2]
FALLBACK = ROOT / "tests" / "helpers" / "fallback.py"
NAMES = ("os", "site", "codecs", "io", "abc", "stat", "posixpath", "genericpath", "linecache", "traceback",
         "tokenize", "warnings", "sitecustomize", "usercustomize", "struct", "signal", "fcntl", "select",
         "socket", "subprocess", "runpy", "types", "typing", "enum", "re", "colorsys", "click", "pyroute2",
         "encodings/__init__", "encodings/utf_8", "encodings/idna", "encodings/latin_1", "encodings/ascii",
         "encodings/aliases", "json/__init__", "json/decoder", "logging/__init__", "importlib/__init__",
         "importlib/machinery", "collections/__init__", "collections/abc", "capsule/__init__",
         "capsule/errors", "capsule/init/__init__", "capsule/init/standard", "capsule/init/exec",
         "capsule/_ext/__init__", "capsule/_ext/proc", "capsule/rootfs/__init__", "capsule/cli/main")
PLANT = """\
try:
    import posix
    posix.mkdir("/planted-{name}")
except FileExistsError:
    pass
"""


def interpreter_paths() -> list[str]:
    """Return where the interpreters of this machine look for modules."""
    found = {"/", "/usr/lib/python3", "/usr/local/lib/python3.11", "/lib/python3.11", "/usr/lib/python3.11",
             "/usr/lib/python3/dist-packages", str(ROOT), str(ROOT / "build")}
    for program in {sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"}:
        if os.access(program, os.X_OK):
            text = "import sys, json; print(json.dumps(sys.path + [sys.prefix, sys.exec_prefix]))"
            done = subprocess.run([program, "-c", text], capture_output=True, text=True, check=True, cwd="/")
            found.update(path for path in json.loads(done.stdout) if path.startswith("/"))
    return sorted(found)


@pytest.fixture
def planted(bundle):
    """Give a maker of bundles whose image is full of plants."""
    def make(args=None):
        box = bundle(args)
        for directory in [*interpreter_paths(), str(box.path), "/data"]:
            for name in NAMES:
                text = PLANT.format(name=name.replace("/", "."))
                place = box.rootfs / directory.lstrip("/") / f"{name}.py"
                if place.parent == box.rootfs and place.exists():
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return box
    return make


def executed(box) -> list[str]:
    """Return the plants that were executed, in the container or on the host."""
    found = [name for name in os.listdir(box.rootfs) if name.startswith("planted-")]
    for name in os.listdir("/"):
        if name.startswith("planted-"):
            os.rmdir(f"/{name}")
            found.append(f"{name} on the host")
    return sorted(found)


@pytest.fixture(params=["launcher", "fallback", "noseal"])
def program(request, workdir, capsule):
    """Give the launcher, the same code under an ordinary Python, and the launcher without its seal.

    The launcher has no path finder either, so it must be safe even without the seal.
    """
    if request.param == "launcher":
        return capsule
    argv = [sys.executable, "-I", "-S", str(FALLBACK)]
    if request.param == "noseal":
        if not variant("noseal").exists():
            pytest.skip("requires noseal: build/capsule-noseal is not built (make build-test)")
        argv = [str(variant("noseal"))]
    return Runtime(argv, capsule.root, capsule.workdir)


@pytest.mark.parametrize("where", ["/", "bundle", "rootfs"])
def test_create_and_exec_load_nothing_from_the_image(program, planted, where):
    box = planted(["/payload", "pause"])
    cwd = {"/": "/", "bundle": box.path, "rootfs": box.rootfs}[where]
    program.create(box, cwd=cwd)
    program.start(box, cwd=cwd)
    program.exec(box, "/payload", "exit", "3", rc=3, cwd=cwd)
    program.exec(box, "/payload", "exit", "4", flags=["--user", "1000", "--cwd", "/data"], rc=4, cwd=cwd)
    program.delete(box, "--force")
    assert executed(box) == []


def test_run_loads_nothing_from_the_image(program, planted):
    box = planted(["/payload", "exit", "5"])
    box.process["cwd"] = "/data"
    program.run(box, rc=5, cwd=box.rootfs)
    assert executed(box) == []


ERRORS = {
    "no program": lambda box: box.args("no-such-program"),
    "no interpreter": lambda box: box.args("/data/script").file("/data/script", "#!/no/such", 0o755),
    "cwd is a file": lambda box: box.edit(lambda c: c["process"].update(cwd="/etc/passwd/x")),
    "name is no text": lambda box: box.args("/data/\u00e4\u4e2d"),
    "passwd is noise": lambda box: box.file("/etc/passwd", b"\xff\xfe\x00" * 1000).args("missing"),
    "sysctl": lambda box: box.edit(lambda c: c["linux"].update(sysctl={"net.ipv4.no_such_key": "1"})),
    "mask": lambda box: box.symlink("/loop", "/loop").edit(
        lambda c: c["linux"].update(maskedPaths=["/loop/x"])).args("missing"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_after_pivot_root_loads_nothing_from_the_image(program, planted, name):
    box = planted(["/payload", "exit", "0"])
    ERRORS[name](box)
    result = program.run(box, rc=FAILS, cwd=box.rootfs)
    assert "Traceback" not in result.err
    assert executed(box) == []


def test_an_error_of_exec_loads_nothing_from_the_image(program, planted):
    box = planted(["/payload", "pause"])
    program.run(box, "--detach")
    for words in (["missing"], ["/data/no"], ["/etc/passwd"]):
        program.exec(box, *words, rc=255, cwd=box.rootfs)
    program.exec(box, "true", flags=["--cwd", "/etc/passwd/x"], rc=255, cwd=box.rootfs)
    program.delete(box, "--force")
    assert executed(box) == []


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE",
                                  "PYTHONPLATLIBDIR", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONMALLOC"])
def test_the_interpreters_environment_is_ignored(capsule, planted, name):
    """P-02: neither the caller's variables nor a working directory full of modules are looked at."""
    box = planted(["/payload", "exit", "6"])
    value = "debug" if name == "PYTHONMALLOC" else str(box.rootfs)
    capsule.run(box, rc=6, env={name: value}, cwd=box.rootfs)
    assert executed(box) == []


# The other way round: the plants bite, and the seal is what holds them off.

def spoilt(capsule, *words):
    return Runtime([sys.executable, "-I", "-S", str(FALLBACK), *words], capsule.root, capsule.workdir)


def test_the_plants_bite_an_ordinary_interpreter(planted):
    box = planted()
    text = f"import os; os.chroot({str(box.rootfs)!r}); os.chdir('/'); import colorsys"
    subprocess.run([sys.executable, "-I", "-S", "-c", text], check=True)
    assert executed(box) == ["planted-colorsys"]


def test_without_the_seal_an_initializer_that_imports_executes_the_image(capsule, planted):
    box = planted(["/payload", "exit", "0"])
    spoilt(capsule, "import", "unsealed").run(box, rc=None)
    assert executed(box) == ["planted-colorsys"]


def test_the_seal_ends_an_initializer_that_imports(capsule, planted):
    box = planted(["/payload", "exit", "0"])
    result = spoilt(capsule, "import").run(box, rc=FAILS)
    assert "Traceback" not in result.err
    assert executed(box) == []
    assert not capsule.exists(box)


def test_without_the_seal_exec_that_imports_executes_the_image(capsule, planted):
    box = planted(["/payload", "pause"])
    capsule.run(box, "--detach")
    spoilt(capsule, "import", "unsealed").exec(box, "/payload", "exit", "0", rc=None)
    assert executed(box) == ["planted-colorsys"]


def test_the_seal_ends_an_exec_that_imports(capsule, planted):
    box = planted(["/payload", "pause"])
    capsule.run(box, "--detach")
    result = spoilt(capsule, "import").exec(box, "/payload", "exit", "0", rc=255)
    assert "Traceback" not in result.err
    assert executed(box) == []


def test_an_exception_nobody_expects_is_one_line_and_loads_nothing(capsule, planted):
    box = planted(["/payload", "exit", "0"])
    result = spoilt(capsule, "raise").run(box, rc=1, cwd=box.rootfs)
    assert "Traceback" not in result.err
    assert "a mistake" in result.err
    assert executed(box) == []
    assert not capsule.exists(box)
