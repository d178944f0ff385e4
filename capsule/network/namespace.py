"""Containers without a network of their own: none, host, another container's, a namespace at a path."""

from __future__ import annotations

import posix

from capsule.errors import NetworkError
from capsule.network.driver import NetworkDriver


class NoneDriver(NetworkDriver):
    """A new namespace with a loopback device and nothing else."""

    __slots__ = ()
    name = "none"
    has_records = False


class UserModeDriver(NetworkDriver):
    """`pasta`, `slirp4netns`: a new namespace, connected by a program of the caller's own (user_mode.py)."""

    __slots__ = ()
    name = "pasta"
    has_records = False


class SlirpDriver(UserModeDriver):
    """See UserModeDriver."""

    __slots__ = ()
    name = "slirp4netns"


class HostDriver(NetworkDriver):
    """The runtime's own namespace."""

    __slots__ = ()
    name = "host"
    has_records = False

    def namespace(self, argument: str, *, find_pid) -> str | None:
        return None


class ContainerDriver(NetworkDriver):
    """`container:ID`: the namespace of a container that runs."""

    __slots__ = ()
    name = "container"
    has_records = False

    def namespace(self, argument: str, *, find_pid) -> str | None:
        if not argument:
            raise NetworkError("join network of container", "", "expected container:ID")
        return f"/proc/{find_pid(argument)}/ns/net"


class PathDriver(NetworkDriver):
    """`ns:PATH`: a namespace that a file or a process keeps."""

    __slots__ = ()
    name = "ns"
    has_records = False

    def namespace(self, argument: str, *, find_pid) -> str | None:
        if not argument.startswith("/"):
            raise NetworkError("join network namespace", repr(argument), "expected ns:PATH with an absolute path")
        try:
            posix.stat(argument)
        except OSError as err:
            raise NetworkError("join network namespace", argument, errno=err.errno) from err
        return argument
