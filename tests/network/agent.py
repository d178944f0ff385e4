"""A process in a network namespace that speaks and listens for a test: JSON commands on stdin, answers on stdout.

Started with `unshare --net`; it ends with its stdin, and its namespace with it. A listener answers every connection
or datagram with a line: its own name, the peer's address as it sees it.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import struct
import subprocess
import sys
import threading

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
held: list[socket.socket] = []


def _socket(kind: str, address: str, timeout: float) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])
    made.settimeout(timeout)
    return made


def listen(kind: str, address: str, port: int, name: str) -> int:
    """Answer at an address and port from now on."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    if kind == "tcp":
        made.listen(16)
    held.append(made)
    threading.Thread(target=_serve, args=(kind, made, name), daemon=True).start()
    return made.getsockname()[1]


def _serve(kind: str, made: socket.socket, name: str) -> None:
    while True:
        try:
            if kind == "tcp":
                connection, peer = made.accept()
                with connection:
                    connection.sendall(f"{name} {peer[0]}".encode() + connection.recv(1 << 16))
            else:
                data, peer = made.recvfrom(1 << 16)
                made.sendto(f"{name} {peer[0]}".encode() + data, peer)
        except OSError:
            return


def ask(kind: str, address: str, port: int, timeout: float = 3, source: list | None = None, text: str = "") -> str:
    """Return what answers there: "NAME SOURCE", or "refused", "silence", "unreachable"."""
    made = _socket(kind, address, timeout)
    with made:
        try:
            if source:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(tuple(source))
            made.connect((address, port))
            made.sendall(text.encode() or b"\n")
            return made.recv(1 << 16).decode().strip()
        except TimeoutError:
            return "silence"
        except ConnectionError:
            return "refused"
        except OSError as error:
            return f"unreachable: {error.strerror}"


def ask_each(*asks: list) -> list[str]:
    """Ask several at once, each [kind, address, port, timeout, source]: what stays silent is waited for together."""
    with concurrent.futures.ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(lambda words: ask(*words), asks))


def ping(address: str, timeout: float = 1) -> bool:
    """Tell whether an ICMP echo is answered by that address."""
    scope = address.partition("%")[2]
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if ":" in address else (socket.AF_INET,
                                                                                       socket.IPPROTO_ICMP)
    mark = os.urandom(8)
    body = struct.pack("!BBHHH", 128 if family == socket.AF_INET6 else 8, 0, 0, 7, 1) + mark
    if family == socket.AF_INET:
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    with socket.socket(family, socket.SOCK_RAW, protocol) as made:
        made.settimeout(timeout)
        target = (address.partition("%")[0], 0, 0, socket.if_nametoindex(scope) if scope else 0)
        try:
            made.sendto(body, target if family == socket.AF_INET6 else target[:2])
            while True:
                data, peer = made.recvfrom(1 << 16)
                header = 0 if family == socket.AF_INET6 else 20
                if data.endswith(mark) and data[header] in (0, 129) and peer[0].partition("%")[0] == target[0]:
                    return True
        except OSError:
            return False


def frame(interface: str, data: str) -> int:
    """Send an Ethernet frame, given in hex, as it is."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind((interface, 0))
        return made.send(bytes.fromhex(data))


def hear(interface: str, protocol: int) -> int:
    """Count from now on the frames of an EtherType that arrive on an interface: `heard` tells."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    made.bind((interface, protocol))
    made.setblocking(False)
    held.append(made)
    return len(held) - 1


def heard(number: int) -> list[str]:
    """Return the frames, in hex, that arrived since the last call."""
    found = []
    while True:
        try:
            data, origin = held[number].recvfrom(1 << 16)
        except BlockingIOError:
            return found
        if origin[2] != socket.PACKET_OUTGOING:
            found.append(data.hex())


def run(*argv: str, stdin: str = "") -> list:
    """Run a program here; returns its status, stdout and stderr."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=50)
    return [done.returncode, done.stdout, done.stderr]


def write(path: str, text: str) -> int:
    with open(path, "w", encoding="ascii") as file:
        return file.write(text)


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def call(module: str, name: str, *arguments: object) -> object:
    """Call a function of capsule in this namespace; returns its value, or {"error": its message}."""
    found = __import__(module, fromlist=[name])
    try:
        value = getattr(found, name)(*arguments)
    except Exception as error:
        return {"error": str(error), "class": type(error).__name__}
    return value if isinstance(value, str | int | list | type(None)) else repr(value)


def linger() -> str:
    """Close what the listeners hold."""
    for made in held:
        made.close()
    held.clear()
    return ""


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071), for frames that tests write by hand."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


COMMANDS = {one.__name__: one
            for one in (listen, ask, ask_each, ping, frame, hear, heard, run, write, read, call, linger)}


def main() -> None:
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        name, arguments, options = json.loads(line)
        try:
            answer = {"value": COMMANDS[name](*arguments, **options)}
        except Exception as error:
            answer = {"raised": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
