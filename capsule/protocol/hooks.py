"""Running a list of hooks, in R and in S2 alike (runtime-spec config.md#posix-platform-hooks)."""

from __future__ import annotations

from capsule.errors import HookError
from capsule.linux import program

# The five kinds that run with the runtime's privilege never see the container's environment: a hook whose
# config names none gets this (CVE-2025-23266 is what comes of inheriting it).
DEFAULT_ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]

LAST_WORDS = 400  # characters of a hook's output that the one line of its failure shows


def run_hook(kind: str, index: int, hook, state: bytes, *, cwd: str | None) -> None:
    """Run one hook with the container's state on its stdin.

    Raises HookError: it could not be started, it failed, or it ran longer than its timeout.
    """
    name = f"{kind} hook #{index}"
    timeout_ms = -1 if hook.timeout is None else hook.timeout * 1000
    env = DEFAULT_ENV if hook.env is None else hook.env
    try:
        status, output = program.run(hook.path, hook.args or [hook.path], env, stdin=state, timeout_ms=timeout_ms,
                                     cwd=cwd)
    except OSError as err:
        raise HookError("error running", name, f"{hook.path}: {err.strerror}", errno=err.errno or 0) from err
    except program.TimedOut as err:
        raise _failure(name, f"{hook.path}: killed after {hook.timeout} s", err.output) from None
    if status:
        raise _failure(name, f"{hook.path}: {program.describe_status(status)}", output)


def _failure(name: str, cause: str, output: bytes) -> HookError:
    """Make the error of a hook that ran: its last words in the line, all that was kept in `details`."""
    text = output.decode("utf-8", "replace")
    last = " ".join(text.split())
    if len(last) > LAST_WORDS:
        last = "..." + last[-LAST_WORDS:]
    error = HookError("error running", name, f"{cause}, it said: {last}" if last else cause)
    error.details["hook_output"] = text
    return error


def run_hooks(kind: str, hooks: list, state: bytes, *, cwd: str | None) -> None:
    """Run every hook of a kind in order; the first failure ends it.

    Raises HookError.
    """
    for index, hook in enumerate(hooks):
        run_hook(kind, index, hook, state, cwd=cwd)
