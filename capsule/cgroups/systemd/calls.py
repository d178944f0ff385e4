"""What is asked of a service manager: units started, stopped and changed (org.freedesktop.systemd1(5)).

Connections go to the manager's own socket first: no bus daemon is needed, nothing need be subscribed to. A manager
whose socket is not in sight is reached through the message bus.
"""

from __future__ import annotations

import errno
import posix
import time

from capsule import log
from capsule.cgroups.systemd import bus, units
from capsule.errors import CgroupError, Unsupported
from capsule.linux import namespaces

MODE = "replace"  # a job takes the place of one that is queued

_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_MANAGER = _SYSTEMD + ".Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_RULE = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"
_ABSENT = (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
_EXISTS, _NO_SUCH = _SYSTEMD + ".UnitExists", _SYSTEMD + ".NoSuchUnit"
# What a message bus answers in the place of a manager that may have done what it was told.
_LOST = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Timeout")
_JOB_TIMEOUT_NS = 60_000_000_000


class Refused(CgroupError):
    """The answer of systemd that it starts no unit, for one, because a unit of the name is there."""


class Systemd:
    """A connected service manager; `user` tells whose."""

    __slots__ = ("user", "connection")

    def __init__(self, *, user: bool) -> None:
        """Connect. Raises Unsupported where no systemd answers, CgroupError."""
        self.user = user
        self.connection = _connect(user)

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.connection.close()

    def _call(self, member: str, signature: str, *values) -> list:
        return self.connection.call(_MANAGER_PATH, _MANAGER, member, signature, values, to=_SYSTEMD)

    def _get(self, path: str, interface: str, name: str, signature: str):
        answer = self.connection.call(path, _PROPERTIES, "Get", "ss", (interface, name), to=_SYSTEMD)
        if not answer or not isinstance(answer[0], tuple) or answer[0][0] != signature:
            raise CgroupError(f"read property {name} of", self.connection.address, "not of its type")
        return answer[0][1]

    def version(self) -> int:
        """Return the number of systemd's version, such as 252; 0 where it does not tell."""
        text = self._get(_MANAGER_PATH, _MANAGER, "Version", "s").removeprefix("v")
        digits = ""
        for char in text:
            if not "0" <= char <= "9":
                break
            digits += char
        return int(digits[:6] or "0")

    def root(self) -> str:
        """Return the cgroup that the manager's units are below, "" for the root."""
        return self._get(_MANAGER_PATH, _MANAGER, "ControlGroup", "s").removesuffix("/init.scope").rstrip("/")

    def active_state(self, unit: str) -> str:
        """Return "active", "failed" ..., "" for a unit that is not loaded."""
        try:
            path = self._call("GetUnit", "s", unit)[0]
            return self._get(path, _SYSTEMD + ".Unit", "ActiveState", "s")
        except bus.CallError as err:
            # UnknownObject: it went between the two questions.
            if err.name in (_NO_SUCH, "org.freedesktop.DBus.Error.UnknownObject"):
                return ""
            raise

    def control_group(self, place: units.Place) -> str:
        """Return the cgroup of a running unit."""
        interface = _SYSTEMD + (".Slice" if place.is_slice() else ".Scope")
        return self._get(units.object_path(place.name), interface, "ControlGroup", "s")

    def start(self, unit: str, properties: list) -> None:
        """Start a transient unit and wait until it is there; one of that name that has failed is forgotten first.

        Raises Refused where systemd has not tried, CgroupError.
        """
        values = [(name, (signature, value)) for name, signature, value in properties]
        for turn in (1, 2):
            try:
                job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, MODE, values, [])[0]
                break
            except bus.CallError as err:
                if err.name in _LOST:
                    raise CgroupError("start unit", unit, err.cause) from err
                if err.name != _EXISTS or turn == 2:
                    raise Refused("start unit", unit, err.cause) from err
                self.reset_failed(unit)
        result = self._wait(unit, job)
        if result != "done":
            self.reset_failed(unit)
            raise CgroupError("start unit", unit, f"its job ended with {result!r}")

    def stop(self, unit: str) -> None:
        """Stop a unit, wait for its end and have it forgotten; it need not be there. Raises CgroupError."""
        try:
            job = self._call("StopUnit", "ss", unit, MODE)[0]
        except bus.CallError as err:
            if err.name == _NO_SUCH:
                return
            raise CgroupError("stop unit", unit, err.cause) from err
        result = self._wait(unit, job)
        if result != "done":
            log.warning(f"stop unit {unit}: its job ended with {result!r}")
        self.reset_failed(unit)

    def _wait(self, unit: str, job: str) -> str:
        """Return how a job has ended."""
        deadline = time.monotonic_ns() + _JOB_TIMEOUT_NS
        while True:
            body = self.connection.signal(_MANAGER, "JobRemoved", deadline).body
            if len(body) == 4 and body[1] == job and body[2] == unit:
                return body[3]

    def reset_failed(self, unit: str) -> None:
        """Have a unit that has failed forgotten; any other is left alone."""
        try:
            self._call("ResetFailedUnit", "s", unit)
        except bus.CallError as err:
            if err.name != _NO_SUCH:
                log.debug(f"reset unit {unit}: {err.cause}")

    def set_properties(self, unit: str, properties: list) -> None:
        """Change properties until the next boot; systemd has written its files then. Raises CgroupError."""
        values = [(name, (signature, value)) for name, signature, value in properties]
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, values)
        except bus.CallError as err:
            raise CgroupError("set properties of unit", unit, err.cause) from err
        # It answers first and writes after, before it reads the next call: whose answer is therefore waited for.
        self.version()

    def attach(self, unit: str, pids: list[int]) -> None:
        """Have processes moved into a unit's cgroup, for callers that may not do so. Raises CgroupError."""
        try:
            self._call("AttachProcessesToUnit", "ssau", unit, "", pids)
        except bus.CallError as err:
            raise CgroupError("move the process into unit", unit, err.cause) from err


def is_user() -> bool:
    """Tell whether units are the user manager's to make: without root of the host."""
    return posix.geteuid() != 0 or not namespaces.is_initial_user()


def _connect(user: bool) -> bus.Connection:
    tried = []
    for address, on_bus in _addresses(user):
        try:
            connection = bus.connect(address, _identity())
        except OSError as err:
            if err.errno not in _ABSENT:
                raise CgroupError("connect to", address, errno=err.errno) from err
            tried.append(address)
            continue
        if on_bus:
            try:
                connection.join_bus(_RULE)
                connection.call(_MANAGER_PATH, _MANAGER, "Subscribe", "", (), to=_SYSTEMD)
            except BaseException:
                connection.close()
                raise
        return connection
    whose = "user" if user else "system"
    cause = f"no {whose} manager of systemd answers here (tried {', '.join(tried)})"
    if user:
        cause += "; log in through a session, or run `loginctl enable-linger`"
    raise Unsupported("manage cgroups", "through systemd", cause)


def _identity() -> int | None:
    return posix.geteuid() if namespaces.is_initial_user() else None


def _addresses(user: bool) -> list[tuple[str, bool]]:
    """Return (path, whether it is a message bus) of the sockets to try, in order. Raises Unsupported."""
    if not user:
        return [("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True)]
    found = []
    runtime_dir = _variable(b"XDG_RUNTIME_DIR")
    if runtime_dir.startswith("/"):
        found.append((f"{runtime_dir}/systemd/private", False))
    for address in _variable(b"DBUS_SESSION_BUS_ADDRESS").split(";"):
        kind, _, rest = address.partition(":")
        for pair in rest.split(","):
            key, _, value = pair.partition("=")
            if kind == "unix" and key == "path" and value.startswith("/") and "%" not in value:
                found.append((value, True))
    if runtime_dir.startswith("/"):
        found.append((f"{runtime_dir}/bus", True))
    if not found:
        cause = "XDG_RUNTIME_DIR is not set, so the user manager cannot be found; log in through a session"
        raise Unsupported("manage cgroups", "through systemd", cause)
    return found


def _variable(name: bytes) -> str:
    return posix.environ.get(name, b"").decode("utf-8", "surrogateescape")
