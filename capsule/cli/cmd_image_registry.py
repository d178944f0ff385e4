"""image pull, push, login, logout: registries."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.image import transport
from capsule.image.progress import Progress
from capsule.image.store import Store


def run(invocation: Invocation) -> int:
    """Talk to a registry. Raises CapsuleError."""
    if invocation.command in ("image login", "image logout"):
        return _log_in(invocation)
    options = invocation.options
    store = Store(storage_root(invocation))
    access = transport.Access(options["creds"], options["authfile"], _tls(options["tls_verify"]))
    progress = Progress(quiet=options["quiet"])
    first, *rest = invocation.positionals
    if invocation.command == "image pull":
        output.print_out(transport.pull(store, first, access, progress, platform=options["platform"]).id + "\n")
    else:
        digest = transport.push(store, store.find(first), (rest or [first])[0], access, progress)
        output.print_out(f"{digest}\n")
    return 0


def _tls(word: str) -> bool | None:
    if word not in ("", "true", "false"):
        raise CapsuleError("read --tls-verify", repr(word), "true or false")
    return {"": None, "true": True, "false": False}[word]


def _log_in(invocation: Invocation) -> int:
    options = invocation.options
    words = [invocation.command.rpartition(" ")[2]]
    for key, name in (("username", "username"), ("authfile", "authfile")):
        if options.get(key):
            words.append(f"--{name}={options[key]}")
    if options.get("password_stdin"):
        words.append("--password-stdin")
    if options["tls_verify"]:
        words.append(f"--tls-verify={options['tls_verify']}")
    transport.log_in(invocation.positionals[0], words)
    return 0
