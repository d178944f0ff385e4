"""`run --timeout`: who ends the container, how, and what is said of it."""

from __future__ import annotations

import pytest
from helpers.runtime import FAILS, one_line

pytestmark = [
    pytest.mark.requires("root", "runtime", "busybox", "gcc"),
    pytest.mark.rival(runc="has no --timeout", crun="has no --timeout", strict=False),
]


def test_a_program_that_ends_on_sigterm_ends_in_time(capsule, bundle):
    box = bundle().shell("trap 'echo ended; exit 3' TERM; while :; do sleep 0.1; done")
    result = capsule.run(box, "--timeout", "1", rc=124)
    assert result.out == "ended\n" and 1 <= result.seconds < 8
    assert not capsule.exists(box)


def test_one_that_does_not_is_killed(capsule, bundle):
    box = bundle().shell("trap 'echo not yet' TERM; while :; do sleep 0.1; done")
    result = capsule.run(box, "--timeout", "0.5", "--kill-after", "0.5", rc=124)
    assert result.out == "not yet\n" and 1 <= result.seconds < 8


def test_a_first_process_without_a_handler_ignores_sigterm_and_is_killed(capsule, bundle):
    box = bundle(["/bin/sleep", "100"])
    assert capsule.run(box, "--timeout", "0.2", "--kill-after", "0.2", rc=124).seconds < 8


def test_a_program_that_is_in_time_keeps_its_status(capsule, bundle):
    assert capsule.run(bundle().shell("exit 5"), "--timeout", "60", rc=5).seconds < 20


def test_the_reason_is_kept(capsule, bundle):
    box = bundle(["/bin/sleep", "100"])
    capsule.run(box, "--timeout", "0.2", "--kill-after", "0.1", rc=124)
    assert capsule.call("why", "--json", box.id).json["end"]["reason"] == "timeout"


def test_a_stopped_program_is_ended_too(capsule, bundle):
    box = bundle().shell("sh -c 'kill -STOP 1; kill -STOP $$' & trap 'exit 0' TERM; wait")
    capsule.run(box, "--timeout", "0.5", "--kill-after", "1", rc=124)


def test_on_a_terminal(capsule, bundle):
    box = bundle().terminal().shell("trap 'echo ended; exit 3' TERM; while :; do sleep 0.1; done")
    assert "ended" in capsule.run(box, "--timeout", "1", rc=124).out


@pytest.mark.parametrize("flags, words", [
    (["--timeout", "0"], "expected more than 0"), (["--timeout", "-1"], "expected seconds"),
    (["--timeout", "1h"], "expected seconds"), (["--timeout", "1."], "expected seconds"),
    (["--timeout", "9999999"], "less than 2147483 seconds"), (["--kill-after", "3"], "needs --timeout"),
    (["--timeout", "3", "--detach"], "nobody stays to watch the time"),
])
def test_what_cannot_be_kept_is_refused(capsule, bundle, flags, words):
    box = bundle(["/bin/true"])
    assert words in one_line(capsule.run(box, *flags, rc=FAILS))
    assert not capsule.exists(box)
