"""attach: what a monitor said before it ended is heard, although it did not read all of ours."""

from __future__ import annotations

import socket
import struct

from capsule.cli.cmd_attach import Session


def test_the_exit_status_is_heard_after_a_reset() -> None:
    ours, monitors = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, monitors:
        ours.send(b"Inot read")
        monitors.send(b"X" + struct.pack("=I", 6 << 8))
        monitors.close()
        assert Session(ours, "web", b"").run() == 6
