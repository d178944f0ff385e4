"""The six kinds of hooks: order, state, environment, and what a failure of each means."""

from __future__ import annotations

import json
import os

import pytest
from helpers import process
from helpers.process import is_alive
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
ON_CREATE = KINDS[:3]
STATUS = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
          "startContainer": "created", "poststart": "running", "poststop": "stopped"}


def own(kinds, **reasons):
    """Return the kinds as parameters, those with a reason as ones in which runc differs."""
    return [pytest.param(kind, marks=pytest.mark.rival(runc=reasons[kind])) if kind in reasons else kind
            for kind in kinds]


class Log:
    """A directory that has the same path on the host and in the container."""

    def __init__(self, path, payload):
        self.path = path
        self.payload = str(payload)
        path.mkdir()

    def bundle(self, box):
        return box.bind(self.path, str(self.path))

    def program(self, kind):
        """Return the payload's path as a hook of this kind sees it."""
        return "/payload" if kind == "startContainer" else self.payload

    def append(self, box, kind, text="", status=0, **fields):
        argv = [self.program(kind), "append", str(self.path / "log"), text or kind, str(status)]
        return box.hook(kind, *argv, **fields)

    def record(self, box, kind, **fields):
        return box.hook(kind, self.program(kind), "record", str(self.path / kind), **fields)

    def recorded(self, kind):
        state, facts = json.loads((self.path / kind).read_text())
        return json.loads(state), facts

    @property
    def lines(self):
        path = self.path / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def log(workdir, payload):
    return Log(workdir / "log", payload)


@pytest.mark.row(150, 158)
@pytest.mark.rival(runc="1.1.5 runs poststart hooks in create")
def test_hooks_run_once_each_and_in_order(capsule, bundle, log):
    box = log.bundle(bundle(["/payload", "pause"]))
    for kind in KINDS:
        log.append(box, kind)
    capsule.create(box)
    assert log.lines == ON_CREATE
    capsule.start(box)
    assert log.lines == KINDS[:5]
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    capsule.delete(box)
    assert log.lines == KINDS


@pytest.mark.row(150)
def test_hooks_of_one_kind_run_in_their_order(capsule, bundle, log):
    box = log.bundle(bundle(["/payload", "exit", "0"]))
    for number in range(5):
        log.append(box, "createRuntime", str(number))
    capsule.run(box)
    assert log.lines == list("01234")


@pytest.mark.row(150)
def test_a_foreground_run_runs_all_hooks(capsule, bundle, log):
    box = log.bundle(bundle(["/payload", "exit", "7"]))
    for kind in KINDS:
        log.append(box, kind)
    capsule.run(box, rc=7)
    assert sorted(log.lines) == sorted(KINDS)


@pytest.mark.row(153)
@pytest.mark.parametrize("kind", own(KINDS, poststart="1.1.5 says created"))
def test_a_hook_reads_the_state_on_stdin(capsule, bundle, log, kind):
    box = log.record(log.bundle(bundle(["/payload", "pause"])), kind)
    box.config["annotations"] = {"org.example.key": "value"}
    capsule.create(box)
    pid = capsule.pid(box)
    capsule.start(box)
    capsule.kill(box, "KILL")
    capsule.wait_status(box, "stopped")
    capsule.delete(box)
    state, _ = log.recorded(kind)
    assert (state["id"], state["bundle"]) == (box.id, str(box.path))
    assert state["status"] == STATUS[kind]
    assert state["annotations"]["org.example.key"] == "value"
    if kind in ("prestart", "createRuntime", "poststart"):
        assert state["pid"] == pid


@pytest.mark.row(150)
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_runtime_hooks_run_in_the_runtimes_namespaces(capsule, bundle, log, kind):
    box = log.record(log.bundle(bundle(["/payload", "exit", "0"])), kind)
    capsule.run(box)
    _, facts = log.recorded(kind)
    for name in ("mnt", "pid", "net", "uts", "ipc"):
        assert facts["ns"][name] == os.stat(f"/proc/self/ns/{name}").st_ino


@pytest.mark.row(150)
def test_create_container_hooks_run_in_the_containers_namespaces(capsule, bundle, log):
    box = log.record(log.bundle(bundle(["/payload", "pause"])), "createContainer")
    capsule.create(box)
    _, facts = log.recorded("createContainer")
    pid = capsule.pid(box)
    for name in ("mnt", "net", "uts", "ipc"):
        assert facts["ns"][name] == os.stat(f"/proc/{pid}/ns/{name}").st_ino


@pytest.mark.row(150)
def test_start_container_hooks_run_in_the_container(capsule, bundle, log):
    box = log.record(log.bundle(bundle(["/payload", "pause"])), "startContainer")
    capsule.create(box)
    assert not (log.path / "startContainer").exists()
    capsule.start(box)
    _, facts = log.recorded("startContainer")
    pid = capsule.pid(box)
    for name in ("mnt", "net", "uts", "ipc", "pid"):
        assert facts["ns"][name] == os.stat(f"/proc/{pid}/ns/{name}").st_ino


@pytest.mark.row(152)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_has_the_environment_it_lists(capsule, bundle, log, kind):
    box = log.bundle(bundle(["/payload", "exit", "0"])).env("LD_PRELOAD=/evil.so", "FROM=image")
    log.record(box, kind, env=["ONE=1", "TWO=2"])
    capsule.run(box, env={"PATH": "/bin:/usr/bin", "SECRET": "host"})
    assert sorted(log.recorded(kind)[1]["env"]) == ["ONE=1", "TWO=2"]


@pytest.mark.row(152)
@pytest.mark.parametrize("kind", own([kind for kind in KINDS if kind != "startContainer"],
                                     createContainer="1.1.5 hands it on"))
def test_a_hook_of_the_host_never_has_the_containers_environment(capsule, bundle, log, kind):
    box = log.bundle(bundle(["/payload", "exit", "0"])).env("LD_PRELOAD=/evil.so", "FROM=image")
    log.record(box, kind)
    capsule.run(box)
    names = {entry.split("=")[0] for entry in log.recorded(kind)[1]["env"]}
    assert not names & {"LD_PRELOAD", "FROM", "HOME"}


@pytest.mark.parametrize("kind", own(KINDS, createContainer="1.1.5 hands its own on"))
def test_a_hook_has_stdio_and_nothing_more(capsule, bundle, log, payload, kind):
    box = log.record(log.bundle(bundle(["/payload", "exit", "0"])), kind)
    capsule.run(box, scene=[str(payload), "host", "directories", "5"])
    fds = [entry["fd"] for entry in log.recorded(kind)[1]["fds"]]
    assert fds == [0, 1, 2]


@pytest.mark.row(152)
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_are_passed_verbatim(capsule, bundle, log, kind):
    box = log.bundle(bundle(["/payload", "exit", "0"]))
    path = str(log.path / "log")
    box.hook(kind, log.program(kind))
    box.config["hooks"][kind][0]["args"] = ["another-name", "append", path, " a  b "]
    capsule.run(box)
    assert log.lines == [" a  b "]


@pytest.mark.row(154)
@pytest.mark.parametrize("kind", [
    pytest.param(k, marks=pytest.mark.rival(runc="1.1.5 runs no poststop hooks then"))
    for k in ON_CREATE])
def test_a_failing_create_hook_destroys_the_container(capsule, bundle, log, kind):
    box = log.bundle(bundle(["/payload", "pause"]))
    log.append(box, kind, "one")
    log.append(box, kind, "two", status=3)
    log.append(box, kind, "three")
    log.append(box, "poststop")
    err = capsule.create(box, rc=1).err
    assert kind in err
    assert not capsule.exists(box)
    assert log.lines == ["one", "two", "poststop"]


@pytest.mark.row(154, 172)
@pytest.mark.parametrize("kind", ON_CREATE)
def test_the_id_is_free_after_a_failing_create_hook(capsule, bundle, log, kind):
    box = log.append(log.bundle(bundle(["/payload", "pause"])), kind, status=1)
    for _ in range(3):
        capsule.create(box, rc=1)
    del box.config["hooks"]
    capsule.create(box)


@pytest.mark.row(150)
@pytest.mark.rival(runc="1.1.5 start does not wait for it")
def test_a_failing_start_container_hook_fails_start(capsule, bundle, log):
    box = log.bundle(bundle().shell(f"echo ran >> {log.path}/log"))
    log.append(box, "startContainer", "hook", status=3)
    capsule.create(box)
    assert "startContainer" in capsule.start(box, rc=FAILS).err
    capsule.wait_status(box, "stopped")
    assert log.lines == ["hook"]


@pytest.mark.row(155)
@pytest.mark.rival(runc="1.1.5 leaves the container running")
def test_a_failing_poststart_hook_stops_the_container(capsule, bundle, log):
    box = log.append(log.bundle(bundle(["/payload", "pause"])), "poststart", status=3)
    capsule.create(box)
    pid = capsule.pid(box)
    assert "poststart" in capsule.start(box, rc=FAILS).err
    wait_until(lambda: not is_alive(pid))


@pytest.mark.row(156, 176)
@pytest.mark.rival(runc="1.1.5 stops at the first and fails")
def test_a_failing_poststop_hook_is_a_warning(capsule, bundle, log):
    box = log.bundle(bundle(["/payload", "pause"]))
    log.append(box, "poststop", "one", status=1)
    log.append(box, "poststop", "two")
    capsule.create(box)
    assert "poststop" in capsule.delete(box, "--force").err
    assert log.lines == ["one", "two"]
    assert not capsule.exists(box)


@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_hook_that_cannot_be_executed_fails(capsule, bundle, kind):
    box = bundle(["/payload", "exit", "0"]).hook(kind, "/no/such/hook")
    assert "no such file or directory" in capsule.run(box, rc=FAILS).err.lower()
    assert not capsule.exists(box)


@pytest.mark.row(157)
@pytest.mark.parametrize("kind", [*ON_CREATE, "poststart"])
def test_what_a_failing_hook_said_is_shown(capsule, bundle, kind):
    box = bundle(["/payload", "pause"])
    box.hook(kind, "/bin/busybox", "sh", "-c", "echo first; echo second >&2; exit 3")
    err = capsule.run(box, "--detach", rc=FAILS).err
    assert "exit status 3" in err and "first" in err and "second" in err


@pytest.mark.row(157)
@pytest.mark.rival(runc="prints all of it", crun="lets it through to the caller's", strict=False)
def test_a_hook_that_talks_without_end_neither_blocks_nor_fills_the_line(capsule, bundle):
    """More than a pipe holds, in both processes that run hooks; one line is shown, the end of it."""
    box = bundle(["/payload", "exit", "0"])
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3"
    for kind in ("createContainer", "createRuntime"):
        box.config["hooks"] = {}
        box.hook(kind, "/bin/busybox", "sh", "-c", script)
        line = one_line(capsule.run(box, rc=FAILS, timeout=60))
        assert "line 19999" in line and "line 10000" not in line


@pytest.mark.row(157)
@pytest.mark.parametrize("kind", ON_CREATE)
def test_a_child_that_a_hook_leaves_behind_is_not_waited_for(capsule, bundle, kind):
    box = bundle(["/payload", "exit", "4"])
    box.hook(kind, "/bin/busybox", "sh", "-c", "sleep 5 & exit 0")
    result = capsule.run(box, rc=4)
    assert result.seconds < 4

    def gone() -> bool:
        process.reap_orphans()
        return not process.strangers()
    wait_until(gone, 10)


@pytest.mark.row(157)
def test_a_hook_that_succeeds_says_nothing_to_the_caller(capsule, bundle):
    """Its output is neither the container's nor the runtime's."""
    box = bundle(["/payload", "exit", "0"])
    for kind in (*ON_CREATE, "poststart", "poststop"):
        box.hook(kind, "/bin/busybox", "echo", "said")
    result = capsule.run(box)
    assert (result.out, result.err) == ("", "")


@pytest.mark.row(151)
@pytest.mark.parametrize("kind", own(KINDS[:5], startContainer="1.1.5 run -d does not wait"))
def test_a_hook_past_its_timeout_is_killed(capsule, bundle, log, kind):
    program = "/bin/sleep" if kind == "startContainer" else "/bin/busybox"
    argv = [program, "101"] if kind == "startContainer" else [program, "sleep", "101"]
    box = bundle(["/payload", "pause"]).hook(kind, *argv, timeout=1)
    result = capsule.run(box, "--detach", rc=FAILS, timeout=15)
    assert result.seconds < 10


@pytest.mark.parametrize("fields", [{"timeout": 0}, {"timeout": -1}, {"path": "relative"}, {"path": ""}])
def test_a_hook_that_the_specification_forbids_is_refused(capsule, bundle, log, fields):
    box = bundle(["/payload", "exit", "0"]).hook("createRuntime", "/bin/true")
    box.config["hooks"]["createRuntime"][0].update(fields)
    capsule.run(box, rc=1)


@pytest.mark.row(150)
def test_a_hook_may_change_the_containers_network(capsule, bundle, log):
    """Engines set up the network in createRuntime through /proc/PID/ns of the state's pid."""
    script = ('read -r state; pid=${state#*\\"pid\\":}; pid=${pid%%[,\\}]*}; pid=$(echo $pid);'
              "exec nsenter --net=/proc/$pid/ns/net ip link set lo mtu 1234")
    box = bundle().hook("createRuntime", "/bin/sh", "-c", script, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    box.shell("ip -o link show lo")
    assert "mtu 1234" in capsule.run(box).out
