"""What the tests of this directory read: the tree's sources and the layer table."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from build_support.modules import executed as walk  # noqa: E402 - the path comes first


def python_sources(*tops: str) -> list[Path]:
    """List the .py files below the given directories, relative to the tree."""
    return sorted(path.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*.py"))


@functools.cache
def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(read(path), str(path))


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def own_modules() -> set[str]:
    """Name every module and package of capsule, the Cython ones too."""
    paths = [path.relative_to(ROOT) for pattern in ("*.py", "*.pyx") for path in (ROOT / "capsule").rglob(pattern)]
    return {module_name(path) for path in paths}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the full dotted name of each import, at any depth."""
    name, known = module_name(path), own_modules()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known else base


@functools.cache
def layers() -> dict[str, int]:
    """Read docs/architecture.md: package or module → number of its layer."""
    rows = re.findall(r"^\| L(\d) \| ([^|]+) \|", read(Path("docs/architecture.md")), re.MULTILINE)
    return {name.strip(): int(number) for number, names in rows for name in names.split(",")}


def owner(name: str, table: dict[str, int]) -> str | None:
    """Find the entry of the layer table that a module belongs to."""
    while name and name not in table:
        name = name.rpartition(".")[0]
    return name or None
