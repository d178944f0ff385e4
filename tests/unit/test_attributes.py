"""What a kernel that refuses an attribute makes of it: the words, with the kernel's answer faked."""

from __future__ import annotations

import errno

import pytest

from capsule.errors import KernelError, Unsupported
from capsule.security import attributes
from capsule.spec.model import Config, Process


def refusing(*answers: int | None):
    """Return a call that answers with each errno in turn, None for success."""
    left = list(answers)

    def call(*_arguments):
        number = left.pop(0)
        if number is not None:
            raise OSError(number, "call")

    return call


def made(*, is_exec: bool = False, personality=None, memory_policy=None, **fields) -> attributes.Attributes:
    process, config = Process(), Config()
    for name, value in fields.items():
        setattr(process, name, value)
    config.personality, config.memory_policy = personality, memory_policy
    return attributes.Attributes(process, config, is_exec=is_exec)


@pytest.fixture(autouse=True)
def still(monkeypatch) -> None:
    """Change nothing of the test's own process."""
    monkeypatch.setattr(attributes.proc, "sched_reset_affinity", lambda pid: None)


@pytest.mark.row(25)
def test_a_real_time_class_without_privilege_names_the_capabilities(monkeypatch) -> None:
    monkeypatch.setattr(attributes.ext, "set_io_priority", refusing(errno.EPERM))
    with pytest.raises(KernelError, match="CAP_SYS_NICE or CAP_SYS_ADMIN") as caught:
        made(io_priority=("IOPRIO_CLASS_RT", 1)).set_on(1)
    assert caught.value.errno == errno.EPERM
    assert str(caught.value).startswith("set I/O priority IOPRIO_CLASS_RT 1: operation not permitted")


@pytest.mark.row(24)
@pytest.mark.parametrize(("number", "policy", "words"), [
    (errno.EPERM, "SCHED_FIFO", "CAP_SYS_NICE and, where"), (errno.EPERM, "SCHED_DEADLINE", "CAP_SYS_NICE"),
    (errno.EBUSY, "SCHED_DEADLINE", "real time left"), (errno.EOPNOTSUPP, "SCHED_OTHER", "utilization clamping"),
    (errno.EINVAL, "SCHED_OTHER", "invalid argument")])
def test_a_scheduler_that_the_kernel_refuses_is_explained(monkeypatch, number, policy, words) -> None:
    monkeypatch.setattr(attributes.ext, "set_scheduler", refusing(number))
    with pytest.raises(KernelError, match=words):
        made(scheduler={"policy": policy}).set_on(1)


@pytest.mark.row(69)
def test_a_memory_policy_that_the_kernel_lacks_is_named(monkeypatch) -> None:
    """Refused with the nodes that are allowed, too: it is the mode."""
    monkeypatch.setattr(attributes.ext, "set_memory_policy", refusing(errno.EINVAL, errno.EINVAL))
    monkeypatch.setattr(attributes.ext, "allowed_nodes", lambda: [0])
    policy = ("MPOL_WEIGHTED_INTERLEAVE", [0, 1, 3], ["MPOL_F_STATIC_NODES"])
    with pytest.raises(Unsupported, match="lacks the mode") as caught:
        made(memory_policy=policy).set_own()
    assert "MPOL_WEIGHTED_INTERLEAVE 0-1,3 MPOL_F_STATIC_NODES" in str(caught.value)


@pytest.mark.row(69)
def test_a_kernel_without_memory_policies_is_named(monkeypatch) -> None:
    monkeypatch.setattr(attributes.ext, "set_memory_policy", refusing(errno.ENOSYS))
    with pytest.raises(Unsupported, match="no NUMA memory policies"):
        made(memory_policy=("MPOL_LOCAL", [], [])).set_own()


@pytest.mark.row(26)
@pytest.mark.parametrize(("is_exec", "affinity", "resets"), [
    (True, None, True), (True, ([], []), True), (True, ([0], []), False), (False, ([0], [0]), True)])
def test_the_runtimes_affinity_is_taken_away_unless_the_config_says_otherwise(
        monkeypatch, is_exec, affinity, resets) -> None:
    seen = []
    monkeypatch.setattr(attributes.proc, "sched_reset_affinity", seen.append)
    made(is_exec=is_exec, cpu_affinity=affinity, io_priority=None).set_on(77)
    assert seen == ([77] if resets else [])


@pytest.mark.parametrize(("listed", "text"), [
    ([], ""), ([3], "3"), ([0, 1, 2, 7, 9, 8, 7], "0-2,7-9"), ([1, 3], "1,3")])
def test_numbers_are_written_as_the_kernel_lists_them(listed, text) -> None:
    assert attributes.numbers(listed) == text


@pytest.mark.row(26)
def test_initial_is_set_by_the_process_itself_and_final_on_the_tail(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(attributes.posix, "sched_setaffinity", lambda pid, cpus: seen.append((pid, cpus)))
    wanted = made(is_exec=True, cpu_affinity=([0, 1], [3]))
    wanted.set_own()
    assert seen == [(0, [0, 1])]
    wanted.set_on(77)
    assert seen[1:] == [(77, [3])]
