"""Process: what a caller wants to run in a container."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol


class HasFileno(Protocol):
    """A file object."""

    def fileno(self) -> int: ...


Stream = int | HasFileno | None


class Process:
    """A process to run: the container's first one, or a further one for `exec`.

    `args`, `env` and `cwd` of None are the config's own. For the first process they replace the config's; for
    `exec`, `env` is added to it. `stdin`, `stdout` and `stderr` are descriptors or file objects, None for the
    caller's; `preserve_fds` are descriptors that the process finds from 3 on. Without `detach` somebody stays to
    tell its exit status, and the process does not outlive that somebody.
    """

    __slots__ = (
        "additional_gids", "args", "caps", "cgroup", "console_socket", "cwd", "detach", "env", "id", "ignore_paused",
        "init", "no_new_keyring", "no_new_privs", "no_pivot", "pid_file", "preserve_fds", "stderr", "stdin", "stdout",
        "tty", "user",
    )  # fmt: skip

    def __init__(
        self,
        args: Sequence[str] | None = None,
        *,
        env: Sequence[str] | Mapping[str, str] | None = None,
        cwd: str | None = None,
        init: bool = False,
        detach: bool = False,
        id: str = "",
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        preserve_fds: Sequence[int] = (),
        console_socket: str | os.PathLike[str] | None = None,
        pid_file: str | os.PathLike[str] | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        user: str | None = None,
        additional_gids: Sequence[int] = (),
        caps: Sequence[str] = (),
        tty: bool = False,
        cgroup: Sequence[str] = (),
        ignore_paused: bool = False,
        no_new_privs: bool | None = None,
    ) -> None:
        self.args = args
        self.env = env
        self.cwd = cwd
        self.init = init  # set by Container: whether it was the first process of its container
        self.detach = detach
        self.id = id  # the container's id for its first process, otherwise the exec's
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.preserve_fds = preserve_fds
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        # for exec only
        self.user = user
        self.additional_gids = additional_gids
        self.caps = caps
        self.tty = tty
        self.cgroup = cgroup
        self.ignore_paused = ignore_paused
        self.no_new_privs = no_new_privs

    def to_request(self) -> dict[str, object]:
        """Return the fields as JSON values, paths made absolute here and now."""
        return {
            "args": None if self.args is None else list(self.args),
            "env": _environment(self.env),
            "cwd": self.cwd,
            "detach": self.detach,
            "id": self.id,
            "preserve_fds": len(self.preserve_fds),
            "console_socket": _absolute(self.console_socket),
            "pid_file": _absolute(self.pid_file),
            "no_pivot": self.no_pivot,
            "no_new_keyring": self.no_new_keyring,
            "user": self.user,
            "additional_gids": list(self.additional_gids),
            "caps": list(self.caps),
            "tty": self.tty,
            "cgroup": list(self.cgroup),
            "ignore_paused": self.ignore_paused,
            "no_new_privs": self.no_new_privs,
        }


def _environment(env: Sequence[str] | Mapping[str, str] | None) -> list[str] | None:
    if isinstance(env, Mapping):
        return [f"{name}={value}" for name, value in env.items()]
    return None if env is None else list(env)


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(path)
