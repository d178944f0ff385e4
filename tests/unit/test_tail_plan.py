"""The Python halves of the tail's and the relay's plan: round trips, and names equal to csrc/plan.h's."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from capsule.protocol import _plan, relay_plan, tail_plan
from capsule.protocol.relay_plan import RelayPlan
from capsule.protocol.tail_plan import TailPlan

HEADER = (Path(__file__).resolve().parents[2] / "csrc" / "plan.h").read_text(encoding="utf-8")


def tail_with_everything() -> TailPlan:
    plan = TailPlan("init", 5)
    plan.start_fd, plan.proc_fd, plan.agent_fd, plan.preserve_fds = 6, 7, 8, 2
    plan.uid, plan.gid, plan.umask, plan.pdeathsig, plan.last_cap = 0xFFFFFFFE, 1001, 0o77, 9, 40
    plan.no_new_privs = plan.cwd_entered = True
    plan.bounding, plan.effective, plan.permitted, plan.inheritable, plan.ambient = (1 << 40) - 1, 1, 2, 4, 8
    plan.exec_path, plan.cwd, plan.args, plan.env = b"/bin/sh", b"/", [b"sh", b"", b"\xff"], [b"A=\n"]
    plan.groups, plan.seccomp, plan.seccomp_flags = [0, 7], b"12345678" * 3, 4
    plan.apparmor = b"profile"
    plan.hooks = [(b"/a", [], None, 0), (b"/b", [b"b", b""], [], 5000), (b"/c", [b"c"], [b"X=1", b"Y="], 1)]
    plan.hook_state, plan.agent_state = b'{"a":1}\0', b"{}"
    return plan


def fields(plan) -> dict:
    return {name: getattr(plan, name) for name in plan.__slots__}


@pytest.mark.parametrize("plan", [
    TailPlan("exec", 3), tail_with_everything(),
], ids=["little", "everything"])
def test_a_tail_plan_survives_the_round_trip(plan) -> None:
    assert fields(tail_plan.decode(tail_plan.encode(plan))) == fields(plan)


def test_a_plan_without_process_says_nothing_else() -> None:
    plan = tail_with_everything()
    plan.has_process = False
    assert len(tail_plan.encode(plan)) == _plan.HEADER_SIZE + 8 + 56


def test_groups_none_and_groups_empty_are_different() -> None:
    plan = TailPlan("exec", 3)
    for groups in (None, []):
        plan.groups = groups
        assert tail_plan.decode(tail_plan.encode(plan)).groups == groups


def test_a_relay_plan_survives_the_round_trip() -> None:
    plan = RelayPlan(4194304, 3)
    assert fields(relay_plan.decode(relay_plan.encode(plan))) == fields(plan)
    plan.master_fd, plan.report_fd, plan.state_fd, plan.lock_fd = 4, 5, 6, 7
    plan.forward_signals, plan.use_tty, plan.fallback_always = False, True, True
    plan.cleanup_dirs, plan.cleanup_files, plan.state_dir = [b"/b", b"/a"], [b"/s/state.json"], b"/s"
    plan.kill_cgroup, plan.fallback_argv = b"/c/cgroup.kill", [b"/capsule", b"delete"]
    assert fields(relay_plan.decode(relay_plan.encode(plan))) == fields(plan)


@pytest.mark.parametrize("field, value, error", [
    ("args", [b"a\0b"], ValueError), ("cwd", b"/\0", ValueError), ("env", [b"A=" + b"x" * _plan.SIZE_MAX], ValueError),
    ("uid", 1 << 32, OverflowError), ("uid", -2, OverflowError), ("bounding", 1 << 64, OverflowError),
    ("groups", [1 << 32], OverflowError),
])
def test_what_cannot_be_encoded_is_refused(field, value, error) -> None:
    plan = TailPlan("exec", 3)
    setattr(plan, field, value)
    with pytest.raises(error):
        tail_plan.encode(plan)


def test_damaged_plans_are_refused() -> None:
    data = tail_plan.encode(tail_with_everything())
    for size in range(len(data)):
        with pytest.raises(ValueError):
            tail_plan.decode(data[:size])
    with pytest.raises(ValueError):
        relay_plan.decode(data)
    for records in ([], [(99, b"")], [(1, bytes(56)), (99, b"")]):
        with pytest.raises(ValueError):
            tail_plan.decode(_plan.pack(tail_plan.MAGIC, records))
        with pytest.raises(ValueError):
            relay_plan.decode(_plan.pack(relay_plan.MAGIC, records))


def test_step_names_are_those_of_the_header() -> None:
    listed = HEADER[HEADER.index("#define TAIL_STEPS"):HEADER.index("#define TAIL_STEP_ENUM")]
    assert tail_plan.STEP_NAMES == ("none", *re.findall(r'X\(\w+, "([^"]+)"\)', listed))


@pytest.mark.parametrize("module, prefix", [(tail_plan, "TAIL"), (relay_plan, "RELAY")])
def test_record_types_and_flags_are_those_of_the_header(module, prefix) -> None:
    found = dict(re.findall(rf"\b{prefix}(_\w+) = (\d+)", HEADER))
    assert found
    for name, value in found.items():
        if name in ("_INIT", "_EXEC"):  # kinds are words in Python
            continue
        assert getattr(module, name) == int(value), name


def test_an_error_record_is_decoded_with_its_step_s_name() -> None:
    number = tail_plan.STEP_NAMES.index("execve")
    assert tail_plan.decode_error(struct.pack("=IIiI", number, 1, 2, 3)) == ("execve", 1, 2, 3)
    for payload in (b"", bytes(16), struct.pack("=IIiI", len(tail_plan.STEP_NAMES), 0, 0, 0), bytes(15)):
        with pytest.raises(ValueError):
            tail_plan.decode_error(payload)
