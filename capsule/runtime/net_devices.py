"""`linux.netDevices`: move devices of our network namespace into the container's, with all that is theirs.

A device keeps its hardware address, MTU and flags by itself; what the kernel drops on the way, its addresses and
that it is up, is given to it again. At the container's end the kernel decides what becomes of it, as the
specification wants. Imported when the config asks for it. runtime-spec config-linux.md#network-devices.
"""

from __future__ import annotations

import posix

from capsule import log
from capsule.errors import NetworkError, SpecError
from capsule.linux import rtnetlink

_OWN = "/proc/thread-self/ns/net"
_SCOPE_GLOBAL = 0  # RT_SCOPE_UNIVERSE


class _Moved:
    """A device on the other side, and what it was here."""

    __slots__ = ("host_name", "name", "index", "was_up", "addresses")

    def __init__(self, host_name: str, name: str, link: rtnetlink.Link, addresses: list[rtnetlink.Address]) -> None:
        self.host_name = host_name
        self.name = name
        self.index = link.index  # in the namespace where it is now
        self.was_up = bool(link.flags & rtnetlink.IFF_UP)
        self.addresses = addresses


class NetDevices:
    """The devices of one config; `close` when the container has been made."""

    __slots__ = ("wanted", "own_fd", "their_fd", "moved")

    def __init__(self, wanted: dict[str, str]) -> None:
        self.wanted = wanted  # our name to the container's
        self.own_fd = self.their_fd = -1
        self.moved: list[_Moved] = []

    def check(self, joined_fd: int) -> None:
        """Refuse devices that cannot be moved; nothing has changed then. joined_fd: the namespace joined, 0 for none.

        Raises SpecError, NetworkError.
        """
        if joined_fd and posix.fstat(joined_fd).st_ino == posix.stat(_OWN).st_ino:
            raise SpecError("config.json", "linux.netDevices", "the container's network namespace is the runtime's own")
        ours = _open(-1)
        try:
            links = _by_name(ours)
        finally:
            ours.close()
        for name in self.wanted:
            link = links.get(name)
            where = f'linux.netDevices["{name}"]'
            if link is None:
                raise SpecError("config.json", where, "there is no network device of that name")
            if link.flags & rtnetlink.IFF_LOOPBACK:
                raise SpecError("config.json", where, "a loopback device cannot leave its network namespace")

    def move(self, pid: int) -> None:
        """Move every device into the network namespace of a process, or none: a failure gives back what was moved.

        Raises NetworkError.
        """
        try:
            self.own_fd = posix.open(_OWN, posix.O_RDONLY | posix.O_CLOEXEC)
            self.their_fd = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as err:
            raise NetworkError("open network namespace", f"of process {pid}", errno=err.errno or 0) from err
        ours, theirs = _open(-1), _open(self.their_fd)
        try:
            there = _by_name(theirs)
            for host_name, name in self.wanted.items():
                if name in there:
                    raise NetworkError("move network device", host_name, f"the container has a device {name} already")
            for host_name, name in self.wanted.items():
                self._move(ours, theirs, host_name, name)
        except BaseException:
            self.give_back()
            raise
        finally:
            ours.close()
            theirs.close()

    def _move(self, ours: rtnetlink.Socket, theirs: rtnetlink.Socket, host_name: str, name: str) -> None:
        try:
            link = _by_name(ours)[host_name]
            device = _Moved(host_name, name, link, ours.addresses(link.index))
            before = {other.index for other in theirs.links()}
            ours.move(link.index, self.their_fd, name)
            # Its index and, with a template, its name are the kernel's choice.
            device.index = [other.index for other in theirs.links() if other.index not in before][0]
            self.moved.append(device)
            _furnish(theirs, device)
            theirs.set_up(device.index)
        except (KeyError, IndexError) as err:
            raise NetworkError("move network device", host_name, "it has gone meanwhile") from err
        except OSError as err:
            raise _failed(host_name, err) from err

    def give_back(self) -> None:
        """Take back what was moved, since the container is not to be; a failure is a warning."""
        while self.moved:
            device = self.moved.pop()
            try:
                self._give_back(device)
            except (OSError, NetworkError, KeyError) as err:
                log.warning(f"give back network device {device.host_name}: {err}")

    def _give_back(self, device: _Moved) -> None:
        ours, theirs = _open(-1), _open(self.their_fd)
        try:
            theirs.move(device.index, self.own_fd, device.host_name)
            device.index = _by_name(ours)[device.host_name].index
            _furnish(ours, device)
            if device.was_up:
                ours.set_up(device.index)
        finally:
            ours.close()
            theirs.close()

    def close(self) -> None:
        """Let go of the namespaces."""
        for fd in (self.own_fd, self.their_fd):
            if fd >= 0:
                posix.close(fd)
        self.own_fd = self.their_fd = -1


def _open(netns_fd: int) -> rtnetlink.Socket:
    try:
        return rtnetlink.Socket(netns_fd)
    except OSError as err:
        raise NetworkError("open netlink socket", "", errno=err.errno or 0) from err


def _by_name(socket: rtnetlink.Socket) -> dict[str, rtnetlink.Link]:
    return {name: link for link in socket.links() for name in link.names}


def _furnish(socket: rtnetlink.Socket, device: _Moved) -> None:
    """Give a device its permanent addresses of global scope again. Raises OSError."""
    for address in device.addresses:
        if address.scope == _SCOPE_GLOBAL and address.flags & rtnetlink.IFA_F_PERMANENT:
            socket.add(device.index, address)


def _failed(host_name: str, err: OSError) -> NetworkError:
    words = err.strerror or ""
    own = words if words and words != posix.strerror(err.errno or 0).lower() else ""
    cause = f"{posix.strerror(err.errno or 0).lower()} ({own})" if own else ""
    return NetworkError("move network device", host_name, cause, errno=err.errno or 0)
