"""A process of the runtime killed at every stop point: an error at once, and nothing left after."""

from __future__ import annotations

import pytest
from helpers import process, stops
from helpers.requires import requires
from helpers.runtime import FAILS
from helpers.wait import wait_until

pytestmark = requires("root", "stop", "busybox", "gcc")

# Others are in tests/network, test_sandbox.py (`apply`), test_engine_crashes.py, test_image_commit.py,
# and test_verbs_stuck.py (r-froze).
NAMES = [name for name in stops.names() if not name.startswith(("net-", "apply-", "engine-", "volume-", "r-froze"))]
VERBS = ["create", "run", "start", "exec", "delete"]


def words(runtime, box, verb):
    """Return the argv of a verb that takes part in the container's making or end; each returns."""
    if verb in ("create", "run"):
        return runtime.words_for(verb, box, ["--detach"] if verb == "run" else [])
    return [verb, box.id, *(["/payload", "exit", "0"] if verb == "exec" else [])]


def make(bundle, verb):
    """Give the bundle that a verb works on; an exec into a container with CAP_SYS_PTRACE passes more points."""
    box = bundle(["/payload", "pause"])
    return box.capabilities("CAP_SYS_PTRACE") if verb == "exec" else box


def prepare(runtime, box, verb):
    """Bring a container to where the verb begins."""
    if verb in ("start", "delete", "kill"):
        runtime.create(box)
    if verb == "exec":
        runtime.run(box, "--detach")


def stop(runtime, name, box, verb):
    """Stop a verb at a point; None when it does not pass it. A foreground run that runs has passed all but its end."""
    past = (lambda: runtime.is_running(box)) if verb == "run" else (lambda: False)
    return stops.stop_at(runtime, name, *words(runtime, box, verb), past=past)


def gone(pids):
    """Tell whether all these processes have ended, and collect those that became ours."""
    process.reap_orphans()
    return not any(process.is_alive(pid) for pid in pids)


def test_the_sources_have_stop_points():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_point_is_reached_by_a_verb(stopping, bundle, name):
    """Without this the tests below could pass because nothing ever stops."""
    reached = []
    for verb in VERBS:
        box = make(bundle, verb)
        prepare(stopping, box, verb)
        stopped = stops.stop_at(stopping, name, *words(stopping, box, verb))
        if stopped:
            reached.append(verb)
            stopped.proceed()
            assert stopped.running.wait().rc == 0
        stopping.delete(box, "--force")
    assert reached, f"no verb stops at {name}"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", NAMES)
def test_kill_9_of_the_runtime_and_delete_force(stopping, bundle, leaks, name, verb):
    box = make(bundle, verb)
    prepare(stopping, box, verb)
    stopped = stop(stopping, name, box, verb)
    if stopped is None:
        return  # this verb does not pass the point
    below = process.descendants(stopped.running.pid)
    stopped.running.stop()
    if not stopped.is_runtime and process.state(stopped.pid) == "T":
        stopped.proceed()
    stopping.delete(box, "--force")
    assert not stopping.exists(box)
    wait_until(lambda: gone(below), 10, f"the end of {below}")
    leaks.check()


@requires("cgroup1")
def test_a_container_that_came_to_a_killed_creates_cgroup_lives(stopping, bundle):
    """The cgroup was empty and so given to it; what is left of the first is not the owner any more."""
    first, second = bundle(["/payload", "pause"]), bundle(["/payload", "pause"])
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"] = f"/{first.id}"
    stopped = stop(stopping, "r-cgroup", first, "create")
    stopped.running.stop()
    stopping.run(second, "--detach")
    pid = stopping.pid(second)
    assert "is another container's now" in stopping.delete(first, "--force").err
    assert not stopping.exists(first)
    assert process.is_alive(pid)
    assert stopping.status(second) == "running"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_create_left_never_starts(stopping, bundle, leaks, name):
    """Not all of its limits are set."""
    box = bundle(["/payload", "pause"])
    stopped = stop(stopping, name, box, "create")
    if stopped is None:
        return
    below = process.descendants(stopped.running.pid)
    stopped.running.stop()
    if not stopped.is_runtime and process.state(stopped.pid) == "T":
        stopped.proceed()
    assert stopping.start(box, rc=FAILS).err
    stopping.delete(box, "--force")
    wait_until(lambda: gone(below), 10, f"the end of {below}")
    leaks.check()


@pytest.mark.parametrize("verb", ["create", "run", "exec"])
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_stage_is_an_error_at_once(stopping, bundle, leaks, name, verb):
    box = make(bundle, verb)
    prepare(stopping, box, verb)
    stopped = stop(stopping, name, box, verb)
    if stopped is None or stopped.is_runtime:
        return
    stopped.kill()
    result = stopped.running.wait(5)
    assert result.rc == (255 if verb == "exec" else 1), repr(result)
    assert len(result.err.splitlines()) == 1, repr(result)
    if verb == "exec":
        assert stopping.status(box) == "running"
    else:
        assert not stopping.exists(box)
        leaks.check()


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_changes_nothing(stopping, bundle, name):
    box = bundle(["/payload", "exit", "7"])
    stopped = stops.stop_at(stopping, name, *stopping.words_for("run", box))
    if stopped is not None:
        stopped.proceed()
        assert stopped.running.wait().rc == 7


@pytest.mark.parametrize("name", NAMES)
def test_two_interrupts_at_a_stop_leave_nothing_half_made(stopping, bundle, leaks, name):
    """Ctrl-C twice while a container is being made: whole, or gone."""
    box = bundle(["/payload", "pause"])
    stopped = stops.stop_at(stopping, name, *words(stopping, box, "create"))
    if stopped is None:
        return
    for _ in range(2):
        stopped.running.send(2)
    stopped.proceed()
    stopped.running.wait()
    if stopping.exists(box):
        assert stopping.status(box) == "created"
        stopping.delete(box, "--force")
    leaks.check()


def test_an_ordinary_build_has_no_stop_points(capsule, bundle):
    for name in NAMES:
        capsule.run(bundle(["/payload", "exit", "0"]), env={"CAPSULE_STOP": name}, timeout=10)
