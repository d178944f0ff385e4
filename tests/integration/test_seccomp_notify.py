"""Calls that an agent outside answers: who it is told they are of, what it decides, and nothing ever waits for ever."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
from helpers.agent import Agent
from helpers.requires import requires
from helpers.runtime import FAILS, one_line
from helpers.wait import wait_until

pytestmark = [requires("root", "runtime", "busybox", "gcc"),
              pytest.mark.rival(crun="1.8.1 sends the listener from the container's create", strict=False),
              pytest.mark.rival(runc="1.1.5 refuses notify on write, and as the default", strict=False)]

ALLOW, NOTIFY = "SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"
MKDIR, WRITE, EXECVE = 83, 1, 59  # x86-64


def watched(box, path, *names: str, **fields):
    """Have an agent answer calls."""
    return box.seccomp(ALLOW, {"names": list(names), "action": NOTIFY}, listenerPath=str(path), **fields)


@pytest.fixture
def place(workdir):
    return workdir / "agent.sock"


@pytest.mark.row(120, 128)
@pytest.mark.parametrize("nnp", [True, False])
def test_the_agent_answers_and_the_container_goes_on(capsule, bundle, place, nnp):
    """mkdir is refused by the agent with an errno of its own; write, which everybody needs, is let through."""
    box = watched(bundle(["/payload", "syscall", str(MKDIR), "0"]), place, "mkdir", "write")
    box.process["noNewPrivileges"] = nnp
    with Agent(place, lambda call, pid: errno.ENOTUNIQ if call == MKDIR else 0) as agent:
        assert capsule.run(box).json == {"errno": errno.ENOTUNIQ}
    assert MKDIR in agent.calls and WRITE in agent.calls


@pytest.mark.row(128, 129)
def test_the_agent_is_told_whose_listener_it_has(capsule, bundle, place):
    box = watched(bundle(["/payload", "pause"]), place, "mkdir", listenerMetadata='{"any": "thing\u00e4"}')
    box.config["annotations"] = {"org.example.key": "value"}
    with Agent(place) as agent:
        capsule.create(box)
        pid = capsule.pid(box)
        assert agent.states == []
        capsule.start(box)
        wait_until(lambda: agent.states)
    assert agent.connections == 1 and agent.first_messages == [1]
    assert agent.states == [{
        "ociVersion": box.config["ociVersion"], "fds": ["seccompFd"], "pid": pid, "metadata": '{"any": "thing\u00e4"}',
        "state": {"ociVersion": box.config["ociVersion"], "id": box.id, "status": "created", "pid": pid,
                  "bundle": str(box.path), "annotations": {"org.example.key": "value"}},
    }]


@pytest.mark.row(128, 131)
def test_an_exec_has_a_listener_and_a_state_of_its_own(capsule, bundle, place, workdir):
    box = watched(bundle(["/payload", "pause"]), place, "mkdir")
    with Agent(place, lambda call, pid: errno.EDOM if call == MKDIR else 0) as agent:
        pid = capsule.start_container(box)
        found = capsule.exec(box, "/payload", "syscall", str(MKDIR), "0")
        assert found.json == {"errno": errno.EDOM}
        pid_file = workdir / "pid"
        capsule.exec(box, "/payload", "pause", flags=["--detach", "--pid-file", pid_file])
        wait_until(lambda: len(agent.states) == 3)
    third = agent.states[2]
    assert third["pid"] == int(pid_file.read_text())
    assert (third["state"]["pid"], third["state"]["status"]) == (pid, "running")
    assert "metadata" not in third


@pytest.mark.row(128)
def test_the_tail_of_a_joined_pid_namespace_has_its_own_pid(capsule, bundle, place):
    """There the process that R made is not the one that runs the program."""
    first = bundle(["/payload", "pause"])
    pid = capsule.start_container(first)
    box = watched(bundle(["/payload", "pause"]), place, "mkdir").namespace("pid", f"/proc/{pid}/ns/pid")
    with Agent(place) as agent:
        second = capsule.start_container(box)
        wait_until(lambda: agent.states)
    assert (agent.states[0]["pid"], agent.states[0]["state"]["pid"]) == (second, second)


@pytest.mark.row(130)
@pytest.mark.parametrize("nnp", [True, False])
@pytest.mark.parametrize("default", [ALLOW, NOTIFY], ids=["every call named", "the default"])
def test_calls_that_the_runtime_still_makes_are_answered_too(capsule, bundle, place, nnp, default):
    """Whatever comes between the filter and the program waits for the agent, which has its listener by then."""
    names = ["execve", "write", "sendmsg", "sendto", "close", "close_range", "prctl", "capset", "capget", "mmap",
             "futex", "nanosleep", "exit", "exit_group", "read", "chdir", "umask", "fcntl", "recvfrom", "ppoll"]
    box = bundle(["/payload", "exit", "6"])
    action = {"names": names, "action": NOTIFY if default == ALLOW else ALLOW}
    if default == NOTIFY:
        action["names"] = ["getcpu", "memfd_secret", "futex_requeue", "mseal", "listmount"]
    box.seccomp(default, action, listenerPath=str(place))
    box.process["noNewPrivileges"] = nnp
    with Agent(place) as agent:
        capsule.run(box, rc=6, timeout=30)
        capsule.run(box, "--detach", timeout=30)
        capsule.wait_status(box, "stopped")
    assert EXECVE in agent.calls


@pytest.mark.row(130, 150)
def test_hooks_in_the_container_have_the_agent_as_well(capsule, bundle, place, workdir):
    (workdir / "log").mkdir()
    box = watched(bundle(["/payload", "exit", "0"]), place, "execve").bind(workdir / "log", "/log")
    box.hook("startContainer", "/payload", "append", "/log/said", "hook", timeout=30)
    with Agent(place) as agent:
        capsule.run(box, timeout=30)
    assert (workdir / "log/said").read_text() == "hook\n"
    assert agent.calls.count(EXECVE) == 2


@pytest.mark.row(130)
def test_an_agent_that_hangs_up_leaves_calls_unanswered_but_nobody_waiting(capsule, bundle, place):
    """The kernel says ENOSYS when the listener is gone."""
    box = watched(bundle().shell("read line < /data/go; exec /payload syscall 83 0"), place, "mkdir")
    os.mkfifo(box.rootfs / "data/go")
    with Agent(place) as agent:
        running = capsule.spawn_run(box)
        wait_until(lambda: agent.states)
    (box.rootfs / "data/go").write_text("on\n")
    assert running.wait(30).json == {"errno": errno.ENOSYS}


@pytest.mark.row(128, 172)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_an_agent_that_is_not_there_fails_the_container(capsule, bundle, place, verb):
    box = watched(bundle(["/payload", "exit", "0"]), place, "mkdir")
    line = one_line(getattr(capsule, verb)(box, rc=1))
    assert f"connect to seccomp agent {place}: no such file or directory" in line
    assert not capsule.exists(box)


@pytest.mark.row(128)
def test_an_agent_that_is_not_there_fails_the_exec(capsule, bundle, place):
    box = watched(bundle(["/payload", "pause"]), place, "mkdir")
    with Agent(place):
        capsule.start_container(box)
    line = one_line(capsule.exec(box, "/payload", "exit", "0", rc=FAILS))
    assert f"connect to seccomp agent {place}: connection refused" in line
    assert len(capsule.ps(box, "--format", "json").json) == 1


@pytest.mark.row(128)
def test_an_agent_that_accepts_and_leaves_before_start_fails_start(capsule, bundle, place):
    box = watched(bundle(["/payload", "exit", "0"]), place, "mkdir")
    with Agent(place):
        capsule.create(box)
    assert "seccomp agent" in capsule.start(box, rc=FAILS).err
    capsule.wait_status(box, "stopped")


@pytest.mark.row(120, 128, 129)
@pytest.mark.parametrize(("profile", "path", "words"), [
    ({"defaultAction": NOTIFY}, "linux.seccomp.listenerPath", "is required by SCMP_ACT_NOTIFY"),
    ({"defaultAction": ALLOW, "syscalls": [{"names": ["mkdir"], "action": NOTIFY}]}, "linux.seccomp.listenerPath",
     "is required"),
    ({"defaultAction": ALLOW, "listenerMetadata": "m"}, "linux.seccomp.listenerMetadata", "needs listenerPath"),
    ({"defaultAction": ALLOW, "listenerPath": "relative"}, "linux.seccomp.listenerPath", "absolute"),
    ({"defaultAction": NOTIFY, "listenerPath": "/s", "defaultErrnoRet": 1}, "linux.seccomp.defaultErrnoRet",
     "takes no errno"),
])
def test_a_profile_without_a_place_for_its_listener_is_refused(capsule, bundle, profile, path, words):
    box = bundle(["/payload", "exit", "0"])
    box.linux["seccomp"] = profile
    line = one_line(capsule.run(box, rc=1))
    assert path in line and words in line
    assert not capsule.exists(box)


@pytest.mark.row(123, 128)
def test_calls_that_only_a_killing_signal_interrupts(capsule, bundle, place):
    """WAIT_KILLABLE_RECV goes to the kernel together with the listener."""
    box = watched(bundle(["/payload", "syscall", str(MKDIR), "0"]), place, "mkdir",
                  flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"])
    with Agent(place, lambda call, pid: errno.EDOM):
        assert capsule.run(box).json == {"errno": errno.EDOM}


@pytest.mark.row(128)
def test_a_path_without_a_call_to_answer_connects_to_nobody(capsule, bundle, place):
    box = bundle().seccomp(ALLOW, {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}, listenerPath=str(place))
    assert capsule.probe(box)["seccomp"] == 2


@pytest.mark.row(128)
def test_a_state_larger_than_a_socket_takes_at_once(capsule, bundle, place):
    box = watched(bundle(["/payload", "exit", "0"]), place, "mkdir", listenerMetadata="m" * 1_000_000)
    with Agent(place) as agent:
        capsule.run(box, timeout=30)
    assert json.dumps(agent.states).count("m" * 1_000_000) == 1


@pytest.mark.row(130)
@pytest.mark.parametrize("verb", ["run", "run --detach", "exec"])
def test_an_agent_that_never_answers_does_not_hold_a_verb_that_is_told_to_end(capsule, bundle, place, verb):
    box = watched(bundle(["/payload", "pause"]), place, "execve")
    silent = verb != "exec"
    with Agent(place, lambda call, pid: None if silent else 0) as agent:
        if verb == "exec":
            capsule.start_container(box)
            silent, before = True, len(agent.calls)
            running = capsule.spawn_exec(box, "/payload", "exit", "0")
        else:
            before = 0
            running = capsule.spawn_run(box, *verb.split()[1:])
        wait_until(lambda: len(agent.calls) > before)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(20).rc == (255 if verb == "exec" else 128 + signal.SIGTERM)
        if verb == "exec":
            assert len(capsule.ps(box, "--format", "json").json) == 1
        else:
            assert not capsule.exists(box)


@pytest.mark.row(130)
def test_a_start_that_waits_for_an_agent_can_be_ended_and_the_container_killed(capsule, bundle, place):
    box = watched(bundle(["/payload", "pause"]), place, "execve")
    with Agent(place, lambda call, pid: None) as agent:
        capsule.create(box)
        running = capsule.spawn("start", box.id)
        wait_until(lambda: agent.calls)
        capsule.kill(box, "KILL")
        running.wait(20)
        capsule.wait_status(box, "stopped")
        capsule.delete(box)


@pytest.mark.row(130, 131)
def test_an_exec_whose_execve_is_notified(capsule, bundle, place):
    """The agent reads its connection to the end before it answers: nobody else may keep that open."""
    box = watched(bundle(["/payload", "pause"]), place, "execve", "capset", "write")
    box.process["noNewPrivileges"] = False
    with Agent(place) as agent:
        capsule.start_container(box)
        assert capsule.exec(box, "/payload", "syscall", str(MKDIR), "0", timeout=30).json == {"errno": errno.EFAULT}
    assert agent.calls.count(EXECVE) == 2
