"""ps: the processes of a container, as the host's ps shows them or as a JSON array; without an id, containers."""

from __future__ import annotations

import posix

from capsule import verbs
from capsule._ext import proc
from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError

# By absolute path: engines call us without PATH.
_PROGRAMS = ("/bin/ps", "/usr/bin/ps")


def run(invocation: Invocation) -> int:
    """Print the processes of the container, or a listing of containers."""
    if not invocation.positionals:
        from capsule.cli import listing

        return listing.run(invocation)
    for name in ("all", "quiet", "filter", "no_trunc"):
        if invocation.options.get(name):
            raise CapsuleError("ps", f"--{name.replace('_', '-')}", "is for a listing of containers: name none")
    output_format = invocation.options["format"]
    if output_format not in ("", "table", "json"):
        raise CapsuleError(f"invalid format option: {output_format}")
    pids = verbs.processes(runtime_root(invocation), invocation.positionals[0])
    if output_format == "json":
        output.print_json(pids, pretty=False)
    else:
        output.print_out(select(_host_ps(invocation.positionals[1:] or ["-ef"]), pids))
    return 0


def select(table: str, pids: list) -> str:
    """Return the title line and the lines of these pids.

    Raises CapsuleError where the title has no PID column.
    """
    lines = table.splitlines(keepends=True)
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise CapsuleError("ps", "", "couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = [str(pid) for pid in pids]
    chosen = [lines[0]]
    for line in lines[1:]:
        cells = line.split(None, column + 1)
        if len(cells) > column and cells[column] in wanted:
            chosen.append(line)
    return "".join(chosen)


def _host_ps(options: list) -> str:
    """Return what the host's ps prints.

    Raises CapsuleError where there is no ps or it fails.
    """
    program = _find_program()
    argv = [b"ps"] + [word.encode("utf-8", "surrogateescape") for word in options]
    env = [key + b"=" + value for key, value in posix.environ.items()]
    null_fd = posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
    read_fd, write_fd = posix.pipe2(posix.O_CLOEXEC)
    try:
        pid = proc.spawn(program.encode(), argv, env, null_fd, write_fd, output.STDERR)
    except BaseException:
        posix.close(read_fd)
        raise
    finally:
        posix.close(write_fd)
        posix.close(null_fd)
    table = _drain(read_fd)
    _pid, status = proc.wait_pid(pid)
    if status != 0:
        raise CapsuleError("run", program, f"exit status {posix.waitstatus_to_exitcode(status)}")
    return table.decode("utf-8", "surrogateescape")


def _drain(fd: int) -> bytes:
    """Read to the end of file and close."""
    chunks: list = []
    try:
        while True:
            chunk = posix.read(fd, 65536)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    finally:
        posix.close(fd)


def _find_program() -> str:
    for program in _PROGRAMS:
        if posix.access(program, posix.X_OK):
            return program
    raise CapsuleError("ps", "", 'executable file not found in /bin and /usr/bin: "ps"')
