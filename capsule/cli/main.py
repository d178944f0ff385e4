"""The entry point: read the command line, run the one command, return the exit status."""

from __future__ import annotations

from capsule.cli import grammar, output, scanner
from capsule.errors import CapsuleError, NotFound

# Verbs whose failures `why` tells.
_REMEMBERED = ("create", "start", "run", "exec", "delete", "checkpoint", "restore")
EXEC_FAILED = 255  # any failure of `exec` itself: engines tell it from the process's own status


def main(argv: list) -> int:
    """Run a command line, program name included, as bytes; return the exit status."""
    words = [word.decode("utf-8", "surrogateescape") for word in argv[1:]]
    invocation = scanner.scan(words)
    if invocation is None:
        return _hand_over(argv)
    return perform(invocation)


def perform(invocation: scanner.Invocation) -> int:
    """Run an understood command; report what fails and return the exit status."""
    values = invocation.globals
    try:
        output.open_log(values["log"], values["log_format"], values["debug"])
        return _run(invocation)
    except Exception as err:
        output.report(err, debug=values["debug"])
        if invocation.command in _REMEMBERED and invocation.positionals:
            _remember(invocation, err)
        if invocation.command == "exec":
            return EXEC_FAILED
        return err.exit_status if isinstance(err, CapsuleError) else 1


def _run(invocation: scanner.Invocation) -> int:
    module = _load(invocation.command)
    try:
        return module.run(invocation)
    except NotFound:
        # No hot command of the runtime pays for the names of the engine: its container is there.
        from capsule.cli import engine_names

        if not engine_names.translate(invocation):
            raise
    return module.run(invocation)


def _remember(invocation: scanner.Invocation, err: Exception) -> None:
    """Keep what is known of a failure for `why`."""
    from capsule.cli.paths import absolute, runtime_root
    from capsule.runtime import failure

    try:
        bundle = absolute(invocation.options["bundle"] or ".") if "bundle" in invocation.options else ""
        root = runtime_root(invocation)
    except CapsuleError:
        return  # no working directory to be relative to
    failure.remember(root, invocation.positionals[0], invocation.command, err, bundle=bundle)


def _load(command: str):
    """Import the module of a command, and no other."""
    found = grammar.find_command(command)
    module = found[1] if found is not None else "cmd_version"
    return __import__("capsule.cli." + module, None, None, ("run",))


def _hand_over(argv: list) -> int:
    """Leave a command line that is not plain to the full reader, in a Python that has click."""
    try:
        from capsule._launcher import exec_python
    except ImportError:
        from capsule.cli.python import exec_python
    return exec_python(argv)
