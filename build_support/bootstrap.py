"""The whole of importlib in the static-frozen launcher; launcher.c adds _find_and_load and _handle_fromlist.

The interpreter insists on a frozen module `_frozen_importlib` with these two functions. The real one costs a
third of a millisecond at start and brings a path finder with it.
"""


def _install(sys_module, imp_module):
    pass


def _lock_unlock_module(name):
    pass
