"""What the tail's error record means to a person, in the words that engines match."""

from __future__ import annotations

import errno
import posix

from capsule.errors import ChildError, HookError
from capsule.linux import program
from capsule.protocol import tail_plan


class ExecError(ChildError):
    """execve(2) of the container's program failed; printed as one plain line, as runc does."""

    step = "execve"


def from_payload(payload: bytes, process, pid: int) -> ChildError | HookError:
    """Turn an ERROR message's payload into the exception to raise; `pid` is the tail's, 0 if it is not known.

    A tail whose program or working directory was refused waits until its sender's end is closed: its root is still
    there to look at.
    """
    step, index, error, status = tail_plan.decode_error(payload)
    if step == "startContainer hook":
        return HookError("error running", f"startContainer hook #{index}", _cause(error, status), errno=error)
    if step.endswith("startContainer hook"):
        return HookError("error running", f"startContainer hook #{index}", "", errno=error)
    if step == "execve":
        name = process.args[0] if process is not None and process.args else ""
        return ExecError("exec", name, _refusal(pid, process, step, error), errno=error)
    if step in ("chdir", "getcwd"):
        cwd = process.cwd if process is not None else ""
        cause = "current working directory is outside of the container"
        if step == "chdir":
            cause = _refusal(pid, process, step, error)
        return ChildError("chdir to cwd", f'("{cwd}") set in config.json', cause, errno=error)
    return ChildError("prepare process", step, _cause(error, status), errno=error)


def _refusal(pid: int, process, step: str, error: int) -> str:
    """Give the kernel's word, and behind it what the files of the container say."""
    word = posix.strerror(error).lower()
    if not pid or process is None:
        return word
    from capsule.runtime import exec_failure

    reason = exec_failure.describe(pid, process, step, error)
    return f"{word} ({reason})" if reason else word


def _cause(error: int, status: int) -> str:
    if error == errno.ETIMEDOUT:
        return "killed after its timeout"
    return "" if error else program.describe_status(status)
