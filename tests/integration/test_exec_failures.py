"""Why a program or a working directory was refused: the kernel's words, which engines know, and the reason."""

from __future__ import annotations

import json
import os
import struct

import pytest
from helpers.runtime import one_line

pytestmark = [
    pytest.mark.requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="does not say the reason", crun="does not say the reason", strict=False),
]

NATIVE = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
STRANGE = 88  # M32R: no binfmt_misc handler is shipped for it


def elf(machine: int = NATIVE, loader: str = "", kind: int = 2) -> bytes:
    """Return the beginning of a 64-bit ELF file, with one program header where it names a loader."""
    name = loader.encode() + b"\0"
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, 0x400000, 64, 0, 0, 64, 56, 1 if loader else 0, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name if loader else head


CASES = {
    "interpreter": ("#!/opt/missing -x\n", "no such file or directory",
                    "the interpreter /opt/missing of /prog is missing in the container"),
    "carriage-return": ("#!/bin/sh\r\necho\r\n", "no such file or directory",
                        "the #! line of /prog ends in a carriage return"),
    "interpreter-is-a-directory": ("#!/bin\n", "permission denied", "the interpreter /bin of /prog is a directory"),
    "loader": (elf(loader="/lib/ld-none.so.1"), "no such file or directory",
               "the ELF loader /lib/ld-none.so.1 of /prog is missing in the container"),
    "machine": (elf(STRANGE), "exec format error", f"/prog is for machine 88, this machine is {os.uname().machine}"),
    "object-file": (elf(kind=1), "exec format error", "/prog is an ELF file, but not a program"),
    "text": ("echo hello\n", "exec format error", "/prog has neither an ELF header nor a #! line"),
    "empty": ("", "exec format error", "/prog is empty"),
    "no-name": ("#!\n", "exec format error", "/prog has a #! line without an interpreter"),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture
def box(capsule, bundle):
    made = bundle(["/payload", "pause"])
    capsule.start_container(made)
    return made


def test_run_says_why(capsule, bundle, case):
    content, word, reason = case
    line = one_line(capsule.run(bundle(["/prog"]).file("/prog", content, 0o755), rc=1))
    assert line.startswith(f"exec /prog: {word} (") and reason in line


def test_start_says_why_and_leaves_a_stopped_container(capsule, bundle, case):
    content, word, reason = case
    made = bundle(["/prog"]).file("/prog", content, 0o755)
    capsule.create(made)
    line = one_line(capsule.start(made, rc=1))
    assert line.startswith(f"exec /prog: {word} (") and reason in line
    assert capsule.status(made) == "stopped"


def test_exec_says_why(capsule, box, case):
    content, word, reason = case
    box.file("/prog", content, 0o755)
    line = one_line(capsule.exec(box, "/prog", rc=255))
    assert line.startswith(f"exec /prog: {word} (") and reason in line


def test_the_program_is_named_as_path_finds_it(capsule, bundle):
    box = bundle(["prog"]).file("/usr/bin/prog", "#!/missing\n", 0o755)
    assert "the interpreter /missing of /usr/bin/prog is missing" in one_line(capsule.run(box, rc=1))


def test_an_interpreter_of_an_interpreter_is_followed(capsule, bundle):
    box = bundle(["/one"]).file("/one", "#!/two\n", 0o755).file("/two", "#!/three\n", 0o755)
    assert "the interpreter /three of /two is missing" in one_line(capsule.run(box, rc=1))


def test_what_is_missing_is_looked_for_in_the_container(capsule, bundle):
    """The host has /bin/bash or the like; only the container's files count."""
    box = bundle(["/prog"]).file("/prog", "#!/lnk\n", 0o755).symlink("/lnk", "/etc/hostname-of-nobody")
    assert "the interpreter /lnk of /prog is missing in the container" in one_line(capsule.run(box, rc=1))


def test_a_user_without_the_x_bit(capsule, bundle):
    box = bundle(["/prog"]).user(1000, 1000).file("/prog", "#!/bin/sh\n", 0o700)
    line = one_line(capsule.run(box, rc=1))
    assert line.startswith("exec /prog: permission denied (")
    assert "not executable by uid 1000, gid 1000: it has mode 0700, owner 0:0" in line


def test_a_user_who_may_not_search_a_directory(capsule, bundle):
    box = bundle(["/shut/prog"]).user(1000, 1000).file("/shut/prog", "#!/bin/sh\n", 0o755)
    (box.rootfs / "shut").chmod(0o700)
    line = one_line(capsule.run(box, rc=1))
    assert "permission denied" in line
    assert "uid 1000, gid 1000 may not enter /shut, which has mode 0700" in line


def test_a_noexec_mount(capsule, bundle, workdir):
    source = workdir / "volume"
    source.mkdir()
    (source / "prog").write_text("#!/bin/sh\n")
    (source / "prog").chmod(0o755)
    box = bundle(["/data/prog"]).bind(source, "/data", "rbind", "noexec")
    line = one_line(capsule.run(box, rc=1))
    assert line.startswith("exec /data/prog: permission denied (") and "/data/prog lies on a noexec mount" in line


def test_a_program_in_a_user_namespace_is_judged_by_the_ids_it_has_there(capsule, bundle):
    box = bundle(["/prog"]).user(1000, 1000).file("/prog", "#!/bin/sh\n", 0o700).user_namespace()
    line = one_line(capsule.run(box, rc=1))
    assert "not executable by uid 101000, gid 101000: it has mode 0700, owner 100000:100000" in line


def test_a_working_directory_that_exec_does_not_find(capsule, box):
    line = one_line(capsule.exec(box, "/bin/true", flags=["--cwd", "/no/where"], rc=255))
    assert "chdir to cwd" in line and "no such file or directory (/no is missing in the container)" in line


def test_a_working_directory_that_is_a_file(capsule, box):
    line = one_line(capsule.exec(box, "/bin/true", flags=["--cwd", "/etc/passwd"], rc=255))
    assert "not a directory (/etc/passwd is not a directory)" in line


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_no_special_file_is_opened(capsule, box, kind):
    """A fifo would hold us, a device could do anything: only regular files are read."""
    path = box.rootfs / "special"
    os.mkfifo(path, 0o755) if kind == "fifo" else os.mknod(path, 0o020755, os.makedev(1, 3))
    box.file("/prog", "#!/special\n", 0o755)
    line = one_line(capsule.exec(box, "/prog", rc=255))
    assert "permission denied" in line and "the interpreter /special of /prog is not a regular file" in line


def test_names_of_the_image_cannot_break_the_line(capsule, box):
    box.file("/prog", b"#!/mis\x1b[31msing\n", 0o755)
    assert "/mis\\x1b[31msing of /prog is missing" in one_line(capsule.exec(box, "/prog", rc=255))


def test_names_of_the_image_cannot_drive_a_terminal(capsule, box):
    """C1 controls, marks of direction and bytes that are no text, which a terminal in UTF-8 mode may act on."""
    box.file("/prog", b"#!/\xc2\x9b31m\xe2\x80\xae\xff\n", 0o755)
    assert "/\\x9b31m\\u202e\\udcff of /prog is missing" in one_line(capsule.exec(box, "/prog", rc=255))


@pytest.mark.parametrize("field", ["e_phoff", "p_offset", "p_filesz"])
@pytest.mark.parametrize("value", [1 << 63, (1 << 64) - 1])
def test_numbers_that_no_file_offset_can_be_cost_only_the_reason(capsule, bundle, box, field, value):
    content = bytearray(elf(loader="/lib/ld-none.so.1"))
    struct.pack_into("<Q", content, {"e_phoff": 32, "p_offset": 72, "p_filesz": 96}[field], value)
    for made in (box, bundle(["/prog"])):
        made.file("/prog", bytes(content), 0o755)
    words = ("exec /prog: exec format error", "exec /prog: invalid argument")
    assert one_line(capsule.exec(box, "/prog", rc=255)).startswith(words)
    assert one_line(capsule.run(made, rc=1)).startswith(words)


@pytest.mark.parametrize("name, words", [
    ("nothing", "executable file not found in $PATH"), ("/no", "stat /no: no such file or directory"),
    ("/etc", "is a directory: permission denied"), ("/etc/passwd", "permission denied"),
])
def test_the_words_of_the_lookup_stay(capsule, box, workdir, name, words):
    log = workdir / "log"
    capsule.call("--log", log, "--log-format", "json", "exec", box.id, name, rc=255)
    message = json.loads(log.read_text())["msg"]
    assert message.startswith(f'exec: "{name}": ') and message.endswith(words)
