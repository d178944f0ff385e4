"""The seccomp listener's way from the tail to the agent, whatever the profile intercepts."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

import pytest
from helpers.payload import build_payload
from tail_kit import ACK, ALLOW, EXECUTED, NOTIFY, Tail, bpf, exec_plan, init_plan, lifted_socket, message

from capsule.protocol.tail_plan import TailPlan

pytestmark = pytest.mark.requires("root", "gcc")

NEW_LISTENER = 8
NOTIF_RECV, NOTIF_SEND, NOTIF_SIZE = 0xC0502100, 0xC0182101, 80
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
STATE = json.dumps({"fds": ["seccompFd"], "metadata": "m" * 1000}).encode()
# execve write sendmsg close exit_group, and much that a static program calls; on x86-64 and aarch64
INTERCEPTED = {
    "x86_64": [59, 1, 46, 3, 231, 44, 126, 12, 218], "aarch64": [221, 64, 211, 57, 94, 206, 91, 214, 96],
}[os.uname().machine]


class Agent:
    """Receive one listener, let every intercepted call continue, and count them."""

    def __init__(self) -> None:
        ours, theirs = map(lifted_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
        self.socket, self.tail_end = ours, theirs
        self.state, self.calls, self.error = b"", [], None
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.tail_end.close()
        self._thread.join(20)
        self.socket.close()

    def _serve(self) -> None:
        self.socket.settimeout(20)
        data, control, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for _, _, body in control:
            fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
        self.state = data
        for listener in fds:
            self._answer(listener)
            os.close(listener)

    def _answer(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while poll.poll(20000)[0][1] & select.POLLIN:  # then POLLHUP: nobody is filtered any more
            notification = bytearray(NOTIF_SIZE)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, notification)
                cookie, _, _, call = struct.unpack_from("=QIIi", notification)
                self.calls.append(call)
                fcntl.ioctl(listener, NOTIF_SEND, struct.pack("=QqiI", cookie, 0, 0, CONTINUE))
            except OSError as err:
                if err.errno != errno.ENOENT:  # the caller died meanwhile
                    raise


def watched(plan: TailPlan, agent: Agent, no_new_privs: bool) -> TailPlan:
    plan.seccomp, plan.seccomp_flags, plan.no_new_privs = bpf(INTERCEPTED, NOTIFY, ALLOW), NEW_LISTENER, no_new_privs
    plan.agent_fd, plan.agent_state = agent.tail_end.fileno(), STATE
    return plan


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_the_agent_gets_the_state_and_the_listener_and_the_payload_neither(no_new_privs) -> None:
    with Agent() as agent:
        plan = watched(exec_plan(build_payload(), "probe"), agent, no_new_privs)
        with Tail(plan) as tail:
            agent.tail_end.close()
            assert tail.report() is EXECUTED
            facts = json.loads(tail.output())
    assert agent.state == STATE
    assert INTERCEPTED[0] in agent.calls[:2]  # without no_new_privs capset comes first
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
    assert (facts["seccomp"], facts["nnp"]) == (2, int(no_new_privs))


def test_a_hook_is_under_the_same_filter_and_listener(tmp_path) -> None:
    with Agent() as agent:
        payload = build_payload()
        plan = watched(init_plan(payload, "exit", "8"), agent, True)
        plan.hooks = [(os.fsencode(payload), [b"p", b"record", os.fsencode(tmp_path / "facts")], None, 20000)]
        plan.hook_state = b"state"
        with Tail(plan) as tail:
            agent.tail_end.close()
            tail.ready()
            assert tail.start() is EXECUTED
            assert tail.wait() == 8
    stdin, facts = json.loads((tmp_path / "facts").read_text())
    assert stdin == "state"
    assert [entry["fd"] for entry in facts["fds"]] == [0, 1, 2]
    assert agent.calls.count(INTERCEPTED[0]) == 2  # the hook's execve and the payload's


@pytest.mark.row(128)
@pytest.mark.parametrize("pid", [1, 4194304, 4294967295])
def test_the_state_is_sent_with_the_pid_that_r_says(pid) -> None:
    """R knows it only when the process exists; a NUL, which no JSON has, keeps its places."""
    with Agent() as agent:
        plan = watched(exec_plan(build_payload(), "probe"), agent, True)
        plan.wait_ack, plan.agent_state = True, b'{"pid":\0,"state":{"pid":\0}}'
        with Tail(plan) as tail:
            agent.tail_end.close()
            tail.ready()
            tail.sync.send(message(ACK, struct.pack("=I", pid)))
            assert tail.report() is EXECUTED
            tail.output()
    assert json.loads(agent.state) == {"pid": pid, "state": {"pid": pid}}


def test_an_agent_that_has_gone_is_an_error() -> None:
    ours, theirs = map(lifted_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    plan = exec_plan(build_payload(), "probe")
    plan.seccomp, plan.seccomp_flags = bpf([0xFFFF], NOTIFY, ALLOW), NEW_LISTENER
    plan.agent_fd, plan.agent_state = theirs.fileno(), STATE
    ours.close()
    with theirs, Tail(plan) as tail:
        assert tail.report() == ("seccomp agent", 0, errno.EPIPE, 0)
        assert (tail.wait(), tail.output()) == (1, b"")
