"""Which modules exist, which of them the launcher links, and which C sources a .pyx names."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from glob import glob
from typing import NamedTuple

#: Packages (or single modules) whose every module belongs to the hot path.
HOT = (
    "capsule/__init__.py",
    "capsule/_version.py",
    "capsule/errors.py",
    "capsule/log.py",
    "capsule/verbs.py",
    "capsule/_ext",
    "capsule/linux",
    "capsule/spec",
    "capsule/protocol",
    "capsule/state",
    "capsule/cgroups",
    "capsule/rootfs",
    "capsule/security",
    "capsule/runtime",
    "capsule/init",
)

#: Half hot: a module there is linked when it imports nothing else than these and what is linked itself.
HALF_HOT = ("capsule/cli", "capsule/network", "capsule/image", "capsule/logs", "capsule/volume", "capsule/bundle")

#: What a hot module may import besides capsule itself (docs/architecture.md).
BUILT_IN = frozenset({"__future__", "posix", "errno", "_io", "time", "marshal", "sys"})

#: Modules that stay outside the launcher although they lie in a hot package, with the reason.
COLD: dict[str, str] = {
    "capsule/_ext/unpack.pyx": "layers are unpacked by commands that need the standard library anyway",
}


class Module(NamedTuple):
    """A Python or Cython module: dotted name, source path, and whether it is a package."""

    name: str
    path: str
    is_package: bool

    @property
    def is_cython(self) -> bool:
        return self.path.endswith(".pyx")


def module_of(path: str) -> Module:
    """Name the module that the file at `path` defines."""
    name = os.path.splitext(path)[0].replace("/", ".")
    if name.endswith(".__init__"):
        return Module(name[: -len(".__init__")], path, True)
    return Module(name, path, False)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, leaving out what only a type checker sees: the body of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from executed(child)


def imported_names(path: str) -> set[str]:
    """List the dotted names that a Python source imports, at any depth."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    names = set()
    for node in executed(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


def names_of(module: str, users: Iterable[Module]) -> list[str]:
    """List what the sources of `users` name of a module, sorted; `import module` and `from module import` alone count.

    Text is searched, for a .pyx is not Python: a name too many does no harm.
    """
    found: set[str] = set()
    for user in users:
        with open(user.path, encoding="utf-8") as file:
            text = file.read()
        found.update(re.findall(rf"\b{module}\.(\w+)", text))
        for names in re.findall(rf"^\s*from {module} import \(?([\w\s,]+)", text, re.MULTILINE):
            found.update(re.findall(r"\w+", names))
    return sorted(found)


def is_lean(path: str) -> bool:
    """Tell whether a Python source imports only what the launcher has."""
    roots = {name.partition(".")[0] for name in imported_names(path)}
    return roots <= BUILT_IN | {"capsule"}


def lean_sources(linked: set[str]) -> set[str]:
    """Name the half-hot sources that need only what the launcher has: `linked` modules, and each other."""
    paths = {path for entry in HALF_HOT for path in sources_below(entry) if path.endswith(".py") and is_lean(path)}
    own = {module_of(path).name for entry in (*HOT, *HALF_HOT) for path in sources_below(entry)}
    while True:
        there = linked | {module_of(path).name for path in paths}
        lacking = {path for path in paths if (imported_modules(path) & own) - there}
        if not lacking:
            return paths
        paths -= lacking


def imported_modules(path: str) -> set[str]:
    """Name what could be modules among the names that a Python source imports: `from a import b` may mean a.b."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    found = set()
    for node in executed(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def sources_below(path: str) -> Iterator[str]:
    """Yield the module sources of a package tree, or the one file `path` is."""
    if path.endswith(".py"):
        if os.path.exists(path):
            yield path
        return
    for pattern in ("**/*.py", "**/*.pyx"):
        yield from glob(f"{path}/{pattern}", recursive=True)


def hot_modules() -> list[Module]:
    """List the modules that are linked into the launcher, sorted by name."""
    paths = {path for entry in HOT for path in sources_below(entry) if path not in COLD}
    paths |= lean_sources({module_of(path).name for path in paths})
    found: dict[str, Module] = {}
    for path in sorted(paths):
        module = module_of(path)
        if module.name.rpartition(".")[2] == "__main__":
            continue
        if module.name in found:
            raise SystemExit(f"{path}: {found[module.name].path} defines {module.name} too")
        found[module.name] = module
    return [found[name] for name in sorted(found)]


def extensions() -> list[Module]:
    """List the Cython modules; CAPSULE_EXT=name,name selects some of them."""
    only = os.environ.get("CAPSULE_EXT", "")
    names = only.split(",") if only else None
    found = [module_of(path) for path in sorted(glob("capsule/_ext/*.pyx"))]
    return [m for m in found if names is None or m.name.rpartition(".")[2] in names]


def names_source(module: Module, source: str) -> bool:
    """Tell whether a .pyx names this C source."""
    return module.is_cython and source in directive(module.path, "sources")


def directive(path: str, key: str) -> list[str]:
    """Read one `# distutils: key = words` list from the head of a .pyx."""
    pattern = re.compile(r"#\s*distutils:\s*(\w+)\s*=\s*(.*)")
    words: list[str] = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#") and line.strip():
                break
            match = pattern.match(line)
            if match and match[1] == key:
                words += match[2].split()
    return words
