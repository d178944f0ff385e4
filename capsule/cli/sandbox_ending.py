"""What a sandbox leaves: its changes, its account, and the commands upon kept changes.

The sandbox runs as a child of ours, a plain one that keeps its record, so that its cgroups can be read at its end.
"""

from __future__ import annotations

import posix
import time

from capsule import verbs
from capsule._ext import json, proc
from capsule.bundle import applying, changes
from capsule.cli import output
from capsule.cli.paths import absolute, runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound, StateError
from capsule.linux import program, trees

STORE = "/var/lib/capsule/sandbox"
META = "meta.json"
_CHLD, _INT, _QUIT = 17, 2, 3
_FORWARDED = (1, 2, 3, 10, 12, 15)  # HUP INT QUIT USR1 USR2 TERM


def store_of(invocation: Invocation) -> str:
    """Return the directory of kept changes; with --root it lies there."""
    given = invocation.globals["root"]
    return f"{absolute(given)}/.sandbox" if given else STORE


def prepare(place: str, stacks: list, mounts: list) -> None:
    """Make the layers of a sandbox that keeps its changes, and write down what they are layers of. Raises OSError."""
    for index in range(len(stacks)):
        for kind in ("upper", "work"):
            trees.make(f"{place}/{kind}{index}")
        _take_owner(f"{place}/upper{index}", stacks[index][0])
    fd = trees.open_directory(place)
    try:
        # The file system's own clock: what it stamps from now on is later.
        began = posix.fstat(fd).st_ctime_ns
        meta = {"id": place.rpartition("/")[2], "began_ns": began, "stacks": stacks, "mounts": mounts}
        applying.write_new(fd, META, json.dumps(meta))
    finally:
        posix.close(fd)


def _take_owner(path: str, base: str) -> None:
    """The root of an overlay shows the owner and mode of its topmost layer."""
    info = posix.stat(base)
    posix.chown(path, info.st_uid, info.st_gid)
    posix.chmod(path, info.st_mode & 0o7777)


def run(invocation: Invocation) -> int:
    """Run a sandbox, then tell what was asked for; returns its status."""
    from capsule.cli import cmd_sandbox

    options, root = invocation.options, runtime_root(invocation)
    place = f"{store_of(invocation)}/{cmd_sandbox.new_id()}"
    id = place.rpartition("/")[2]
    layered = options["diff"] or options["keep"]
    account, lock_fd = None, -1
    try:
        if layered:
            # For us alone: its layers have the modes of what they lie over, and set-user-ID files of its own making.
            trees.make(place)
            trees.make(place + "/upper0")
            lock_fd = applying.hold(place, id, alone=False)
        began = time.monotonic_ns()
        status = _run_child(invocation, place)
        account = _account(root, id, status, time.monotonic_ns() - began)
        found = changes.scan(place, _meta(place, id)) if layered and account["reason"] != "error" else []
        if options["keep"] and account["reason"] != "error":
            _keep(place, found)
        if options["diff"]:
            for change in found:
                output.print_out(_line(change))
        if options["json"]:
            if options["keep"]:
                account["id"] = id
            output.write(output.STDERR, output.to_json(account, pretty=False))
        elif options["keep"] and account["reason"] != "error":
            output.write(output.STDERR, f"kept as {id}\n".encode())
    except OSError as err:
        raise CapsuleError("sandbox", err.filename or place, err.strerror or "", errno=err.errno or 0) from err
    finally:
        verbs.delete(root, id, force=True)
        if lock_fd >= 0:
            posix.close(lock_fd)
        if not options["keep"] or account is None or account["reason"] == "error":
            trees.remove(place)
    return status


def _line(change: changes.Change) -> str:
    """Return a change as it is printed; whoever named the path writes no lines of their own, nor to the terminal."""
    return f"{change.kind} {output.path_text(change.path)}\n"


def _keep(place: str, found: list) -> None:
    fd = trees.open_directory(place)
    try:
        applying.record(fd, applying.CHANGES, found)
    finally:
        posix.close(fd)


def _global_words(values: dict) -> list[str]:
    """Return the global options that tell where records go."""
    words = ["--debug"] if values["debug"] else []
    if values["log"]:
        words += ["--log", absolute(values["log"])]
    if values["log_format"]:
        words += ["--log-format", values["log_format"]]
    return words


def _run_child(invocation: Invocation, place: str) -> int:
    """Run the sandbox itself and return its exit status; signals are passed on."""
    options = invocation.options
    words = _global_words(invocation.globals)
    words.append("_sandbox")
    for name in ("rw", "ro", "env"):
        for value in options[name]:
            words += [f"--{name}", value]
    for name in ("net", "memory", "cpus", "timeout"):
        if options[name]:
            words += [f"--{name}", options[name]]
    argv = verbs.launcher_argv(runtime_root(invocation), *words, "--", place, *invocation.positionals)
    env = [name + b"=" + value for name, value in posix.environ.items()]
    mask = sum([1 << number - 1 for number in (*_FORWARDED, _CHLD)])
    proc.block_signals(mask)
    signal_fd = proc.signalfd(mask)
    pid = proc.spawn(argv[0], argv, env, 0, 1, 2)
    while True:
        found, status = proc.wait_pid(pid, posix.WNOHANG)
        if found:
            posix.close(signal_fd)
            return program.exit_code(status)
        proc.poll([(signal_fd, proc.POLLIN)], -1)
        number = proc.read_signal(signal_fd)
        # The terminal sends its own to the whole group, so to the child as well.
        if number != _CHLD and not (number in (_INT, _QUIT) and posix.isatty(0)):
            try:
                posix.kill(pid, number)
            except ProcessLookupError:
                pass


def _account(root: str, id: str, status: int, wall_ns: int) -> dict:
    """Return what is known of an ended sandbox: status, reason, times in seconds, peak memory in bytes."""
    account = {"status": status, "reason": "error", "wall_seconds": wall_ns / 1e9, "cpu_seconds": None,
               "memory_peak_bytes": None}
    try:
        end = verbs.detail(root, id).get("end") or {}
        usage = verbs.usage(root, id)
    except NotFound:
        return account  # it was never made, and said why
    account["reason"] = end.get("reason", "exit")
    account["cpu_seconds"] = usage["cpu_ns"] / 1e9 if usage["cpu_ns"] is not None else None
    account["memory_peak_bytes"] = usage["memory_peak"]
    return account


def _meta(place: str, id: str) -> dict:
    try:
        fd = posix.open(f"{place}/{META}", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError as err:
        raise NotFound(f'sandbox "{id}" is not kept') from err
    try:
        data = b""
        while more := posix.read(fd, 1 << 16):
            data += more
    finally:
        posix.close(fd)
    try:
        meta = json.loads(data)
    except ValueError as err:
        raise StateError("read", f"{place}/{META}", str(err)) from err
    if not isinstance(meta, dict):
        raise StateError("read", f"{place}/{META}", "not an object")
    return meta


def handle(invocation: Invocation) -> int:
    """Run `kept [ID]`, `apply ID` or `discard ID`."""
    store, words = store_of(invocation), invocation.positionals
    command = f"sandbox {words[0]}"
    if len(words) > 2 or len(words) == 1 and words[0] != "kept":
        raise CapsuleError(command, "", f"expected {'at most ' if words[0] == 'kept' else ''}one id; to run a "
                                        f"program of that name write ./{words[0]} or its whole path")
    for name, value in invocation.options.items():
        if value:
            raise CapsuleError(command, f"--{name}", "is for commands that a sandbox runs")
    if words == ["kept"]:
        try:
            names = sorted(posix.listdir(store))
        except FileNotFoundError:
            names = []
        output.print_out("".join([f"{name}\n" for name in names]))
        return 0
    id = words[1]
    if not id.startswith("sandbox-") or "/" in id:
        raise NotFound(f'sandbox "{id}" is not kept')
    place = f"{store}/{id}"
    meta = _meta(place, id)
    try:
        if words[0] != "discard":
            for change in applying.apply(place, meta) if words[0] == "apply" else applying.kept(place, meta):
                output.print_out(_line(change))
        if words[0] == "kept":
            return 0
        lock_fd = applying.hold(place, id)
        try:
            trees.remove(place)
        finally:
            posix.close(lock_fd)
    except OSError as err:
        raise CapsuleError(command, err.filename or place, err.strerror or "", errno=err.errno or 0) from err
    return 0
