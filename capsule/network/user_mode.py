"""Networks of ordinary users: pasta or slirp4netns carry a container's packets by sockets of the user's own.

The program runs below an attendant (csrc/attend_child.c), whose data file lies in the container's state directory: it
ends with the container's first process and with the directory, whatever else dies. man 1 pasta, man 1 slirp4netns.
"""

from __future__ import annotations

import posix

from capsule._ext import fdpass, json, proc
from capsule.errors import NetworkError, Unsupported
from capsule.network import attendant, ports as published
from capsule.state.store import USER_NETWORK

#: Where each answers for the host's name servers.
NAME_SERVERS = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}
_PACKAGES = {"pasta": "passt", "slirp4netns": "slirp4netns"}
_DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/bin")
_READY_MS = 15_000
_PATIENCE_MS = 5_000  # killing a program takes a few
_INTERFACE = "eth0"
_READY, _NETNS = "@5", "@7"  # descriptors of the attendant (csrc/attend_child.c), which the program opens anew
_TUN = "/dev/net/tun"


def find(kind: str) -> str:
    """Return the path of a program. Raises Unsupported."""
    for directory in _DIRECTORIES:
        if posix.access(f"{directory}/{kind}", posix.X_OK):
            return f"{directory}/{kind}"
    raise Unsupported("network", kind, f"the program {kind} is not installed (package {_PACKAGES[kind]})")


def installed() -> str:
    """Return the kind that this machine has, pasta before slirp4netns, or ""."""
    for kind in _PACKAGES:
        if any([posix.access(f"{directory}/{kind}", posix.X_OK) for directory in _DIRECTORIES]):
            return kind
    return ""


def check(kind: str, ports: list[dict]) -> list[dict]:
    """Refuse what cannot be had; returns the ports with every host port chosen. Raises NetworkError, Unsupported."""
    find(kind)
    if not posix.access(_TUN, posix.R_OK | posix.W_OK):
        raise Unsupported("network", kind, f"uid {posix.geteuid()} may not open {_TUN}")
    if not ports:
        return []
    for port in ports:
        if port["proto"] == "sctp":
            raise Unsupported("publish port", published.describe(port), f"{kind} carries tcp and udp, not sctp")
        if kind != "pasta" and ":" in port["host_ip"]:
            raise Unsupported("publish port", published.describe(port), f"{kind} publishes at IPv4 addresses alone")
    return published.allocate(ports, [], {4, 6})


def start(directory: str, id: str, kind: str, ports: list[dict], pid: int, namespaces: list[int]) -> None:
    """Connect a container; `namespaces` are descriptors of its network and its user namespace.

    Raises NetworkError, Unsupported.
    """
    netns_fd, userns_fd = namespaces
    above = [] if _is_ours(userns_fd) else [userns_fd]
    ready_fd, write_fd = posix.pipe()
    errors_fd = posix.memfd_create("capsule-errors", 1)  # MFD_CLOEXEC
    pidfd = proc.pidfd_open(pid)
    path = f"{directory}/{USER_NETWORK}"
    argv = [f"capsule-{kind}", id, "-u" if above else "-n", find(kind), *_argv(kind, ports, directory)]
    try:
        attendant.write(path, json.dumps({"network": kind, "ports": ports}).decode())
        attendant.run(path, argv, [pidfd, write_fd, errors_fd, netns_fd, *above])
        posix.close(write_fd)
        write_fd = -1
        is_ready = bool(proc.poll([(ready_fd, proc.POLLIN)], _READY_MS)) and bool(posix.read(ready_fd, 16))
        if not is_ready:
            attendant.stop(path, patience_ms=_PATIENCE_MS)
            raise NetworkError("connect by", kind, _last_words(errors_fd))
        if kind == "slirp4netns":
            for port in ports:
                _forward(_api_of(directory), port)
    finally:
        for fd in (ready_fd, write_fd, errors_fd, pidfd):
            if fd >= 0:
                posix.close(fd)


def _is_ours(userns_fd: int) -> bool:
    return posix.fstat(userns_fd).st_ino == posix.stat("/proc/thread-self/ns/user").st_ino


def _argv(kind: str, ports: list[dict], directory: str) -> list[str]:
    if kind == "slirp4netns":
        api = [f"--api-socket={_api_of(directory)}"] if ports else []
        return ["--configure", "--mtu=65520", "--enable-sandbox", "--enable-seccomp", "--disable-host-loopback",
                "--ready-fd=5", *api, "--netns-type=path", _NETNS, _INTERFACE]
    words = ["--config-net", "--foreground", "--quiet", "--no-map-gw", "--dns-forward", NAME_SERVERS[kind],
             "--ns-ifname", _INTERFACE, "--pid", _READY, "-T", "none", "-U", "none", "--netns", _NETNS, "--netns-only",
             "--no-netns-quit"]
    for flag, proto in (("-t", "tcp"), ("-u", "udp")):
        specs = [_spec(port) for port in ports if port["proto"] == proto]
        for spec in specs or ["none"]:
            words += [flag, spec]
    return words


def _spec(port: dict) -> str:
    where = f"{port['host_ip']}/" if port["host_ip"] else ""
    return f"{where}{port['host_port']}:{port['container_port']}"


def _api_of(directory: str) -> str:
    return f"{directory}/{USER_NETWORK}.sock"


def _forward(path: str, port: dict) -> None:
    """Have slirp4netns publish a port. Raises NetworkError."""
    request = {"execute": "add_hostfwd", "arguments": {
        "proto": port["proto"], "host_addr": port["host_ip"] or "0.0.0.0", "host_port": port["host_port"],
        "guest_port": port["container_port"]}}
    try:
        fd = fdpass.connect_stream(path)
        try:
            posix.write(fd, json.dumps(request))
            fdpass.end_of_words(fd)
            answer = posix.read(fd, 4096) if proc.poll([(fd, proc.POLLIN)], _READY_MS) else b""
        finally:
            posix.close(fd)
    except OSError as err:
        raise NetworkError("publish port", published.describe(port), errno=err.errno) from err
    if b'"error"' in answer or not answer:
        raise NetworkError("publish port", published.describe(port),
                           f"slirp4netns says {answer.decode('utf-8', 'replace').strip() or 'nothing'}")


def _last_words(errors_fd: int) -> str:
    text = posix.pread(errors_fd, 1 << 16, 0).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Failed to send")]
    return lines[-1] if lines else "it ended, or was not ready in time, and said nothing"


def endpoints(root: str) -> list[dict]:
    """Return what the containers of a runtime root have of it, as endpoints without addresses of ours."""
    found = []
    try:
        ids = [name for name in posix.listdir(root) if name[0] != "."]
    except FileNotFoundError:
        return []
    for id in ids:
        said = attendant.read(f"{root}/{id}/{USER_NETWORK}")
        if said:
            endpoint: dict = json.loads(said)  # type: ignore[assignment]
            found.append({"id": id, "container": id, "mac": "", "addresses": [], "gateways": [], "aliases": [],
                          **endpoint})
    return found


def stop(directory: str) -> None:
    """End what `start` started; fine when there is nothing. Raises NetworkError."""
    attendant.stop(f"{directory}/{USER_NETWORK}", patience_ms=_PATIENCE_MS)
