"""S2's first Python: choose the initializer and run it."""

from __future__ import annotations

from capsule.errors import Unsupported
from capsule.init import base, exec as exec_initializer, standard
from capsule.protocol.init_config import EXEC, INIT


class InitializerType:
    """The two words of the original's InitializerType."""

    __slots__ = ()
    INIT = INIT
    EXEC = EXEC


def new_initializer(initializer_type: str, config) -> base.Initializer:
    """Build the initializer of a type.

    Raises Unsupported for any other word.
    """
    if initializer_type == INIT:
        return standard.InitializerStandardImpl(config)
    if initializer_type == EXEC:
        return exec_initializer.InitializerExecImpl(config)
    raise Unsupported("make initializer", initializer_type, f"the types are {INIT!r} and {EXEC!r}")


def start_initialization(initializer_type: str, config) -> None:
    """Run the initializer in S2; never returns."""
    base.run(new_initializer(initializer_type, config))
