"""The plan decoder against bytes that are no plan, and on the other machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.budget import times
from tail_kit import BUILD, ROOT, bpf

from capsule.protocol import _plan, relay_plan, tail_plan
from capsule.protocol.relay_plan import MonitorPlan, RelayPlan
from capsule.protocol.tail_plan import TailPlan

SANITIZE = "-fsanitize=address,undefined"
SOURCES = ["tests/c/fuzz_plan.c", "csrc/plan.c"]
FUZZ_SECONDS = times(15)
HOOK = 11  # record type (csrc/plan.h)


def compile_checker(compiler: str, *flags: str, name: str) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / name
    subprocess.run([compiler, "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Icsrc", *flags, "-o", target,
                    *SOURCES], check=True, cwd=ROOT)
    return target


def has_libfuzzer() -> bool:
    if not shutil.which("clang"):
        return False
    done = subprocess.run(["clang", "-print-runtime-dir"], capture_output=True, text=True, check=True)
    return any(Path(done.stdout.strip()).glob("libclang_rt.fuzzer*"))


def full_tail_plan() -> TailPlan:
    plan = TailPlan("init", 5)
    plan.start_fd, plan.proc_fd, plan.agent_fd = 6, 7, 8
    plan.exec_path, plan.args, plan.env = b"/bin/sh", [b"sh", b"-c", b""], [b"A=1", b"B="]
    plan.bounding = plan.effective = plan.permitted = 0x1FF
    plan.groups, plan.uid, plan.gid = [1, 2, 3], 1000, 1000
    plan.seccomp, plan.seccomp_flags, plan.no_new_privs = bpf([59], 0x7FFF0000, 0), 8, True
    plan.apparmor = b"profile"
    plan.hooks = [(b"/bin/a", [], None, 100), (b"/bin/b", [b"b", b"x"], [b"C=3"], 0)]
    plan.hook_state, plan.agent_state = b'{"status":"created"}', b"{}"
    return plan


def full_relay_plan() -> RelayPlan:
    plan = RelayPlan(100, 4)
    plan.master_fd, plan.report_fd, plan.state_fd, plan.lock_fd, plan.use_tty = 5, 6, 7, 8, True
    plan.cleanup_dirs, plan.cleanup_files = [b"/a", b"/b"], [b"/c"]
    plan.state_dir, plan.kill_cgroup = b"/d", b"/a/cgroup.kill"
    plan.fallback_argv = [b"/usr/bin/capsule", b"delete"]
    plan.record_fd, plan.record_name, plan.record_head = 9, b"end.json", b'{"id":"c",'
    plan.oom_counters, plan.timeout_ms, plan.kill_after_ms = b"/a/memory.oom_control", 1500, 10000
    plan.notify_inner_fd, plan.notify_outer_fd = 10, 11
    plan.monitor = own = MonitorPlan()
    (own.alive_fd, own.output_fd, own.error_fd, own.input_fd, own.listen_fd, own.log_dir_fd) = range(12, 18)
    own.log_name, own.log_kind, own.log_files, own.log_size = b"ctr.log", 2, 3, 1 << 33
    own.health_ms, own.health_argv, own.again_argv = 30000, [b"/usr/bin/capsule", b"_health"], [b"/usr/bin/capsule"]
    return plan


PLANS = {
    "tail": lambda: tail_plan.encode(full_tail_plan()),
    "relay": lambda: relay_plan.encode(full_relay_plan()),
}


@pytest.fixture(scope="module")
def checker() -> Path:
    return compile_checker("gcc", SANITIZE, "-fno-sanitize-recover=all", name="plan-check")


@pytest.mark.requires("gcc")
@pytest.mark.parametrize("kind", PLANS)
def test_every_truncation_is_refused_and_no_flipped_bit_is_read_out_of_bounds(kind, checker, tmp_path) -> None:
    (tmp_path / "plan").write_bytes(PLANS[kind]())
    whole, truncated, flipped, bits = _damage([str(checker)], tmp_path / "plan")
    assert (whole, truncated) == (1, 0)
    assert 0 < flipped < bits  # a flip in a name or a number is another plan; one in the frame is none


@pytest.mark.parametrize("change", [
    {"sync_fd": 2}, {"sync_fd": -1}, {"start_fd": -1}, {"start_fd": 5}, {"umask": 0o1000}, {"uid": -1}, {"gid": -1},
    {"pdeathsig": 65}, {"preserve_fds": 1 << 20}, {"seccomp": None}, {"seccomp": b"1234567"}, {"seccomp": b""},
    {"agent_fd": -1}, {"agent_state": b""}, {"proc_fd": -1}, {"selinux": b"label"}, {"apparmor": b""}, {"args": []},
    {"exec_path": b""}, {"cwd": b"relative"}, {"cwd": b""}, {"bounding": 1 << 41}, {"ambient": 1 << 63},
    {"last_cap": 64}, {"groups": list(range(65537))}, {"seccomp_flags": 64}, {"kind": "exec", "start_fd": -1},
    {"hooks": [(b"bin/a", [], None, 0)]}, {"hooks": [(b"/a", [], None, 1 << 31)]},
], ids=lambda change: " ".join(f"{name}={str(value)[:20]}" for name, value in change.items()))
@pytest.mark.requires("gcc")
def test_a_plan_that_contradicts_itself_is_refused(change, checker, tmp_path) -> None:
    plan = full_tail_plan()
    for name, value in change.items():
        setattr(plan, name, value)
    (tmp_path / "plan").write_bytes(tail_plan.encode(plan))
    assert not _accepted(checker, tmp_path / "plan")


@pytest.mark.parametrize("change", [
    {"child_pid": 0}, {"child_pidfd": -1}, {"master_fd": 1}, {"master_fd": 4}, {"state_dir": None},
    {"forward_signals": False}, {"master_fd": -1}, {"fallback_argv": [], "fallback_always": True},
    {"fallback_argv": [b"capsule"]}, {"cleanup_dirs": [b"a"]}, {"cleanup_files": [b"/a", b""]}, {"state_dir": b"x"},
    {"record_fd": -1}, {"record_name": b"/a/end"}, {"record_name": b""}, {"record_fd": 8}, {"oom_counters": b"x"},
    {"notify_inner_fd": 2}, {"notify_outer_fd": -1}, {"notify_outer_fd": 10},
], ids=str)
@pytest.mark.requires("gcc")
def test_a_relay_plan_that_contradicts_itself_is_refused(change, checker, tmp_path) -> None:
    plan = full_relay_plan()
    for name, value in change.items():
        setattr(plan, name, value)
    (tmp_path / "plan").write_bytes(relay_plan.encode(plan))
    assert not _accepted(checker, tmp_path / "plan")


@pytest.mark.parametrize("change", [
    {"alive_fd": 2}, {"output_fd": 4}, {"listen_fd": 12}, {"log_name": b""}, {"log_dir_fd": -1}, {"log_kind": 0},
    {"log_kind": 3}, {"log_files": 0}, {"health_ms": 0}, {"health_argv": []}, {"health_argv": [b"capsule"]},
    {"again_argv": [b"capsule"]},
], ids=str)
@pytest.mark.requires("gcc")
def test_a_monitors_plan_that_contradicts_itself_is_refused(change, checker, tmp_path) -> None:
    plan = full_relay_plan()
    for name, value in change.items():
        setattr(plan.monitor, name, value)
    (tmp_path / "plan").write_bytes(relay_plan.encode(plan))
    assert not _accepted(checker, tmp_path / "plan")


def test_a_monitors_plan_survives_the_way_to_bytes_and_back() -> None:
    data = relay_plan.encode(full_relay_plan())
    assert relay_plan.encode(relay_plan.decode(data)) == data


@pytest.mark.requires("gcc")
def test_a_repeated_record_is_refused_unless_it_is_a_hook(checker, tmp_path) -> None:
    records = _plan.unpack(tail_plan.MAGIC, PLANS["tail"]())
    for record in records:
        (tmp_path / "plan").write_bytes(_plan.pack(tail_plan.MAGIC, [*records, record]))
        assert _accepted(checker, tmp_path / "plan") == (record[0] == HOOK), record[0]


@pytest.mark.skipif(not has_libfuzzer(), reason="no clang with libFuzzer (clang, libclang-rt-dev)")
def test_fuzzing_the_decoder_finds_nothing(tmp_path) -> None:
    fuzzer = compile_checker("clang", "-DPLAN_FUZZER", "-fsanitize=fuzzer,address,undefined",
                             "-fno-sanitize-recover=all", name="plan-fuzz")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for kind, make in PLANS.items():
        (corpus / kind).write_bytes(make())
    done = subprocess.run([fuzzer, f"-max_total_time={FUZZ_SECONDS}", "-max_len=1024", "-print_final_stats=0",
                           f"-artifact_prefix={tmp_path}/", corpus], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc") or not shutil.which("qemu-aarch64-static"),
                    reason="no aarch64 compiler or emulator")
@pytest.mark.parametrize("kind", PLANS)
def test_the_decoder_gives_the_same_answers_on_aarch64(kind, checker, tmp_path) -> None:
    foreign = compile_checker("aarch64-linux-gnu-gcc", "-static", name="plan-check-aarch64")
    (tmp_path / "plan").write_bytes(PLANS[kind]())
    native = _damage([str(checker)], tmp_path / "plan")
    assert _damage(["qemu-aarch64-static", str(foreign)], tmp_path / "plan") == native


def _accepted(checker: Path, plan: Path) -> bool:
    done = subprocess.run([checker, plan], capture_output=True, text=True, check=True)
    return done.stdout == "1\n"


def _damage(command: list[str], plan: Path) -> list[int]:
    """Return [whole accepted, truncations accepted, flips accepted, flips tried]."""
    done = subprocess.run([*command, str(plan), "all"], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]
