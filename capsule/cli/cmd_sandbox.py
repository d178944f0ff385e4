"""sandbox: a command of this machine in a container over it; what it needs beyond a plain run is in sandbox_ending."""

from __future__ import annotations

import posix

from capsule import verbs
from capsule._ext import json
from capsule.bundle import host
from capsule.cli.paths import absolute, runtime_root
from capsule.cli.refusals import refuse_cgroup_choices
from capsule.cli.scanner import Invocation
from capsule.cli.time_limits import milliseconds
from capsule.errors import CapsuleError, Unsupported, errno_text
from capsule.spec.load import build_config

_KILL_AFTER_MS = 2000


def run(invocation: Invocation) -> int:
    """Run the command; its status is ours."""
    words, options = invocation.positionals, invocation.options
    if invocation.command == "_sandbox":
        return start(invocation, words.pop(0))
    if words[0] in ("apply", "discard", "kept"):
        from capsule.cli import sandbox_ending

        return sandbox_ending.handle(invocation)
    if options["diff"] or options["keep"] or options["json"]:
        from capsule.cli import sandbox_ending

        wish_of(invocation)  # bad input ends here, before anything is made
        return sandbox_ending.run(invocation)
    return start(invocation)


def start(invocation: Invocation, place: str = "") -> int:
    """Become the sandbox's relay; returns only where that fails.

    `place` is named by sandbox_ending: the last part is the id of the sandbox, whose record stays, and what is in it
    are its upper layers.
    """
    wish = wish_of(invocation)
    id = place.rpartition("/")[2] or new_id()
    keep = bool(place)
    if place and posix.access(place + "/upper0", posix.F_OK):
        wish.upper = place
    tree, overlay, stacks = host.draw(wish)
    if wish.upper:
        from capsule.cli import sandbox_ending

        sandbox_ending.prepare(place, stacks, [*wish.writable, *wish.readonly])
    timeout = invocation.options["timeout"]
    return verbs.run(
        runtime_root(invocation), id, bundle="/", config=build_config(tree, json.dumps(tree)), overlay=overlay,
        network=_network(invocation.options["net"]), keep=keep, kill_after_ms=_KILL_AFTER_MS,
        timeout_ms=milliseconds("sandbox", "--timeout", timeout) if timeout else 0,
    )


def new_id() -> str:
    """Make the id of a sandbox."""
    return f"sandbox-{posix.urandom(6).hex()}"


def wish_of(invocation: Invocation) -> host.Wish:
    """Read the options. Raises CapsuleError, Unsupported."""
    options = invocation.options
    refuse_cgroup_choices("sandbox", invocation)
    if posix.geteuid() != 0:
        raise Unsupported("sandbox", "", f"as uid {posix.geteuid()}: this version needs root")
    _network(options["net"])
    if options["timeout"]:
        milliseconds("sandbox", "--timeout", options["timeout"])
    try:
        cwd = posix.getcwd()
    except OSError:
        cwd = "/"
    wish = host.Wish(list(invocation.positionals), cwd)
    wish.env = options["env"]
    wish.writable = [_real("--rw", path) for path in options["rw"]]
    wish.readonly = [_real("--ro", path) for path in options["ro"]]
    for path in wish.readonly:
        if path in wish.writable:
            raise CapsuleError("sandbox", f"--ro {path}", "it is asked for with --rw as well")
    if options["memory"]:
        from capsule.cli import quantities

        wish.memory = quantities.limit("--memory", options["memory"])
    if options["cpus"]:
        from capsule.cli import quantities

        wish.quota = quantities.cpus("sandbox", options["cpus"])
    wish.terminal = posix.isatty(0) and posix.isatty(1)
    return wish


def _network(text: str) -> dict | None:
    """Return what verbs.run takes as `network`; nothing but a network of its own is shared with the machine.

    Raises NetworkError, Unsupported.
    """
    if text in ("", "none"):
        return None
    from capsule.network import attachment

    wanted = attachment.parse([text], ip=[], mac="", aliases=[])
    if wanted is None or wanted.kind:
        raise Unsupported("sandbox", f"--net {text}", "a sandbox joins a network by its name, and no other namespace")
    return {"networks": wanted}


def _real(option: str, path: str) -> str:
    """Return a path without links. Raises CapsuleError."""
    try:
        fd = posix.open(absolute(path), posix.O_PATH | posix.O_CLOEXEC)
        try:
            real = posix.readlink(f"/proc/self/fd/{fd}")
        finally:
            posix.close(fd)
    except OSError as err:
        raise CapsuleError("sandbox", f"{option} {path}", errno_text(err.errno), errno=err.errno or 0) from err
    if real == "/" or host.below(real, ("/proc", "/sys", "/dev")):
        raise CapsuleError("sandbox", f"{option} {path}", "expected a directory of files, and not the whole machine")
    return real
