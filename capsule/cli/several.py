"""A command for several names: one that fails does not keep the others from it."""

from __future__ import annotations

from capsule.cli import output
from capsule.errors import CapsuleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def each(words: Iterable[str], act: Callable[[str], str]) -> int:
    """Do something to each, and print what it returns, if anything.

    All failures but the last are reported here; the last one is raised.
    """
    failure = None
    for word in words:
        try:
            text = act(word)
        except CapsuleError as err:
            if failure is not None:
                output.report(failure)
            failure = err
        else:
            output.print_out(f"{text}\n" if text else "")
    if failure is not None:
        raise failure
    return 0
