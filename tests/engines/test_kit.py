"""The engines' kit itself: an enclosure keeps what is made in it, and the report tells the truth."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from helpers import process
from helpers.leaks import SESSION
from helpers.requires import requires
from helpers.wait import wait_until

from .kit.enclosure import Enclosure
from .kit.engine import Engine
from .kit.report import Table


@pytest.fixture
def box(workdir):
    made = Enclosure("kit", workdir)
    yield made
    made.close()


def host_groups() -> list[str]:
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"{SESSION}-kit" in path]


@requires("root", "cgroup1", "overlay", "ip")
class TestEnclosure:
    def test_everything_ends_with_it(self, workdir):
        box = Enclosure("kit", workdir)
        box.call("sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 & mkdir /sys/fs/cgroup/pids/made")
        wait_until(lambda: [line for line in box.processes().values() if "sleep 4711" in line])
        pids = process.descendants(box._holder.pid)
        assert len(pids) == 2 and host_groups()
        box.close()
        assert not [pid for pid in pids if process.is_alive(pid)]
        assert not host_groups()

    def test_the_hosts_names_are_out_of_reach(self, box):
        assert set(box.call("ls", "-A", "/run").out.split()) <= {"layers", "lock", "mount"}  # our own, and mount's
        assert box.call("ls", "/sys/class/net").word == "lo"
        box.call("sh", "-c", "echo changed > /etc/made-inside; echo x > /run/made-inside")
        assert not os.path.exists("/etc/made-inside") and not os.path.exists("/run/made-inside")

    def test_a_command_runs_in_its_cgroups(self, box):
        lines = box.call("cat", "/proc/self/cgroup").lines
        assert lines and {line.split(":", 2)[2] for line in lines} == {"/"}

    @pytest.mark.parametrize("kind, words", [
        ("process", "setsid sleep 4711 >/dev/null 2>&1 &"),
        ("cgroup", "mkdir /sys/fs/cgroup/freezer/planted"),
        ("mount", "mount -t tmpfs planted /mnt"),
        ("network link", "ip link add planted type bridge"),
        ("state", "mkdir -p /run/capsule/planted"),
    ])
    def test_what_a_scenario_leaves_is_found(self, box, kind, words):
        engine = Engine.__new__(Engine)
        engine.box, engine.directory, engine.runtimes = box, box.directory, {}
        engine.clean = lambda: None
        engine.PATIENCE = 0.2
        with pytest.raises(AssertionError, match=f"left in the enclosure:\n +{kind}: "), engine.scenario("capsule"):
            box.call("sh", "-c", words)

    def test_a_command_that_hangs_is_ended(self, box):
        with pytest.raises(AssertionError, match="hangs"):
            box.call("sleep", "4711", timeout=0.2)
        wait_until(lambda: not box.processes())


def item(runtime: str, scenario: str = "test_it") -> SimpleNamespace:
    return SimpleNamespace(module=SimpleNamespace(ENGINE=SimpleNamespace(NAME="some")), cls=None, originalname=scenario,
                           callspec=SimpleNamespace(params={"runtime": runtime}))


def result(outcome: str, wasxfail: str | None = None) -> SimpleNamespace:
    made = SimpleNamespace(failed=outcome == "failed", skipped=outcome == "skipped", longrepr="why")
    if wasxfail is not None:
        made.wasxfail = wasxfail
    return made


class TestTable:
    def test_a_later_phase_can_only_make_it_worse(self):
        table = Table()
        for outcome in ("passed", "failed", "passed"):
            table.note(item("capsule"), result(outcome))
        assert table.rows == {("some", "it"): {"capsule": "fail"}}

    @pytest.mark.parametrize("capsule, runc, regressions", [
        (result("failed"), result("passed"), ["some: it"]),
        (result("skipped", "known: a reason"), result("passed"), ["some: it"]),
        (result("failed"), result("skipped", "runc fails"), []),
        (result("passed"), result("passed"), []),
    ])
    def test_what_works_with_runc_alone_is_a_regression(self, capsule, runc, regressions):
        table = Table()
        table.note(item("capsule"), capsule)
        table.note(item("runc"), runc)
        assert table.regressions() == regressions

    def test_the_lines_name_runtimes_and_reasons(self):
        table = Table()
        table.note(item("capsule"), result("passed"))
        table.note(item("crun"), result("skipped", "crun fails"))
        assert "| it | pass | FAIL |" in table.lines()
        assert "- some: it, crun: why" in table.lines()
