"""stop, restart, wait and rm: what happens to containers of the engine; and their start."""

from __future__ import annotations

from capsule.bundle import running, stopping
from capsule.bundle.containers import Containers
from capsule.cli import output
from capsule.cli.life_options import seconds
from capsule.cli.paths import containers_root, runtime_root, storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, NotFound


def places_of(invocation: Invocation) -> running.Places:
    """Return the roots that a command line means."""
    return running.Places(runtime_root(invocation), storage_root(invocation), containers_root(invocation))


def run(invocation: Invocation) -> int:
    """Do what is asked to each container in turn; one that fails does not keep the others from it."""
    places, act = places_of(invocation), _ACTIONS[invocation.command]
    status, failure = 0, None
    for word in invocation.positionals:
        try:
            output.print_out(f"{act(places, word, invocation.options)}\n")
        except CapsuleError as err:
            if failure is not None:
                output.report(failure)
            failure, status = err, err.exit_status
    if failure is not None:
        raise failure
    return status


def start(invocation: Invocation) -> bool:
    """Start a stopped container of the engine; False where the engine has none of that name. Raises CapsuleError."""
    places, word = places_of(invocation), invocation.positionals[0]
    try:
        id = Containers(places.containers).find(word)
    except NotFound:
        return False
    running.in_background(places, id)
    return True


def _timeout(options: dict) -> int:
    return seconds("--time", options["time"]) if options["time"] else -1


def _stop(places: running.Places, word: str, options: dict) -> str:
    stopping.stop(places, word, timeout_s=_timeout(options))
    return word


def _restart(places: running.Places, word: str, options: dict) -> str:
    id = Containers(places.containers).find(word)
    stopping.stop(places, id, timeout_s=_timeout(options))
    running.in_background(places, id)
    return word


def _wait(places: running.Places, word: str, options: dict) -> str:
    return str(stopping.wait(places, word))


def _rm(places: running.Places, word: str, options: dict) -> str:
    try:
        stopping.rm(places, word, force=options["force"], volumes=options["volumes"])
    except NotFound:
        if not options["force"]:
            raise
    return word


_ACTIONS = {"stop": _stop, "restart": _restart, "wait": _wait, "rm": _rm, "image destroyc": _rm}
