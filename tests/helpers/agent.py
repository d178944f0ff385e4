"""A seccomp agent: receives a listener as the specification has it, and answers calls (man 2 seccomp_unotify)."""

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
from collections.abc import Callable
from pathlib import Path

NOTIF_RECV, NOTIF_SEND, NOTIF_SIZE = 0xC0502100, 0xC0182101, 80
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
# (number of the call, pid) to errno; 0 lets the call happen, None leaves it without an answer
Answer = Callable[[int, int], int | None]


class Agent:
    """Serve every connection to a socket: `states` are the documents received, `calls` the calls answered."""

    def __init__(self, path: Path, answer: Answer = lambda call, pid: 0) -> None:
        self.path = path
        self.answer = answer
        self.states: list[dict] = []
        self.first_messages: list[int] = []  # descriptors beside the first bytes of each connection
        self.calls: list[int] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._stop_write)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._listener.close()
        os.close(self._stop_read)

    def _serve(self) -> None:
        poll, connections, listeners = select.poll(), {}, set()
        for fd in (self._stop_read, self._listener.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self._stop_read:
                    for connection in connections.values():
                        connection.close()
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._listener.fileno():
                    connection = self._listener.accept()[0]
                    self.connections += 1
                    connections[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                elif fd in connections:
                    poll.unregister(fd)
                    for listener in self._receive(connections.pop(fd)):
                        listeners.add(listener)
                        poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(fd)
                else:  # nobody is filtered any more
                    poll.unregister(fd)
                    listeners.discard(fd)
                    os.close(fd)

    def _receive(self, connection: socket.socket) -> list[int]:
        """Read one document to the end of the connection."""
        fds: array.array = array.array("i")
        with connection:
            data, control, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(16))
            for _, _, body in control:
                fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
            while more := connection.recv(1 << 16):
                data += more
        if data:
            self.first_messages.append(len(fds))
            self.states.append(json.loads(data))
        return list(fds)

    def _answer(self, listener: int) -> None:
        notification = bytearray(NOTIF_SIZE)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, notification)
            cookie, pid, _, call = struct.unpack_from("=QIIi", notification)
            self.calls.append(call)
            number = self.answer(call, pid)
            if number is None:
                return
            fcntl.ioctl(listener, NOTIF_SEND, struct.pack("=QqiI", cookie, 0, -number, 0 if number else CONTINUE))
        except OSError as err:
            if err.errno != errno.ENOENT:  # the caller died meanwhile
                raise
