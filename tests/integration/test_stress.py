"""Many containers: none hangs, none fails, nothing is left."""

from __future__ import annotations

import pytest
from helpers.requires import requires
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "gcc")

AT_ONCE = 8


def run_many(capsule, box, count):
    """Run `true` in count containers, AT_ONCE at a time, and return those that failed."""
    box.args("/bin/true").write()
    waiting = [f"{box.id}-{number}" for number in range(count)]
    going, failed = [], []

    def step():
        ended = [one for one in going if one.poll()]
        going[:] = [one for one in going if one not in ended]
        failed.extend(one.result for one in ended if one.result.rc)
        while waiting and len(going) < AT_ONCE:
            going.append(capsule.spawn("run", "--bundle", box.path, waiting.pop()))
        return not going and not waiting

    wait_until(step, 10 + count * 0.5, f"{count} runs")
    return failed


def test_200_runs(capsule, bundle):
    assert run_many(capsule, bundle(), 200) == []
    assert capsule.ids() == []


@pytest.mark.stress
def test_2000_runs(capsule, bundle):
    assert run_many(capsule, bundle(), 2000) == []
    assert capsule.ids() == []


def fight(capsule, box, rounds):
    """Let two processes create one id at once: exactly one wins each round, and is whole."""
    for _ in range(rounds):
        rivals = [capsule.spawn("create", "--bundle", box.path, box.id) for _ in range(2)]
        statuses = sorted(one.wait().rc for one in rivals)
        assert statuses == [0, 1], [one.result for one in rivals]
        assert capsule.status(box) == "created"
        capsule.delete(box, "--force")


def test_two_creates_fight_over_one_id(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.words_for("create", box)
    fight(capsule, box, 20)


@pytest.mark.stress
def test_two_creates_fight_over_one_id_for_long(capsule, bundle):
    box = bundle(["/payload", "pause"])
    capsule.words_for("create", box)
    fight(capsule, box, 200)


def test_two_starts_fight_over_one_container(capsule, bundle):
    for _ in range(10):
        box = bundle(["/payload", "pause"])
        capsule.create(box)
        rivals = [capsule.spawn("start", box.id) for _ in range(2)]
        statuses = sorted(one.wait().rc for one in rivals)
        assert statuses == [0, 1], [one.result for one in rivals]
        assert capsule.status(box) == "running"
        capsule.delete(box, "--force")


def test_two_forced_deletes_of_one_container(capsule, bundle):
    for _ in range(10):
        box = bundle(["/payload", "pause"])
        capsule.start_container(box)
        rivals = [capsule.spawn("delete", "--force", box.id) for _ in range(2)]
        assert [one.wait().rc for one in rivals] == [0, 0], [one.result for one in rivals]
        assert not capsule.exists(box)


def test_create_and_forced_delete_at_once(capsule, bundle):
    """Whoever comes first: after a last delete nothing is there."""
    box = bundle(["/payload", "pause"])
    words = capsule.words_for("create", box)
    for _ in range(20):
        pair = [capsule.spawn(*words), capsule.spawn("delete", "--force", box.id)]
        create, delete = (one.wait() for one in pair)
        assert delete.rc == 0, repr(delete)
        assert create.rc in (0, 1), repr(create)
        capsule.delete(box, "--force")
        assert not capsule.exists(box)
