"""The tail, really run: what the payload finds, and what is reported when it cannot be reached."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.ordinary import let_in
from helpers.payload import public_payload
from helpers.wait import wait_until
from tail_kit import (
    ACK,
    ALLOW,
    EXECUTED,
    KILL,
    START,
    Tail,
    bpf,
    compile_program,
    deny,
    exec_plan,
    init_plan,
    lifted,
    memfd,
    message,
)

from capsule.protocol import tail_plan

pytestmark = pytest.mark.requires("root", "gcc")

# The machine's own numbers: seccomp filters are per machine.
EXECVE, CAPSET, EXIT_GROUP, WRITE, SENDTO, GETUID = {
    "x86_64": (59, 126, 231, 1, 44, 102), "aarch64": (221, 91, 94, 64, 206, 174),
}[os.uname().machine]
# What T calls to become the user: setgroups setresgid setresuid capset capget prctl umask chdir getcwd close
# close_range, which a profile need not allow when no_new_privs is set.
PREPARING = {
    "x86_64": [116, 119, 117, 126, 125, 157, 95, 80, 79, 3, 436],
    "aarch64": [159, 149, 147, 91, 90, 167, 166, 49, 17, 57, 436],
}[os.uname().machine]
CHOWN, KILL_CAP, SETGID, SETUID, NET_BIND, SYS_ADMIN = 1 << 0, 1 << 5, 1 << 6, 1 << 7, 1 << 10, 1 << 21
NO_DAC = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.fixture(scope="session")
def payload() -> Iterator[Path]:
    with public_payload() as path:
        yield path


def probe(plan, **options) -> dict:
    """Run a plan whose payload is the probe, and return its facts."""
    with Tail(plan, **options) as tail:
        assert tail.report() is EXECUTED
        return json.loads(tail.output())


def set_caps(plan, *, bounding=0, effective=0, permitted=0, inheritable=0, ambient=0) -> None:
    plan.bounding, plan.effective, plan.permitted = bounding, effective, permitted
    plan.inheritable, plan.ambient = inheritable, ambient


# ---- identity

def test_root_of_a_container_has_exactly_its_capabilities(payload) -> None:
    plan = exec_plan(payload, "probe")
    some = CHOWN | KILL_CAP | NET_BIND
    set_caps(plan, bounding=some, effective=some, permitted=some)
    plan.groups, plan.umask, plan.no_new_privs, plan.cwd = [], 0o077, True, b"/proc"
    facts = probe(plan)
    assert facts["caps"] == {"effective": some, "permitted": some, "inheritable": 0, "bounding": some, "ambient": 0}
    assert (facts["uid"], facts["gid"], facts["groups"]) == ([0, 0, 0], [0, 0, 0], [])
    assert (facts["umask"], facts["nnp"], facts["cwd"], facts["seccomp"]) == (0o077, 1, "/proc", 0)
    assert (facts["keepcaps"], facts["securebits"], facts["pdeathsig"]) == (0, 0, 0)


def test_a_user_has_no_capability_unless_it_is_ambient(payload) -> None:
    plan = exec_plan(payload, "probe")
    some = CHOWN | KILL_CAP
    set_caps(plan, bounding=some, effective=some, permitted=some)
    plan.uid, plan.gid, plan.groups = 1000, 1001, [2000, 2001]
    facts = probe(plan)
    assert facts["caps"] == {"effective": 0, "permitted": 0, "inheritable": 0, "bounding": some, "ambient": 0}
    assert (facts["uid"], facts["gid"], facts["groups"]) == ([1000] * 3, [1001] * 3, [2000, 2001])


def test_ambient_is_raised_where_permitted_and_inheritable_allow_it(payload) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan, bounding=CHOWN | KILL_CAP | NET_BIND, effective=CHOWN, permitted=CHOWN | KILL_CAP,
             inheritable=CHOWN | NET_BIND, ambient=CHOWN | KILL_CAP | NET_BIND)
    plan.uid = plan.gid = 1000
    facts = probe(plan)
    assert facts["caps"] == {"effective": CHOWN, "permitted": CHOWN, "inheritable": CHOWN | NET_BIND,
                             "bounding": CHOWN | KILL_CAP | NET_BIND, "ambient": CHOWN}


def test_capabilities_lent_through_the_ambient_set_do_not_reach_the_payload(payload) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan, bounding=KILL_CAP)
    plan.uid = plan.gid = 1000
    lent = "+setuid,+setgid,+setpcap,+kill"
    wrapper = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", f"--inh-caps={lent}",
               f"--ambient-caps={lent}", "--")
    facts = probe(plan, wrapper=wrapper)
    assert facts["caps"] == {"effective": 0, "permitted": 0, "inheritable": 0, "bounding": KILL_CAP, "ambient": 0}


def test_a_capability_that_the_machine_withholds_is_left_out(payload) -> None:
    plan = exec_plan(payload, "probe")
    facts = probe(plan, wrapper=("setpriv", "--bounding-set=-chown", "--"))
    assert facts["caps"]["effective"] & (CHOWN | KILL_CAP) == KILL_CAP


def test_groups_are_left_alone_when_the_plan_has_none(payload) -> None:
    plan = exec_plan(payload, "probe")
    assert probe(plan, wrapper=("setpriv", "--groups=7,8", "--"))["groups"] == [7, 8]


def test_signals_that_the_caller_blocked_or_ignored_are_reset(payload) -> None:
    wrapper = ("env", "--ignore-signal=PIPE,TERM,CHLD", "--block-signal=USR1,HUP")
    facts = probe(exec_plan(payload, "probe"), wrapper=wrapper)
    assert (facts["sigblk"], facts["sigign"]) == (0, [])


def test_a_foreground_payload_dies_with_its_parent_and_the_flag_survives_the_change_of_user(payload) -> None:
    plan = exec_plan(payload, "probe")
    plan.uid, plan.pdeathsig = 1000, signal.SIGKILL
    assert probe(plan)["pdeathsig"] == signal.SIGKILL


def test_arguments_and_environment_arrive_byte_by_byte() -> None:
    plan = exec_plan("/bin/sh", "-c", 'printf "%s|" "$0" "$@" "$A"', "\udcff", "", "two words")
    plan.env = [b"A=1\n2\xfe"]
    with Tail(plan) as tail:
        assert tail.output() == b"\xff||two words|1\n2\xfe|"


# ---- descriptors

def test_the_payload_gets_stdio_and_nothing_else(payload) -> None:
    directory = lifted(os.open("/", os.O_RDONLY))
    plan = exec_plan(payload, "probe")
    facts = probe(plan, extra_fds=(directory,))
    os.close(directory)
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]


def test_preserved_descriptors_keep_their_numbers_and_ours_leave_their_range(payload) -> None:
    plan = exec_plan(payload, "probe")
    plan.preserve_fds = 100  # the harness's own descriptors for T are in this range
    facts = probe(plan, wrapper=("sh", "-c", 'exec 3</etc/passwd 5</etc/group; exec "$@"', "sh"))
    assert {entry["fd"]: entry["target"] for entry in facts["fds"] if entry["fd"] > 2} == {
        3: "/etc/passwd", 5: "/etc/group"}


# ---- cwd

@pytest.fixture
def private(tmp_path) -> Path:
    """A directory that only uid 1000 may enter, below directories that everybody may."""
    let_in(tmp_path)
    path = tmp_path / "private"
    path.mkdir(mode=0o700)
    os.chown(path, 1000, 1000)
    return path


def test_cwd_may_need_the_runtime_s_privilege(payload, private) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan)
    plan.uid, plan.cwd = 2000, os.fsencode(private)
    assert probe(plan)["cwd"] == str(private)


def test_cwd_may_need_to_be_entered_as_the_user(payload, private) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan)
    plan.uid, plan.cwd = 1000, os.fsencode(private)
    assert probe(plan, wrapper=NO_DAC)["cwd"] == str(private)


def test_cwd_may_have_been_entered_before(payload, private) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan)
    plan.cwd, plan.cwd_entered = os.fsencode(private), True
    assert probe(plan, wrapper=NO_DAC, cwd=str(private))["cwd"] == str(private)


@pytest.mark.parametrize("entered", [False, True])
def test_cwd_that_nobody_may_enter_or_that_is_missing_is_refused(entered, payload, private) -> None:
    plan = exec_plan(payload, "probe")
    plan.cwd_entered = entered
    plan.uid, plan.cwd = 2000, os.fsencode(private / "missing")
    with Tail(plan) as tail:
        assert tail.report() == ("chdir", 0, errno.ENOENT, 0)
    if not entered:
        plan.cwd = os.fsencode(private)
        with Tail(plan, wrapper=NO_DAC) as tail:
            assert tail.report() == ("chdir", 0, errno.EACCES, 0)
            assert tail.wait() == 1


def test_cwd_outside_the_root_is_refused(payload, tmp_path) -> None:
    """CVE-2024-21626: a directory of the host reached through a leaked descriptor."""
    (tmp_path / "proc").mkdir()
    shutil.copy(compile_program("tail"), tmp_path / "tail")
    shutil.copy(payload, tmp_path / "payload")
    plan = exec_plan("/payload", "probe")
    plan.cwd, plan.preserve_fds = b"/proc/self/fd/3", 1
    script = 'mount -t proc proc "$0/proc" && exec 3</ && exec chroot "$0" "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", script, str(tmp_path))
    with Tail(plan, wrapper=wrapper, program="/tail") as tail:
        assert tail.report() == ("getcwd", 0, errno.ENOENT, 0)
        assert tail.wait() == 1
        assert tail.output() == b""


# ---- filter

def test_with_no_new_privs_nothing_but_execve_follows_the_filter(payload) -> None:
    plan = exec_plan(payload, "exit", "7")
    plan.no_new_privs, plan.seccomp = True, bpf([EXECVE], ALLOW, KILL)
    with Tail(plan) as tail:
        assert tail.report() is EXECUTED
        assert tail.wait() == -signal.SIGSYS  # the payload's own first call


def test_without_no_new_privs_only_capset_and_execve_follow_the_filter(payload) -> None:
    plan = exec_plan(payload, "exit", "7")
    set_caps(plan, bounding=CHOWN, permitted=CHOWN, effective=CHOWN)
    plan.uid, plan.seccomp = 1000, bpf([EXECVE, CAPSET], ALLOW, KILL)
    with Tail(plan) as tail:
        assert tail.report() is EXECUTED
        assert tail.wait() == -signal.SIGSYS


def test_a_profile_need_not_allow_what_the_tail_calls(payload) -> None:
    plan = exec_plan(payload, "exit", "7")
    plan.no_new_privs, plan.seccomp, plan.groups = True, bpf(PREPARING, KILL, ALLOW), [5]
    plan.uid = 1000
    with Tail(plan) as tail:
        assert tail.report() is EXECUTED
        assert tail.wait() == 7


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_the_filter_is_in_force_and_the_capability_to_load_it_is_gone(no_new_privs, payload) -> None:
    plan = exec_plan(payload, "probe")
    set_caps(plan, bounding=CHOWN, permitted=CHOWN, effective=CHOWN)
    plan.no_new_privs, plan.seccomp, plan.seccomp_flags = no_new_privs, bpf([GETUID], deny(errno.ENXIO), ALLOW), 1 | 4
    facts = probe(plan)
    assert (facts["seccomp"], facts["nnp"]) == (2, int(no_new_privs))
    assert facts["caps"] == {"effective": CHOWN, "permitted": CHOWN, "inheritable": 0, "bounding": CHOWN, "ambient": 0}


def test_a_filter_that_may_not_be_loaded_or_makes_no_sense_is_an_error(payload) -> None:
    plan = exec_plan(payload, "exit", "7")
    plan.seccomp = bpf([], ALLOW, ALLOW)
    with Tail(plan, wrapper=("setpriv", "--bounding-set=-sys_admin", "--")) as tail:
        assert tail.report() == ("seccomp", 0, errno.EACCES, 0)
    plan.seccomp = bytes(8)  # an instruction that ends nothing
    with Tail(plan) as tail:
        assert tail.report() == ("seccomp", 0, errno.EINVAL, 0)
        assert tail.wait() == 1


def test_a_failure_under_a_filter_is_reported_by_the_call_that_it_allows(tmp_path) -> None:
    for denied, other in ((WRITE, SENDTO), (SENDTO, WRITE)):
        plan = exec_plan(tmp_path / "missing")
        plan.no_new_privs, plan.seccomp = True, bpf([denied], deny(errno.EPERM), ALLOW)
        with Tail(plan) as tail:
            assert tail.report() == ("execve", 0, errno.ENOENT, 0), other
            assert tail.wait() == 1


def test_the_tail_ends_even_where_the_filter_denies_its_exit(tmp_path) -> None:
    plan = exec_plan(tmp_path / "missing")
    plan.no_new_privs, plan.seccomp = True, bpf([EXECVE], ALLOW, deny(errno.EPERM))
    with Tail(plan) as tail:
        assert tail.wait() in (-signal.SIGILL, -signal.SIGTRAP)
    plan = init_plan(tmp_path / "missing")  # and as pid 1 of a namespace, where most signals do nothing
    plan.no_new_privs, plan.seccomp = True, bpf([EXECVE], ALLOW, deny(errno.EPERM))
    with Tail(plan, wrapper=("unshare", "--pid", "--fork")) as tail:
        tail.ready()
        tail.start()
        assert tail.wait() in (128 + signal.SIGILL, -signal.SIGILL, -signal.SIGTRAP)


# ---- labels

@pytest.mark.parametrize("kind", ["apparmor", "selinux"])
def test_a_label_that_the_kernel_does_not_take_is_an_error(kind, payload) -> None:
    plan = exec_plan(payload, "probe")
    plan.proc_fd = lifted(os.open("/proc", os.O_PATH | os.O_DIRECTORY))
    setattr(plan, kind, b"capsule-no-such-label")
    with Tail(plan) as tail:
        os.close(plan.proc_fd)
        step, _, error, _ = tail.report()
        assert step == "label" and error
        assert (tail.wait(), tail.output()) == (1, b"")


def test_a_label_that_does_not_read_back_is_an_error(payload, tmp_path) -> None:
    """A file that swallows the write is not the kernel's."""
    (tmp_path / "thread-self/attr").mkdir(parents=True)
    (tmp_path / "thread-self/attr/exec").symlink_to("/dev/null")
    plan = exec_plan(payload, "probe")
    plan.proc_fd = lifted(os.open(tmp_path, os.O_PATH | os.O_DIRECTORY))
    plan.selinux = b"system_u:object_r:container_t:s0"
    with Tail(plan) as tail:
        os.close(plan.proc_fd)
        assert tail.report() == ("label", 0, errno.ENODATA, 0)


@pytest.mark.row(19, 20)
@pytest.mark.parametrize(("kind", "name", "written"), [
    ("apparmor", "thread-self/attr/apparmor/exec", b"exec a-profile"),
    ("apparmor", "thread-self/attr/exec", b"exec a-profile"),
    ("selinux", "thread-self/attr/exec", b"system_u:system_r:container_t:s0:c1,c2"),
], ids=["apparmor", "apparmor before Linux 5.1", "selinux"])
def test_a_label_is_written_whole_to_the_kernels_file(kind, name, written, payload, tmp_path) -> None:
    """With a procfs that keeps what it is told; the program starts."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"")
    plan = exec_plan(payload, "exit", "5")
    plan.proc_fd = lifted(os.open(tmp_path, os.O_PATH | os.O_DIRECTORY))
    setattr(plan, kind, written.removeprefix(b"exec "))
    with Tail(plan) as tail:
        os.close(plan.proc_fd)
        assert tail.report() is EXECUTED
        assert tail.wait() == 5
    assert (tmp_path / name).read_bytes() == written


# ---- ids that cannot be had

@pytest.mark.parametrize("fields, record", [
    ({"groups": [1]}, ("setgroups", 0, errno.EPERM, 0)),
    ({"gid": 5}, ("setgid", 5, errno.EINVAL, 0)),
    ({"uid": 6}, ("setuid", 6, errno.EINVAL, 0)),
])
def test_an_id_that_the_namespace_does_not_have_is_an_error(fields, record, payload) -> None:
    plan = exec_plan(payload, "probe")
    for name, value in fields.items():
        setattr(plan, name, value)
    wrapper = ("unshare", "--user", "--map-root-user")
    with Tail(plan, wrapper=wrapper) as tail:
        assert tail.report() == record
        assert (tail.wait(), tail.output()) == (1, b"")


# ---- created, start

@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.skipif(
    not shutil.which("clang"), reason="clang is not installed"))])
def test_init_waits_is_started_once_and_then_refuses_connections(compiler, payload) -> None:
    with Tail(init_plan(payload, "cat"), compiler=compiler) as tail:
        tail.ready()
        assert tail.sync.recv(16) == b""  # closed: create is done
        assert tail.start() is EXECUTED
        with pytest.raises(ConnectionRefusedError):
            tail.connect()
        assert tail.wait() == 0


def test_status_probes_and_nonsense_do_not_start_it(payload) -> None:
    with Tail(init_plan(payload, "exit", "5")) as tail:
        tail.ready()
        for words in (b"", b"x", message(ACK), message(START, b"12345678"), message(START) + b"x"):
            with tail.connect() as sock:
                if words:
                    sock.send(words)
                    assert sock.recv(64) == b""
        assert tail.start() is EXECUTED
        assert tail.wait() == 5


def test_a_second_start_on_its_way_does_not_look_like_success(payload) -> None:
    with Tail(init_plan(payload, "cat")) as tail:
        tail.ready()
        os.kill(tail.process.pid, signal.SIGSTOP)
        first, second = tail.connect(), tail.connect()
        with first, second:
            first.send(message(START))
            second.send(message(START))
            os.kill(tail.process.pid, signal.SIGCONT)
            assert tail.report(first) is EXECUTED
            with pytest.raises(ConnectionResetError):
                second.recv(64)


def test_without_a_process_it_waits_and_answers_start_with_an_error() -> None:
    plan = init_plan("/unused")
    plan.has_process = False
    with Tail(plan) as tail:
        tail.ready()
        for _ in range(2):
            assert tail.start() == ("start", 0, errno.EINVAL, 0)
        assert tail.process.poll() is None


def test_start_reports_that_execve_failed_and_init_exits(tmp_path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    with Tail(init_plan(tmp_path / "script")) as tail:
        tail.ready()
        assert tail.start() == ("execve", 0, errno.ENOENT, 0)
        assert tail.wait() == 1


def test_a_created_container_survives_the_end_of_create(payload) -> None:
    plan = init_plan(payload, "exit", "3")
    with Tail(plan, wrapper=("setpriv", "--pdeathsig=KILL", "--")) as tail:
        tail.ready()
        status = Path(f"/proc/{tail.process.pid}/status").read_text()
        assert "SigIgn:\t0000000000000000" in status and "SigBlk:\t0000000000000000" in status
        assert tail.start() is EXECUTED


def test_as_pid_1_it_leaves_no_zombie_of_others_to_the_payload(payload) -> None:
    with Tail(init_plan(payload, "probe"), wrapper=("unshare", "--pid", "--fork")) as tail:
        tail.ready()
        pid = tail.child()
        subprocess.run(["nsenter", "--target", str(pid), "--pid", "sh", "-c", "(sleep 0.05 &)"], check=True)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        wait_until(lambda: not children.read_text())
        assert tail.start() is EXECUTED
        assert json.loads(tail.output())["pid"] == 1


def test_nobody_of_the_same_user_may_look_into_it_while_it_waits(payload) -> None:
    """Not dumpable: /proc/PID belongs to root whatever its uid, and ptrace is refused (CVE-2016-9962)."""
    wrapper = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--")
    with Tail(init_plan("/bin/true"), wrapper=wrapper) as tail:
        tail.ready()
        assert os.stat(f"/proc/{tail.process.pid}/fd").st_uid == 0


def test_a_created_container_holds_kilobytes(payload) -> None:
    with Tail(init_plan(payload, "exit")) as tail:
        tail.ready()
        rollup = Path(f"/proc/{tail.process.pid}/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        assert private <= 64, rollup


# ---- exec

def test_exec_waits_for_the_acknowledgement_when_told_to(payload) -> None:
    plan = exec_plan(payload, "exit", "6")
    plan.wait_ack = True
    with Tail(plan) as tail:
        tail.ready()
        assert tail.process.poll() is None
        tail.sync.send(message(ACK))
        assert tail.report() is EXECUTED
        assert tail.wait() == 6


@pytest.mark.parametrize("answer", [message(START), b""], ids=["another word", "end of file"])
@pytest.mark.parametrize("plan_of", [exec_plan, init_plan], ids=["exec", "init"])
def test_without_the_parents_word_it_leaves(plan_of, answer, payload) -> None:
    plan = plan_of(payload, "probe")
    plan.wait_ack = True
    with Tail(plan) as tail:
        tail.ready()
        tail.sync.send(answer) if answer else tail.sync.shutdown(1)
        assert (tail.wait(), tail.output()) == (1, b"")


@pytest.mark.parametrize("argument", [[], ["x"], ["-1"], ["3x"], ["0"], ["99999999999"], ["900"], ["3", "4"]])
def test_without_a_plan_it_exits_127(argument) -> None:
    done = subprocess.run([compile_program("tail"), *argument], stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 127


def test_a_truncated_plan_is_refused(payload) -> None:
    plan = exec_plan(payload, "probe")
    plan.sync_fd = 3
    data = tail_plan.encode(plan)
    for size in range(0, len(data), 16):
        fd = memfd(data[:size])
        done = subprocess.run([compile_program("tail"), str(fd)], pass_fds=[fd], capture_output=True, check=False)
        os.close(fd)
        assert (done.returncode, done.stdout) == (127, b""), size


@pytest.mark.parametrize("name", ["tail", "relay"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_the_programs_are_small_static_and_never_writable_and_executable(name, compiler) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    program = compile_program(name, compiler)
    headers = subprocess.run(["readelf", "-lW", program], capture_output=True, text=True, check=True).stdout
    assert program.stat().st_size < 16384
    assert "INTERP" not in headers and "DYNAMIC" not in headers and "RWE" not in headers


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc") or not shutil.which("qemu-aarch64-static"),
                    reason="no aarch64 compiler or emulator")
def test_it_runs_a_payload_on_aarch64(payload) -> None:
    plan = exec_plan(payload, "probe")  # the payload is the host's: the emulator passes execve on
    plan.uid, plan.gid, plan.groups, plan.umask, plan.cwd = 1000, 1001, [7], 0o027, b"/proc"
    plan.env = [b"A=b"]
    facts = probe(plan, wrapper=("qemu-aarch64-static",), compiler="aarch64-linux-gnu-gcc")
    assert (facts["uid"], facts["gid"], facts["groups"]) == ([1000] * 3, [1001] * 3, [7])
    assert (facts["umask"], facts["cwd"]) == (0o027, "/proc")
