"""The plan that R hands the relay, or the monitor, when it replaces itself by it; csrc/relay.c and monitor.c act on it.

Paths are absolute host paths; docs/tail.md has the records.
"""
from __future__ import annotations

from capsule.protocol._plan import (
    NO_FD,
    number,
    pack,
    pack_list,
    pack_strings,
    signed,
    u32,
    u64,
    unpack,
    unpack_list,
    unpack_strings,
)

MAGIC = b"CAPRELAY"

_BASE, _CLEANUP_DIRS, _CLEANUP_FILES, _STATE_DIR, _KILL_CGROUP, _FALLBACK = 1, 2, 3, 4, 5, 6
_DEADLINE, _RECORD, _OOM, _NOTIFY = 7, 8, 9, 10
_MONITOR, _LOG, _AGAIN, _HEALTH = 11, 12, 13, 14
_FORWARD_SIGNALS, _USE_TTY, _FALLBACK_ALWAYS = 1, 2, 4


LOG_KINDS = ("none", "k8s-file", "json-file")  # index: what the plan says


class MonitorPlan:
    """What the engine's containers have besides: the relay looks at alive_fd alone."""

    __slots__ = ("alive_fd", "output_fd", "error_fd", "input_fd", "listen_fd", "log_dir_fd", "log_name", "log_kind",
                 "log_files", "log_size", "health_ms", "health_argv", "again_argv")

    def __init__(self) -> None:
        self.alive_fd = NO_FD       # flocked; kept open to the end
        self.output_fd = NO_FD      # pipes; none where there is a terminal
        self.error_fd = NO_FD
        self.input_fd = NO_FD
        self.listen_fd = NO_FD      # SOCK_SEQPACKET listener of those who attach
        self.log_dir_fd = NO_FD
        self.log_name = b""         # in that directory
        self.log_kind = 0           # index into LOG_KINDS
        self.log_files = 0          # how many, the present one included
        self.log_size = 0           # bytes; 0: no limit
        self.health_ms = 0
        self.health_argv: list[bytes] = []  # [0] an absolute path; as again_argv
        self.again_argv: list[bytes] = []   # replaces the monitor when the fallback's exit status asks for it

    def fds(self) -> list[int]:
        """List the descriptors."""
        return [self.alive_fd, self.output_fd, self.error_fd, self.input_fd, self.listen_fd, self.log_dir_fd]


class RelayPlan:
    """Whom the relay waits for, what it copies, and what it leaves behind."""

    __slots__ = (
        "child_pid", "child_pidfd", "master_fd", "report_fd", "state_fd", "lock_fd", "forward_signals", "use_tty",
        "cleanup_dirs", "cleanup_files", "state_dir", "kill_cgroup", "fallback_argv", "fallback_always",
        "record_fd", "record_name", "record_head", "oom_counters", "timeout_ms", "kill_after_ms",
        "notify_inner_fd", "notify_outer_fd", "monitor",
    )

    def __init__(self, child_pid: int, child_pidfd: int):
        self.child_pid = child_pid
        self.child_pidfd = child_pidfd
        self.master_fd = NO_FD          # pty master
        self.report_fd = NO_FD          # socket that gets EXITED
        self.state_fd = NO_FD           # state_dir, opened: nothing is removed once the path names another
        self.lock_fd = NO_FD            # not locked by R; flocked during the clean-up
        self.forward_signals = True
        self.use_tty = False            # needs forward_signals
        self.cleanup_dirs: list[bytes] = []     # cgroups, in the order of removal
        self.cleanup_files: list[bytes] = []
        self.state_dir: bytes | None = None     # removed last
        self.kill_cgroup: bytes | None = None   # a cgroup.kill file
        self.fallback_argv: list[bytes] = []    # [0] an absolute path; run when the clean-up fails
        self.fallback_always = False            # leave all of it to the fallback
        # The record of the end: a name in record_fd, written in any case; or a path, written unless it is exit 0.
        self.record_fd = NO_FD
        self.record_name: bytes | None = None
        self.record_head = b""                  # the beginning of a JSON object
        self.oom_counters: bytes | None = None  # the memory cgroup's file with the line oom_kill
        self.timeout_ms = 0                     # then SIGTERM; 0: no limit
        self.kill_after_ms = 0                  # after that, SIGKILL
        self.notify_inner_fd = NO_FD            # datagram socket on which the program says READY=1
        self.notify_outer_fd = NO_FD            # and the one where that goes; both or none
        self.monitor: MonitorPlan | None = None


def encode(plan: RelayPlan) -> bytes:
    """Encode a plan for csrc/relay.c.

    Raises ValueError on an embedded NUL or a plan above 16 MiB, OverflowError on a number that does not fit.
    """
    flags = (
        (_FORWARD_SIGNALS if plan.forward_signals else 0) | (_USE_TTY if plan.use_tty else 0)
        | (_FALLBACK_ALWAYS if plan.fallback_always else 0)
    )
    records = [(_BASE, b"".join([u32(value) for value in (
        flags, plan.child_pid, plan.child_pidfd, plan.master_fd, plan.report_fd, plan.state_fd, plan.lock_fd,
        plan.record_fd,
    )]))]
    if plan.cleanup_dirs:
        records.append((_CLEANUP_DIRS, pack_list(plan.cleanup_dirs)))
    if plan.cleanup_files:
        records.append((_CLEANUP_FILES, pack_list(plan.cleanup_files)))
    if plan.state_dir is not None:
        records.append((_STATE_DIR, pack_strings([plan.state_dir])))
    if plan.kill_cgroup is not None:
        records.append((_KILL_CGROUP, pack_strings([plan.kill_cgroup])))
    if plan.fallback_argv:
        records.append((_FALLBACK, pack_list(plan.fallback_argv)))
    if plan.timeout_ms:
        records.append((_DEADLINE, u32(plan.timeout_ms) + u32(plan.kill_after_ms)))
    if plan.record_name is not None:
        records.append((_RECORD, pack_list([plan.record_name, plan.record_head])))
    if plan.oom_counters is not None:
        records.append((_OOM, pack_strings([plan.oom_counters])))
    if plan.notify_inner_fd != NO_FD:
        records.append((_NOTIFY, u32(plan.notify_inner_fd) + u32(plan.notify_outer_fd)))
    if plan.monitor is not None:
        records += _monitor_records(plan.monitor)
    return pack(MAGIC, records)


def _monitor_records(plan: MonitorPlan) -> list[tuple[int, bytes]]:
    numbers = [*plan.fds(), plan.log_kind, plan.log_files, plan.health_ms, 0]
    records = [(_MONITOR, u64(plan.log_size) + b"".join([u32(value) for value in numbers]))]
    if plan.log_name:
        records.append((_LOG, pack_strings([plan.log_name])))
    if plan.again_argv:
        records.append((_AGAIN, pack_list(plan.again_argv)))
    if plan.health_argv:
        records.append((_HEALTH, pack_list(plan.health_argv)))
    return records


def decode(data: bytes) -> RelayPlan:
    """Read an encoded plan back.

    Raises ValueError when the bytes are not a plan. The C decoder is the strict one.
    """
    records = unpack(MAGIC, data)
    if not records or records[0][0] != _BASE:
        raise ValueError("decode plan: no base record")
    base = records[0][1]
    plan = RelayPlan(number(base, 4), signed(base, 8))
    plan.master_fd, plan.report_fd, plan.state_fd, plan.lock_fd = [signed(base, at) for at in (12, 16, 20, 24)]
    plan.record_fd = signed(base, 28)
    flags = number(base, 0)
    plan.forward_signals = bool(flags & _FORWARD_SIGNALS)
    plan.use_tty = bool(flags & _USE_TTY)
    plan.fallback_always = bool(flags & _FALLBACK_ALWAYS)
    for kind, body in records[1:]:
        if kind == _CLEANUP_DIRS:
            plan.cleanup_dirs = unpack_list(body)
        elif kind == _CLEANUP_FILES:
            plan.cleanup_files = unpack_list(body)
        elif kind == _STATE_DIR:
            plan.state_dir = unpack_strings(body, 1)[0]
        elif kind == _KILL_CGROUP:
            plan.kill_cgroup = unpack_strings(body, 1)[0]
        elif kind == _FALLBACK:
            plan.fallback_argv = unpack_list(body)
        elif kind == _DEADLINE:
            plan.timeout_ms, plan.kill_after_ms = number(body, 0), number(body, 4)
        elif kind == _RECORD:
            plan.record_name, plan.record_head = unpack_list(body)
        elif kind == _OOM:
            plan.oom_counters = unpack_strings(body, 1)[0]
        elif kind == _NOTIFY:
            plan.notify_inner_fd, plan.notify_outer_fd = signed(body, 0), signed(body, 4)
        elif kind in (_MONITOR, _LOG, _AGAIN, _HEALTH):
            plan.monitor = plan.monitor or MonitorPlan()
            _decode_monitor(plan.monitor, kind, body)
        else:
            raise ValueError(f"decode plan: unknown record {kind}")
    return plan


def _decode_monitor(plan: MonitorPlan, kind: int, body: bytes) -> None:
    if kind == _LOG:
        plan.log_name = unpack_strings(body, 1)[0]
    elif kind == _AGAIN:
        plan.again_argv = unpack_list(body)
    elif kind == _HEALTH:
        plan.health_argv = unpack_list(body)
    else:
        plan.log_size = number(body, 0, 8)
        (plan.alive_fd, plan.output_fd, plan.error_fd, plan.input_fd, plan.listen_fd,
         plan.log_dir_fd) = [signed(body, at) for at in (8, 12, 16, 20, 24, 28)]
        plan.log_kind, plan.log_files, plan.health_ms = [number(body, at) for at in (32, 36, 40)]
