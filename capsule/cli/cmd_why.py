"""why: the last failure of a container in full, and how it ended."""

from __future__ import annotations

from capsule.cli import output
from capsule.cli.paths import runtime_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, CorruptRecord, NotFound
from capsule.runtime.factory import Factory
from capsule.state import failures

#: Keys of a failure's record and what a person reads instead; the others follow as they are.
_ROWS = (("time", "time"), ("verb", "verb"), ("bundle", "bundle"), ("config_digest", "config"), ("step", "step"),
         ("message", "message"), ("class", "class"))
_ERRNO = ("errno", "errno_name", "errno_text")


def run(invocation: Invocation) -> int:
    """Print what is recorded.

    Raises CapsuleError where nothing is.
    """
    root = runtime_root(invocation)
    if invocation.positionals:
        id = invocation.positionals[0]
    else:
        found = failures.latest(root)
        if found is None:
            raise CapsuleError("why", root, "no failure is recorded")
        id = found
    document = {"id": id}
    failure, end = failures.load(root, id), _end(root, id)
    if failure is not None:
        document["failure"] = {key: value for key, value in failure.items() if key != "id"}
    if end is not None:
        document["end"] = end
    if len(document) == 1:
        raise CapsuleError("why", id, "no failure is recorded")
    if invocation.options["json"]:
        output.print_json(document, pretty=True)
    else:
        output.print_out(_text(document))
    return 0


def _end(root: str, id: str) -> dict | None:
    """How the container ended: from itself while it is there, else from the slot of its id."""
    try:
        container = Factory(root).load(id)
    except NotFound:
        fields = failures.load_end(root, id)
        return None if fields is None else failures.describe_end(fields)
    except CorruptRecord:
        return None  # of a create that did not finish
    try:
        return container.end()
    finally:
        container.close()


def _text(document: dict) -> str:
    lines = [_row("container", document["id"])]
    failure = document.get("failure", {})
    lines += [_row(name, failure[key]) for key, name in _ROWS if key in failure]
    if "errno" in failure:
        lines.append(_row("errno", " ".join([str(failure[key]) for key in _ERRNO if key in failure])))
    if "end" in document:
        end = document["end"]
        lines.append(_row("ended", ", ".join([f"{key.replace('_', ' ')} {value}" for key, value in end.items()])))
    known = {key for key, _ in _ROWS}
    for key, value in failure.items():
        if key not in known and key not in _ERRNO:
            lines.append(f"{key.replace('_', ' ')}:")
            lines += ["  " + line for line in _plain(value).splitlines()]
    return "".join([line + "\n" for line in lines])


def _row(name: str, value) -> str:
    line = _plain(value).replace("\n", "\\n")  # else a name could write rows of its own
    return f"{name:<10} {line}"


def _plain(value) -> str:
    """Write a value without what could drive a terminal: it may be a hook's, or an image's."""
    text = value if isinstance(value, str) else output.to_json(value, pretty=False).decode().strip()
    return "".join([char if char in "\n\t" or char.isprintable() else ascii(char)[1:-1] for char in text])
