"""Facts about the Python that builds: its headers, its libraries, and how to link against them."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import sysconfig


def variable(name: str) -> str:
    """Read one build variable of this Python, "" where it has none."""
    return str(sysconfig.get_config_var(name) or "")


def tag() -> str:
    """Name this Python among all that may build in one tree."""
    place = hashlib.sha256(sys.base_prefix.encode()).hexdigest()[:8]
    return f"{sys.implementation.cache_tag}-{place}"


def include_flags() -> list[str]:
    """Say where Python.h is."""
    paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    return [f"-I{path}" for path in sorted(paths)]


def static_library() -> str | None:
    """Find libpythonX.Y.a: in LIBPL (config-X.Y-...), or LIBDIR."""
    name = f"libpython{variable('LDVERSION') or variable('VERSION')}.a"
    for directory in (variable("LIBPL"), variable("LIBDIR")):
        path = os.path.join(directory, name)
        if directory and os.path.exists(path):
            return path
    return None


def system_libraries(*, built_in: bool) -> list[str]:
    """List the libraries that libpython itself needs; what the linker does not use it leaves out.

    With `built_in`, those too that its table of built-in modules asks for: Debian's has zlib and pyexpat in it.
    """
    words = shlex.split(f"{variable('LIBS')} {variable('SYSLIBS')} {variable('MODLIBS') if built_in else ''}")
    kept = [word for word in words if word.startswith("-l")]
    return list(dict.fromkeys([*kept, "-lm", "-ldl", "-lpthread", "-lutil"]))


def shared_flags() -> list[str] | None:
    """Say how to link against libpython.so, or None where this Python has none."""
    if not variable("Py_ENABLE_SHARED").strip("0"):
        return None
    directory = variable("LIBDIR")
    return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-lpython{variable('LDVERSION') or variable('VERSION')}"]


def executable() -> str:
    """Name the Python that runs the click front: this one, with its site-packages."""
    return sys.executable
