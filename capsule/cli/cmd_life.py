"""stop, restart, wait and rm: what happens to containers of the engine; and their start."""

from __future__ import annotations

from capsule.bundle import life, running, stopping
from capsule.bundle.containers import Containers
from capsule.cli import several
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
    return several.each(_names(invocation), lambda word: act(places, word, invocation.options))


def _names(invocation: Invocation) -> list[str]:
    """Return the containers that are meant: those named, or with --all those of the engine that fit.

    Raises CapsuleError.
    """
    texts = invocation.options.get("filter") or []
    if not invocation.options.get("every"):
        if texts:
            raise CapsuleError(invocation.command, f"--filter {texts[0]}", "goes with --all, not with names")
        return invocation.positionals
    from capsule.cli import filters, listing

    rows = filters.choose(invocation.command, texts, {**listing.FILTERS, **_BOOT}, listing.collect(invocation))
    if invocation.command in ("start", "restart"):
        rows.reverse()  # the oldest first: whose network another one has was there before it
    wanted = _STATES.get(invocation.command)
    return [row["Id"] for row in rows if row["IsEngine"] and (wanted is None or row["State"] in wanted)]


def start(invocation: Invocation) -> bool:
    """Start a stopped container of the engine; False where the engine has none of that name. Raises CapsuleError."""
    places, word = places_of(invocation), invocation.positionals[0]
    try:
        id = Containers(places.containers).find(word)
    except NotFound:
        return False
    running.in_background(places, id)
    return True


def _timeout(options: dict, command: str) -> int:
    return seconds("--time", options["time"], command) if options["time"] else -1


def _stop(places: running.Places, word: str, options: dict) -> str:
    stopping.stop(places, word, timeout_s=_timeout(options, "stop"), for_reboot=options["for_reboot"])
    return word


def _start(places: running.Places, word: str, options: dict) -> str:
    running.in_background(places, Containers(places.containers).find(word))
    return word


def _restart(places: running.Places, word: str, options: dict) -> str:
    id = Containers(places.containers).find(word)
    stopping.stop(places, id, timeout_s=_timeout(options, "restart"))
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


def _starts_on_boot(row: dict, text: str) -> bool:
    policy = row["RestartPolicy"]
    return (policy == "always" or policy == "unless-stopped" and row["Wanted"]) == (text == "true")


_BOOT = {"should-start-on-boot": _starts_on_boot}
#: What --all means: containers that are there already, or not there any more, are passed over.
_STATES = {"start": (life.CREATED, life.EXITED), "stop": (life.RUNNING, life.PAUSED, life.RESTARTING)}
_ACTIONS = {"start": _start, "stop": _stop, "restart": _restart, "wait": _wait, "rm": _rm, "image destroyc": _rm}
