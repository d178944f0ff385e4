"""The caller's surroundings: environment, stdio, directory and bundle may be missing or odd."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import stat

import pytest
from helpers.requires import requires
from helpers.runtime import FAILS

pytestmark = requires("root", "runtime", "busybox", "gcc")

CLOSED = ["0", "1", "2", "0,1", "1,2", "0,1,2"]


def life(capsule, box, *, prints=0, **how):
    """Take a container through all verbs; `prints` is the status of those that print a document."""
    capsule.create(box, **how)
    capsule.start(box, **how)
    capsule.call("state", box.id, rc=prints, **how)
    capsule.exec(box, "/payload", "exit", "3", rc=3, **how)
    capsule.list(rc=prints, **how)
    capsule.ps(box, "--format", "json", rc=prints, **how)
    capsule.kill(box, "KILL", **how)
    capsule.wait_status(box, "stopped")
    capsule.delete(box, **how)


def test_every_verb_works_with_an_empty_environment(capsule, bundle):
    life(capsule, bundle(["/payload", "pause"]), env={})


@pytest.mark.parametrize("fds", CLOSED)
def test_every_verb_works_with_closed_stdio(capsule, bundle, payload, fds):
    life(capsule, bundle(["/payload", "pause"]), scene=[str(payload), "host", "closed", fds],
         prints=None if "1" in fds else 0)


@pytest.mark.parametrize("fds", [
    "1", *(pytest.param(fds, marks=pytest.mark.rival(runc="hands on a descriptor of its own"))
           for fds in CLOSED if fds != "1")])
def test_a_program_of_a_caller_with_closed_stdio_gets_dev_null(capsule, bundle, payload, workdir, fds):
    box = bundle(["/payload", "record", "/data/facts"])
    capsule.run(box, scene=[str(payload), "host", "closed", fds])
    _, facts = json.loads((box.rootfs / "data/facts").read_text())
    by_number = {entry["fd"]: entry for entry in facts["fds"]}
    assert set(by_number) == {0, 1, 2}
    for number in map(int, fds.split(",")):
        if number != 1:  # `record` has put its file there
            assert by_number[number]["rdev"] == os.makedev(1, 3)


@pytest.mark.parametrize("where", ["/", "/proc/self/fd", "deleted"])
def test_every_verb_works_in_any_directory(capsule, bundle, workdir, where):
    box = bundle(["/payload", "pause"])
    if where == "deleted":
        (workdir / "gone").mkdir()
        shell = ["/bin/sh", "-c", f'cd {workdir}/gone; rmdir {workdir}/gone 2>/dev/null; exec "$@"', "-"]
        capsule.create(box, scene=shell)
        (workdir / "gone").mkdir()
        capsule.start(box, scene=shell)
        capsule.delete(box, "--force")
    else:
        life(capsule, box, cwd=where)


@pytest.mark.rival(runc="1.1.5 exec reads the bundle")
def test_start_kill_state_and_delete_work_when_the_bundle_is_gone(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    (box.path / "config.json").unlink()
    capsule.start(box)
    assert capsule.status(box) == "running"
    capsule.exec(box, "/payload", "exit", "3", rc=3)
    shutil.rmtree(box.path)
    assert capsule.status(box) == "running"
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    capsule.delete(box)


@pytest.mark.rival(runc="its fifo is writable for all")
def test_the_umask_of_the_caller_does_not_open_the_state(capsule, bundle, payload):
    box = bundle(["/payload", "pause"])
    capsule.create(box, scene=[str(payload), "host", "umask", "000"])
    for parent, directories, files in os.walk(capsule.root):
        for name in [*directories, *files]:
            mode = os.lstat(os.path.join(parent, name)).st_mode
            if not stat.S_ISLNK(mode):
                assert stat.S_IMODE(mode) & 0o022 == 0, f"{name}: {stat.filemode(mode)}"


def test_the_root_may_be_a_long_path(capsule, bundle, workdir):
    """A socket name ends at 107 bytes: paths of sockets must not depend on the root's length."""
    capsule.root = workdir / ("long-" * 20) / ("longer-" * 20)
    capsule.root.mkdir(parents=True)
    life(capsule, bundle(["/payload", "pause"]))


def test_a_root_that_does_not_exist_is_made_by_create_only(capsule, bundle):
    assert capsule.list("-q", rc=None).out == ""
    assert not capsule.root.exists() or os.listdir(capsule.root) == []
    capsule.create(bundle(["/payload", "pause"]))
    assert capsule.root.is_dir()


def test_the_runtime_leaves_the_container_to_its_own_parent(capsule, bundle):
    """Engines adopt the container's first process as subreapers: here this test is one."""
    pid = capsule.start_container(bundle(["/payload", "pause"]))
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    assert parent == os.getpid()


def test_no_process_of_the_runtime_stays_after_create(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.create(box)
    pids = capsule.ps(box, "--format", "json").json
    assert pids == [capsule.pid(box)]


def test_a_container_in_created_holds_no_file_of_the_host(capsule, bundle, payload):
    box = bundle(["/payload", "pause"])
    capsule.create(box, scene=[str(payload), "host", "directories", "10"])
    links = [os.readlink(f"/proc/{capsule.pid(box)}/fd/{name}")
             for name in os.listdir(f"/proc/{capsule.pid(box)}/fd")]
    kinds = ("/dev/null", "anon_inode:", "socket:", "pipe:", "/memfd:", str(capsule.workdir))
    strangers = [link for link in links if not link.startswith(kinds)
                 and link not in ("/", "/proc") and not link.endswith("exec.fifo")]
    assert strangers == []


@pytest.mark.parametrize("text", ["text", "json"])
def test_an_error_is_logged_as_asked_for(capsule, bundle, workdir, text):
    box = bundle(["no-such-program"])
    log = workdir / "log"
    directory = box.write()
    capsule.call("--log", log, "--log-format", text, "create", "--bundle", directory, box.id, rc=1)
    assert not capsule.exists(box)
    lines = log.read_text().splitlines()
    if text == "text":
        assert "level=error" in lines[-1]
        return
    record = json.loads(lines[-1])
    assert record["level"] == "error"
    assert "executable file not found in $PATH" in record["msg"]
    datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))


def test_version_has_the_lines_engines_read(capsule):
    lines = capsule.call("--version", root=False).out.splitlines()
    assert "version" in lines[0]
    assert any(line.startswith("spec:") for line in lines)


def test_spec_writes_a_bundle_that_runs(capsule, bundle, workdir):
    box = bundle()
    capsule.call("spec", cwd=box.path)
    config = json.loads((box.path / "config.json").read_text())
    assert (config["process"]["terminal"], config["root"]) == (True, {"path": "rootfs", "readonly": True})
    config["process"].update(terminal=False, args=["/payload", "exit", "9"])
    box.config = config
    capsule.run(box, rc=9)


def test_spec_does_not_overwrite(capsule, workdir):
    (workdir / "config.json").write_text("{}")
    capsule.call("spec", cwd=workdir, rc=1)
    assert (workdir / "config.json").read_text() == "{}"


@pytest.mark.rival(runc="1.1.5 has no cgroup2 features here", crun="1.8.1 has no such command")
def test_features_is_a_document(capsule):
    found = capsule.call("features", root=False).json
    assert {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"} <= set(found)
    assert set(found["linux"]["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time",
                                                 "user", "uts"}


@pytest.mark.parametrize("words", [["no-such-command"], ["create"], ["start"], ["state"],
                                   ["create", "--no-such-flag", "x"], ["kill"], ["delete", "--nope", "x"]])
def test_a_command_line_that_is_wrong_is_an_error(capsule, words, workdir):
    capsule.call(*words, cwd=workdir, rc=FAILS)
