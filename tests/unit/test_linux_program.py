"""Helper programs: their output is kept from its end, and nothing they leave behind is waited for."""

from __future__ import annotations

import time

import pytest

from capsule.errors import HookError
from capsule.linux import program
from capsule.protocol import hooks
from capsule.spec.model import Hook

PATH = ["PATH=/usr/bin:/bin"]


def shell(script: str, **options) -> tuple[int, bytes]:
    return program.run("/bin/sh", ["sh", "-c", script], PATH, stdin=b"state\n", **options)


@pytest.mark.row(153, 157)
def test_status_and_both_outputs():
    assert shell("read x; echo out $x; echo err >&2; exit 3") == (3 << 8, b"out state\nerr\n")


def test_a_signal_is_a_status():
    assert shell("kill -9 $$")[0] == 9


@pytest.mark.row(157)
def test_the_last_64_kib_are_kept():
    status, output = shell("head -c 1000000 /dev/zero | tr '\\0' x; echo end")
    assert (status, len(output)) == (0, 65536)
    assert output.endswith(b"xend\n")


@pytest.mark.row(151, 157)
def test_a_program_past_its_time_is_killed_and_what_it_said_is_kept():
    began = time.monotonic()
    with pytest.raises(program.TimedOut) as caught:
        shell("echo so far; exec sleep 60", timeout_ms=300)
    assert caught.value.output == b"so far\n"
    assert 0.3 <= time.monotonic() - began < 10


def test_a_program_that_closes_its_output_is_waited_for():
    assert shell("exec >&- 2>&-; sleep 0.2; exit 5") == (5 << 8, b"")


def test_a_child_that_keeps_the_pipe_open_is_not_waited_for():
    began = time.monotonic()
    assert shell("sleep 3 & echo $!")[0] == 0
    assert time.monotonic() - began < 2.5


def test_a_program_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        program.run("/no/such", ["x"], PATH, stdin=b"")


@pytest.mark.row(157)
def test_a_failing_hook_keeps_what_it_said():
    words = "word " * 1000
    hook = Hook("/bin/sh", ["sh", "-c", f"echo {words}; echo done; exit 1"], PATH)
    with pytest.raises(HookError) as caught:
        hooks.run_hook("createRuntime", 4, hook, b"{}", cwd=None)
    assert caught.value.details["hook_output"] == " ".join(words.split()) + "\ndone\n"
    line = str(caught.value)
    assert line.startswith("error running createRuntime hook #4: /bin/sh: exit status 1, it said: ...")
    assert line.endswith("word done") and len(line) < 600
