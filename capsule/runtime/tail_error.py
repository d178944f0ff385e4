"""What the tail's error record means to a person, in the words that engines match."""

from __future__ import annotations

import errno

from capsule.errors import ChildError, HookError
from capsule.linux import program
from capsule.protocol import tail_plan


class ExecError(ChildError):
    """execve(2) of the container's program failed; printed as one plain line, as runc does."""

    step = "execve"


def from_payload(payload: bytes, process) -> ChildError | HookError:
    """Turn an ERROR message's payload into the exception to raise."""
    step, index, error, status = tail_plan.decode_error(payload)
    if step == "startContainer hook":
        return HookError("error running", f"startContainer hook #{index}", _cause(error, status), errno=error)
    if step.endswith("startContainer hook"):
        return HookError("error running", f"startContainer hook #{index}", "", errno=error)
    if step == "execve":
        name = process.args[0] if process is not None and process.args else ""
        return ExecError("exec", name, "", errno=error)
    if step in ("chdir", "getcwd"):
        cwd = process.cwd if process is not None else ""
        cause = "current working directory is outside of the container" if step == "getcwd" else ""
        return ChildError("chdir to cwd", f'("{cwd}") set in config.json', cause, errno=error)
    return ChildError("prepare process", step, _cause(error, status), errno=error)


def _cause(error: int, status: int) -> str:
    if error == errno.ETIMEDOUT:
        return "killed after its timeout"
    return "" if error else program.describe_status(status)
