"""Carry out a rootfs plan as S2 would, in namespaces that the caller made, and report what the root then holds.

Run as a program: a JSON request on stdin, a JSON answer on stdout. While operations run, an audit hook forbids
what the sealed interpreter forbids.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import struct
import sys
import termios
from pathlib import Path

from capsule._ext import fdpass, mountapi
from capsule.errors import CapsuleError
from capsule.rootfs import console, pivot
from capsule.rootfs.operations import Context
from capsule.rootfs.plan import from_data, make
from capsule.spec.load import load_config

FORBIDDEN = ("import", "open", "exec", "compile", "subprocess.Popen", "os.")
#: fsopen, open_tree, move_mount, mount_setattr, fsconfig, fsmount, fspick, openat2: for `missing`
NUMBERS = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "openat2": 437, "mount_setattr": 442,
}  # fmt: skip

sealed = False


def audit(event: str, arguments: tuple) -> None:
    if sealed and event.startswith(FORBIDDEN):
        sys.stderr.write(f"audit event in a sealed interpreter: {event} {arguments!r}\n")
        os._exit(99)


def deny(names: list[str]) -> None:
    """Answer ENOSYS to some system calls from now on: a classic BPF filter, one comparison for each."""
    allow, refuse = 0x7FFF0000, 0x00050000 | 38
    code = [(0x20, 0, 0, 0)]  # load the system call's number
    for index, name in enumerate(names):
        code.append((0x15, len(names) - index, 0, NUMBERS[name]))
    code += [(0x06, 0, 0, allow), (0x06, 0, 0, refuse)]
    raw = b"".join(
        op.to_bytes(2, "little") + bytes([jt, jf]) + k.to_bytes(4, "little") for op, jt, jf, k in code
    )
    buffer = ctypes.create_string_buffer(raw)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code), ctypes.addressof(buffer))
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


def mountinfo() -> list[dict]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split(" - ") for line in file.read().splitlines()]
    found = []
    for head, tail in rows:
        fields, rest = head.split(), tail.split()
        found.append(
            {"root": fields[3], "point": fields[4], "options": fields[5].split(","), "tags": fields[6:],
             "type": rest[0], "source": rest[1], "super": rest[2].split(",")}
        )  # fmt: skip
    return found


def carry_out(request: dict, answer: dict, channel: int) -> None:
    global sealed
    config = load_config(json.dumps(request["config"]).encode())
    plan = make(
        config, bundle=request["bundle"], in_userns=request.get("in_userns", False),
        has_mount_ns=request.get("has_mount_ns", True), console=request.get("console", False),
        cgroup_mounts=[tuple(row) for row in request.get("cgroup_mounts", [])], no_pivot=request.get("no_pivot", False),
    )  # fmt: skip
    plan = from_data(plan.to_data())

    def request_source(path: str, flags: int) -> int:
        fdpass.send(channel, (b"r" if flags & 1 else b"-") + path.encode())
        return fdpass.recv(channel, 10)[1][0]

    ctx = Context(plan.rootfs_path, request_source=request_source if channel >= 0 else None)
    before = open_fds()
    sealed = True
    for operation in plan.prepare:
        operation.execute(ctx)
    sealed = False
    exec(request.get("before_pivot", ""), {"os": os, "ctx": ctx, "answer": answer})
    sealed = True
    pivot.pivot(ctx)
    for operation in plan.finish:
        operation.execute(ctx)
    sealed = False
    namespace = {
        "os": os, "ctx": ctx, "answer": answer, "mountinfo": mountinfo, "console": console, "fcntl": fcntl,
        "struct": struct, "termios": termios,
    }  # fmt: skip
    exec(request.get("probe", ""), namespace)
    for fd in (ctx.console_master, ctx.console_slave):
        if fd >= 0:
            os.close(fd)
    ctx.close()
    answer["leaked"] = sorted(open_fds() - before)


def enter_user_namespace(keep_network: bool, ids: int) -> int:
    """Go on as root of a new user namespace with so many ids, the other namespaces in it; twice forked.

    Returns the channel to the process outside (see `serve`).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ours, theirs = fdpass.seqpacket_pair()
    child = os.fork()
    if child:
        os.close(theirs)
        serve(ours, child, ids)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.close(ours)
    # user, mount, pid, ipc, network
    if libc.unshare(0x10000000 | 0x00020000 | 0x20000000 | 0x08000000 | (0 if keep_network else 0x40000000)) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    fdpass.send(theirs, b"map")
    fdpass.recv(theirs, 100)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)
    child = os.fork()
    if child:
        os.close(theirs)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return theirs


def serve(channel: int, child: int, ids: int) -> None:
    """Answer the child as R would: write its id maps, and give it detached mounts of paths it may not reach."""
    while True:
        request, _ = fdpass.recv(channel, 4096)
        if not request:
            return
        if request == b"map":
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{child}/{name}").write_text(f"0 100000 {ids}")
            fdpass.send(channel, b".")
            continue
        fd = mountapi.clone(-100, request[1:].decode(), request[:1] == b"r")
        fdpass.send(channel, b".", (fd,))
        os.close(fd)


def open_fds() -> set[int]:
    found = set()
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.add(fd)
    return found


def main() -> None:
    request = json.load(sys.stdin)
    answer: dict = {}
    channel = -1
    if request.get("userns"):
        channel = enter_user_namespace(request.get("keep_network", False), request.get("ids", 65536))
    if request.get("missing"):
        deny(request["missing"])
    sys.addaudithook(audit)
    try:
        carry_out(request, answer, channel)
    except CapsuleError as err:
        answer["error"] = str(err)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
