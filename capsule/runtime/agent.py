"""The seccomp agent: who answers the calls of a container's filter for user space (man 2 seccomp_unotify).

R connects before anything is made; the tail sends the listener, with a state that R has written, from a thread
that the filter does not reach (docs/tail.md). runtime-spec config-linux.md#seccomp, #containerprocessstate.
"""

from __future__ import annotations

from capsule._ext import fdpass, json
from capsule.errors import KernelError

# Where the tail writes the pid of the process, which nobody knows before it exists. JSON has no NUL of its own.
_PID = b"\0"


def connect(path: str) -> int:
    """Connect to the agent. Raises KernelError."""
    try:
        return fdpass.connect_stream(path)
    except OSError as err:
        raise KernelError("connect to seccomp agent", path, errno=err.errno or 0) from err


def process_state(container, config, status: str, pid: int | None) -> bytes:
    """Write the ContainerProcessState of a process; `pid` is the container's, None where it is the process's own."""
    state = {"ociVersion": config.oci_version, "id": container.id, "status": status, "bundle": container.bundle}
    if config.annotations:
        state["annotations"] = config.annotations
    process = {"ociVersion": config.oci_version, "fds": ["seccompFd"]}
    if "listenerMetadata" in config.seccomp:
        process["metadata"] = config.seccomp["listenerMetadata"]
    container_state = _member(json.dumps(state), "pid", _PID if pid is None else str(pid).encode())
    return _member(_member(json.dumps(process), "pid", _PID), "state", container_state)


def _member(text: bytes, name: str, value: bytes) -> bytes:
    """Add a member to the text of a JSON object that has some."""
    return text[:-1] + b',"' + name.encode() + b'":' + value + b"}"
