"""S-01, S-04..S-06: descriptors and directories of the host that a container must never hold."""

from __future__ import annotations

import os
import stat

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc")


def inside(facts) -> bool:
    """Tell whether the working directory the kernel names is one of the container."""
    return facts["cwd"] is not None and facts["cwd"].startswith("/")


def cwd_paths():
    for number in range(0, 40):
        yield f"/proc/self/fd/{number}"
    for number in (3, 5, 7, 9, 12):
        yield f"/proc/self/fd/{number}/../../.."
        yield f"/proc/1/fd/{number}"
        yield f"/proc/thread-self/fd/{number}"
        yield f"/proc/self/fd/{number}/./"


@pytest.fixture
def leaky(payload):
    """A caller that leaves 20 directories of the host open in descriptors 3 to 22."""
    return [str(payload), "host", "directories", "20"]


def test_no_directory_of_the_host_is_reached_by_the_cwd(capsule, bundle, leaky):
    """CVE-2024-21626: each is refused, or names a directory of the container."""
    for path in cwd_paths():
        box = bundle(["/payload", "probe"])
        box.process["cwd"] = path
        result = capsule.run(box, scene=leaky, rc=None)
        assert result.rc != 0 or inside(result.json), f"{path}: {result!r}"
        assert result.rc in (0, 1), repr(result)


def test_no_directory_of_the_host_is_reached_by_the_cwd_of_exec(capsule, bundle, leaky):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    for path in cwd_paths():
        result = capsule.exec(box, "/payload", "probe", flags=["--cwd", path], scene=leaky, rc=None)
        assert result.rc != 0 or inside(result.json), f"{path}: {result!r}"


@pytest.mark.parametrize("number", [3, 7, 10, 15])
def test_a_symlink_of_the_image_leads_to_no_descriptor(capsule, bundle, leaky, number):
    box = bundle(["/payload", "probe"]).symlink("/way", f"/proc/self/fd/{number}")
    box.process["cwd"] = "/way"
    result = capsule.run(box, scene=leaky, rc=None)
    assert result.rc != 0 or inside(result.json), repr(result)


@pytest.mark.parametrize("number", [3, 7, 10, 15])
def test_no_program_of_the_host_is_reached(capsule, bundle, leaky, number):
    for path in (f"/proc/self/fd/{number}/usr/bin/env", f"/proc/self/fd/{number}", "/proc/self/exe"):
        box = bundle([path, "probe"])
        result = capsule.run(box, scene=leaky, rc=FAILS)
        assert "Traceback" not in result.err


def test_a_caller_that_leaks_hands_nothing_on(capsule, bundle, leaky):
    facts = capsule.probe(bundle(), scene=leaky)
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]


def test_a_false_list_of_descriptors_hides_none(capsule, bundle, leaky):
    """S-05: the image's /proc is a plain directory with a fd/ of its own."""
    box = bundle().without_mount("/proc").edit(lambda c: c["linux"].update(maskedPaths=[], readonlyPaths=[]))
    for number in range(3, 8):
        box.file(f"/proc/self/fd/{number}")
    result = capsule.run(box.args("/payload", "probe"), scene=leaky, rc=None)
    assert result.rc != 0 or [entry["fd"] for entry in result.json["fds"]] == [0, 1, 2]


def test_the_waiting_process_holds_no_directory_of_the_host(capsule, bundle, leaky):
    box = bundle(["/payload", "pause"])
    capsule.create(box, scene=leaky)
    pid = capsule.pid(box)
    host = os.stat("/")
    for name in os.listdir(f"/proc/{pid}/fd"):
        info = os.stat(f"/proc/{pid}/fd/{name}")
        assert (info.st_dev, info.st_ino) != (host.st_dev, host.st_ino), name
        if stat.S_ISDIR(info.st_mode):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            assert target in ("/", "/proc"), target  # a procfs that nobody has mounted


def test_the_working_directory_of_the_waiting_process_is_the_containers(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pid = capsule.pid(box)
    root, cwd = os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{pid}/cwd")
    assert (cwd.st_dev, cwd.st_ino) == (root.st_dev, root.st_ino)
    assert os.path.samestat(root, os.stat(box.rootfs))


def test_the_callers_null_device_keeps_its_owner(capsule, bundle):
    """S-26: /dev/null as stdio of an exec by another user must not be given to that user."""
    before = os.stat("/dev/null")
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    capsule.exec(box, "/payload", "exit", "0", flags=["--user", "1000:1000"], stdin=None)
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


def test_the_callers_file_keeps_its_owner(capsule, bundle, workdir):
    box = bundle(["/payload", "cat"]).user(1000, 1000)
    (workdir / "input").write_bytes(b"text")
    with open(workdir / "input", "rb") as source:
        assert capsule.run(box, stdin=source.fileno()).raw == b"text"
    assert os.stat(workdir / "input").st_uid == 0


def test_the_runtimes_program_cannot_be_written_from_a_container(capsule, bundle, workdir):
    """S-03, CVE-2019-5736: a program that is #!/proc/self/exe runs a sealed copy at most."""
    path = os.path.realpath(capsule.argv[0])
    before = os.stat(path)
    box = bundle(["/data/script"]).file("/data/script", "#!/proc/self/exe\n", 0o755)
    capsule.run(box, rc=None)
    box = bundle(["/payload", "try", "open-rw", "/proc/1/exe", "write", "/proc/1/exe"])
    capsule.run(box)
    after = os.stat(path)
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)


def test_exec_runs_no_program_of_the_host_either(capsule, bundle):
    box = bundle(["/payload", "pause"]).file("/data/script", "#!/proc/self/exe\n", 0o755)
    capsule.start_container(box)
    capsule.exec(box, "/data/script", rc=FAILS)
    capsule.exec(box, "/proc/self/exe", "probe", rc=FAILS)
