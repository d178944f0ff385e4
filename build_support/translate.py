"""Python and Cython modules to C, for the launcher: as little module initialisation as Cython can do."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
from glob import glob

import Cython
from Cython.Compiler import Options
from Cython.Compiler.Main import CompilationOptions, compile as translate

from build_support import lean
from build_support.modules import Module

DIRECTIVES = {
    "language_level": "3",
    "binding": False,
    "annotation_typing": False,
    "embedsignature": False,
    "emit_code_comments": False,
    "auto_pickle": False,
}


def digest(module: Module) -> str:
    """Digest everything that the C text of a module depends on."""
    state = hashlib.sha256(repr((Cython.__version__, module, sorted(DIRECTIVES.items()))).encode())
    paths = [module.path, __file__, lean.__file__]
    if module.is_cython:
        paths += sorted(glob("capsule/_ext/*.pxd"))
    for path in paths:
        with open(path, "rb") as file:
            state.update(file.read())
    return state.hexdigest()


def target_of(module: Module, directory: str) -> str:
    """Name the C file of a module."""
    return f"{directory}/{module.name}.c"


def lean_tree(module: Module, directory: str) -> str:
    """Write the source that Cython is to read where it differs from the module's; return the root it lies in."""
    if module.is_cython:
        return "."
    root = f"{directory}/source"
    path = f"{root}/{module.path}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(module.path, encoding="utf-8") as file:
        text = lean.strip_annotations(file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return root


def translate_one(job: tuple[Module, str]) -> str:
    """Translate one module unless its C file is up to date; return an error text, or nothing."""
    module, directory = job
    target = target_of(module, directory)
    wanted = digest(module)
    try:
        with open(target + ".digest", encoding="ascii") as file:
            if file.read() == wanted and os.path.exists(target):
                return ""
    except FileNotFoundError:
        pass
    Options.docstrings = False
    options = CompilationOptions(
        Options.default_options,
        output_file=os.path.abspath(target) + ".tmp",
        compiler_directives=DIRECTIVES,
        language_level="3",
    )
    # Tracebacks name the path that Cython is given.
    with contextlib.chdir(lean_tree(module, directory)):
        result = translate(module.path, options, full_module_name=module.name)
    if result.num_errors:
        return module.path
    with open(target + ".tmp", encoding="utf-8") as file:
        text = lean.make_lean(file.read())
    os.unlink(target + ".tmp")
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)
    with open(target + ".digest", "w", encoding="ascii") as file:
        file.write(wanted)
    return ""


def translate_all(modules: list[Module], directory: str, *, jobs: int) -> list[str]:
    """Translate what changed; return the paths of modules that Cython refused."""
    os.makedirs(directory, exist_ok=True)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        return [path for path in pool.map(translate_one, [(m, directory) for m in modules], chunksize=1) if path]
