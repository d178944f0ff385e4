"""The plan that S2 hands the tail: what T still has to do between start and the payload's execve.

`encode` makes the bytes that csrc/plan.c decodes; `decode` is for tests and `--explain`. docs/tail.md
has the records and the order in which T acts on them.
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

MAGIC = b"CAPSTAIL"

KIND_INIT = "init"
KIND_EXEC = "exec"

_BASE, _CAPS, _EXEC_PATH, _CWD, _ARGS, _ENV, _GROUPS = 1, 2, 3, 4, 5, 6, 7
_SECCOMP, _APPARMOR, _SELINUX, _HOOK, _HOOK_STATE, _AGENT_STATE = 8, 9, 10, 11, 12, 13

_HAS_PROCESS, _NO_NEW_PRIVS, _WAIT_ACK, _CWD_ENTERED = 1, 2, 4, 8
_ENV_OF_PROCESS = 0xFFFFFFFF

# Names of T's steps by number (enum tail_step of csrc/plan.h); 0 is never sent.
STEP_NAMES = (
    "none", "memory", "sync", "start", "label", "bounding set", "keep capabilities", "setgroups", "setgid",
    "setuid", "capset", "ambient set", "parent death signal", "chdir", "getcwd", "no new privileges",
    "seccomp", "seccomp agent", "startContainer hook", "start startContainer hook",
    "execute startContainer hook", "execve",
)
ERROR_SIZE = 16


class TailPlan:
    """What T needs to know; every field has the value that asks for nothing."""

    __slots__ = (
        "kind", "has_process", "no_new_privs", "wait_ack", "cwd_entered", "sync_fd", "start_fd", "proc_fd",
        "agent_fd", "preserve_fds", "pdeathsig", "uid", "gid", "umask", "seccomp_flags", "last_cap", "bounding",
        "effective", "permitted", "inheritable", "ambient", "exec_path", "cwd", "args", "env", "groups",
        "seccomp", "apparmor", "selinux", "hooks", "hook_state", "agent_state",
    )

    def __init__(self, kind: str, sync_fd: int):
        self.kind = kind                # KIND_INIT or KIND_EXEC
        self.sync_fd = sync_fd
        self.start_fd = NO_FD           # the start socket's listener; init only
        self.proc_fd = NO_FD            # directory of a private procfs; only a label needs it
        self.agent_fd = NO_FD           # connection to the seccomp agent
        self.has_process = True         # False: wait, and refuse to start
        self.no_new_privs = False
        self.wait_ack = False           # send READY on sync_fd and go on at ACK
        self.cwd_entered = False        # S2 already stands in cwd
        self.preserve_fds = 0           # fds 3 .. 2 + N stay open for the payload
        self.pdeathsig = 0
        self.uid = 0
        self.gid = 0
        self.umask = 0o022
        self.seccomp_flags = 0          # SECCOMP_FILTER_FLAG_*
        self.last_cap = 40
        self.bounding = 0
        self.effective = 0
        self.permitted = 0
        self.inheritable = 0
        self.ambient = 0
        self.exec_path = b""
        self.cwd = b"/"
        self.args: list[bytes] = []
        self.env: list[bytes] = []
        self.groups: list[int] | None = None    # None: do not call setgroups
        self.seccomp: bytes | None = None       # array of struct sock_filter
        self.apparmor: bytes | None = None      # profile
        self.selinux: bytes | None = None       # context
        # (path, args, env or None for the process's own, timeout in ms or 0 for none)
        self.hooks: list[tuple[bytes, list[bytes], list[bytes] | None, int]] = []
        self.hook_state = b""
        self.agent_state = b""          # JSON that accompanies the listener


def encode(plan: TailPlan) -> bytes:
    """Encode a plan for csrc/tail.c.

    Raises ValueError on an embedded NUL or a plan above 16 MiB, OverflowError on a number that does not fit.
    """
    records = [(_BASE, _encode_base(plan))]
    if not plan.has_process:
        return pack(MAGIC, records)
    records += (
        (_CAPS, u64(plan.bounding) + u64(plan.effective) + u64(plan.permitted) + u64(plan.inheritable)
         + u64(plan.ambient)),
        (_EXEC_PATH, pack_strings([plan.exec_path])),
        (_CWD, pack_strings([plan.cwd])),
        (_ARGS, pack_list(plan.args)),
        (_ENV, pack_list(plan.env)),
    )
    if plan.groups is not None:
        records.append((_GROUPS, b"".join([u32(group) for group in plan.groups])))
    if plan.seccomp is not None:
        records.append((_SECCOMP, plan.seccomp))
    if plan.apparmor is not None:
        records.append((_APPARMOR, pack_strings([plan.apparmor])))
    if plan.selinux is not None:
        records.append((_SELINUX, pack_strings([plan.selinux])))
    for hook in plan.hooks:
        records.append((_HOOK, _encode_hook(hook)))
    if plan.hooks:
        records.append((_HOOK_STATE, plan.hook_state))
    if plan.agent_state:
        records.append((_AGENT_STATE, plan.agent_state))
    return pack(MAGIC, records)


def _encode_base(plan: TailPlan) -> bytes:
    flags = (
        (_HAS_PROCESS if plan.has_process else 0) | (_NO_NEW_PRIVS if plan.no_new_privs else 0)
        | (_WAIT_ACK if plan.wait_ack else 0) | (_CWD_ENTERED if plan.cwd_entered else 0)
    )
    return b"".join([u32(value) for value in (
        1 if plan.kind == KIND_INIT else 2, flags, plan.sync_fd, plan.start_fd, plan.proc_fd, plan.agent_fd,
        plan.preserve_fds, plan.pdeathsig, plan.uid, plan.gid, plan.umask, plan.seccomp_flags, plan.last_cap, 0,
    )])


def _encode_hook(hook: tuple[bytes, list[bytes], list[bytes] | None, int]) -> bytes:
    path, args, env, timeout_ms = hook
    env_count = _ENV_OF_PROCESS if env is None else len(env)
    return u32(timeout_ms) + u32(len(args)) + u32(env_count) + u32(0) + pack_strings([path, *args, *(env or [])])


def decode(data: bytes) -> TailPlan:
    """Read an encoded plan back.

    Raises ValueError when the bytes are not a plan. The C decoder is the strict one.
    """
    records = unpack(MAGIC, data)
    if not records or records[0][0] != _BASE:
        raise ValueError("decode plan: no base record")
    plan = _decode_base(records[0][1])
    for kind, body in records[1:]:
        _decode_record(plan, kind, body)
    return plan


def _decode_base(body: bytes) -> TailPlan:
    plan = TailPlan(KIND_INIT if number(body, 0) == 1 else KIND_EXEC, signed(body, 8))
    flags = number(body, 4)
    plan.has_process = bool(flags & _HAS_PROCESS)
    plan.no_new_privs = bool(flags & _NO_NEW_PRIVS)
    plan.wait_ack = bool(flags & _WAIT_ACK)
    plan.cwd_entered = bool(flags & _CWD_ENTERED)
    plan.start_fd = signed(body, 12)
    plan.proc_fd = signed(body, 16)
    plan.agent_fd = signed(body, 20)
    plan.preserve_fds = number(body, 24)
    plan.pdeathsig = number(body, 28)
    plan.uid = number(body, 32)
    plan.gid = number(body, 36)
    plan.umask = number(body, 40)
    plan.seccomp_flags = number(body, 44)
    plan.last_cap = number(body, 48)
    return plan


def _decode_record(plan: TailPlan, kind: int, body: bytes) -> None:
    if kind == _CAPS:
        plan.bounding, plan.effective, plan.permitted, plan.inheritable, plan.ambient = [
            number(body, 8 * index, 8) for index in range(5)]
    elif kind == _EXEC_PATH:
        plan.exec_path = unpack_strings(body, 1)[0]
    elif kind == _CWD:
        plan.cwd = unpack_strings(body, 1)[0]
    elif kind == _ARGS:
        plan.args = unpack_list(body)
    elif kind == _ENV:
        plan.env = unpack_list(body)
    elif kind == _GROUPS:
        plan.groups = [number(body, offset) for offset in range(0, len(body), 4)]
    elif kind == _SECCOMP:
        plan.seccomp = body
    elif kind == _APPARMOR:
        plan.apparmor = unpack_strings(body, 1)[0]
    elif kind == _SELINUX:
        plan.selinux = unpack_strings(body, 1)[0]
    elif kind == _HOOK:
        plan.hooks.append(_decode_hook(body))
    elif kind == _HOOK_STATE:
        plan.hook_state = body
    elif kind == _AGENT_STATE:
        plan.agent_state = body
    else:
        raise ValueError(f"decode plan: unknown record {kind}")


def _decode_hook(body: bytes) -> tuple[bytes, list[bytes], list[bytes] | None, int]:
    args_count, env_count = number(body, 4), number(body, 8)
    own_env = env_count != _ENV_OF_PROCESS
    strings = unpack_strings(body[16:], 1 + args_count + (env_count if own_env else 0))
    env = strings[1 + args_count:] if own_env else None
    return strings[0], strings[1:1 + args_count], env, number(body, 0)


def decode_error(payload: bytes) -> tuple[str, int, int, int]:
    """Return (step name, index, errno, wait status) of T's error record.

    index is the hook's place or the capability's number; errno is 0 when the wait status tells.
    Raises ValueError when the payload is no such record.
    """
    step = number(payload, 0)
    if len(payload) != ERROR_SIZE or not 0 < step < len(STEP_NAMES):
        raise ValueError("decode error record: not a record of the tail")
    return STEP_NAMES[step], number(payload, 4), signed(payload, 8), number(payload, 12)
