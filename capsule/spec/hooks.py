"""`hooks` of config.json. runtime-spec config.md#posix-platform-hooks."""

from __future__ import annotations

from capsule.spec.check import absolute, required
from capsule.spec.model import Hook


def build_hooks(tree: dict) -> dict[str, list[Hook]]:
    """Make the hooks of a checked tree; kinds without hooks are left out."""
    return {
        kind: [_hook(item, f"hooks.{kind}[{index}]") for index, item in enumerate(items)]
        for kind, items in tree.items() if items
    }


def _hook(item: dict, where: str) -> Hook:
    path = absolute(required(item, "path", where), f"{where}.path")
    return Hook(path, item.get("args"), item.get("env"), item.get("timeout"))
