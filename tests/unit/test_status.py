"""Every status × verb: what is permitted, in one table."""

from __future__ import annotations

import pytest

from capsule.errors import BadTransition
from capsule.runtime import status

PERMITTED = {
    "created": {"start", "kill", "delete", "exec", "pause"},
    "running": {"kill", "exec", "pause"},
    "stopped": {"delete"},
    "paused": {"kill", "resume"},
}
VERBS = ("start", "kill", "delete", "exec", "pause", "resume")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("number", range(4))
def test_a_status_permits_its_verbs_and_refuses_the_others(number, verb):
    name = status.NAMES[number]
    behavior = status.new_container_status_behavior(number, "c1")

    if verb in PERMITTED[name]:
        getattr(behavior, verb)()
    else:
        with pytest.raises(BadTransition):
            getattr(behavior, verb)()


def test_exec_in_a_paused_container_is_permitted_when_asked_for():
    status.new_container_status_behavior(status.PAUSED, "c1").exec(ignore_paused=True)


def test_the_words_that_engines_match():
    with pytest.raises(BadTransition, match="container not running"):
        status.new_container_status_behavior(status.STOPPED, "c1").kill()
    with pytest.raises(BadTransition, match="cannot exec in a paused container"):
        status.new_container_status_behavior(status.PAUSED, "c1").exec()
    with pytest.raises(BadTransition, match="is not stopped: running"):
        status.new_container_status_behavior(status.RUNNING, "c1").delete()
