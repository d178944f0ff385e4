"""Signals to a foreground runtime, and interrupts while a container is being made."""

from __future__ import annotations

import signal

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1,
                                    signal.SIGUSR2, signal.SIGCONT, signal.SIGWINCH])
def test_run_forwards_a_signal(capsule, bundle, number):
    running = capsule.spawn_run(bundle(["/payload", "trap"]))
    running.wait_output("ready")
    running.send(number)
    if number != signal.SIGWINCH:  # that one is about the terminal, which there is none of
        running.wait_output(f"signal {number:d} ")
    running.send(signal.SIGTERM)
    assert running.wait().rc == 42


def test_exec_forwards_a_signal(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.start_container(box)
    running = capsule.spawn_exec(box, "/payload", "trap")
    running.wait_output("ready")
    running.send(signal.SIGTERM)
    assert running.wait().rc == 42
    assert capsule.status(box) == "running"


def test_a_program_that_ends_by_a_forwarded_signal(capsule, bundle):
    """Only a process that is not pid 1 dies of SIGTERM by default."""
    box = bundle(["/payload", "children", "0"]).without_namespace("pid")
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    running.send(signal.SIGTERM)
    assert running.wait().rc == 128 + signal.SIGTERM


def test_kill_9_of_the_foreground_runtime_leaves_a_container_that_can_be_deleted(capsule, bundle):
    box = bundle(["/payload", "trap"])
    running = capsule.spawn_run(box)
    running.wait_output("ready")
    running.send(signal.SIGKILL)
    running.stop()
    capsule.delete(box, "--force")
    assert not capsule.exists(box)


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("delay", [0, 1, 2, 3, 5, 8, 13, 21])
def test_two_interrupts_never_leave_a_half_made_container(capsule, bundle, verb, delay):
    """Whatever the moment: what is left is either nothing or a whole container."""
    box = bundle(["/payload", "pause"])
    words = capsule.words_for(verb, box)
    running = capsule.spawn(*words)
    started = wait_until(lambda: running.popen.pid)
    assert started
    clock = iter(range(delay + 1))
    wait_until(lambda: next(clock, None) is None)  # some milliseconds, growing with `delay`
    for _ in range(2):
        if running.popen.poll() is None:
            running.send(signal.SIGINT)
    if verb == "run":
        wait_until(lambda: running.popen.poll() is not None or capsule.exists(box))
        capsule.kill(box, "KILL", rc=None)
    running.wait()
    if capsule.exists(box):
        assert capsule.status(box) in ("created", "stopped")
        capsule.delete(box, "--force")
    assert capsule.ids() == []
