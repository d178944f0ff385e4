"""Engines' default profile (containers-common, Docker) as the OCI form that a runtime is given."""

from __future__ import annotations

import json
from pathlib import Path

PROFILE = Path("/usr/share/containers/seccomp.json")
ARCHITECTURES = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def engine_profile(capabilities: list[str], path: Path = PROFILE) -> dict:
    """Resolve the includes and excludes of the profile for a set of capabilities on x86-64."""
    text = json.loads(path.read_text(encoding="utf-8"))
    rules = [_rule(entry) for entry in text["syscalls"] if _applies(entry, set(capabilities))]
    profile = {"defaultAction": text["defaultAction"], "architectures": ARCHITECTURES,
               "syscalls": rules}
    if text.get("defaultErrnoRet") is not None:
        profile["defaultErrnoRet"] = text["defaultErrnoRet"]
    return profile


def _applies(entry: dict, capabilities: set[str]) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if includes.get("arches") and "amd64" not in includes["arches"]:
        return False
    if "amd64" in (excludes.get("arches") or []):
        return False
    if includes.get("caps") and not capabilities & set(includes["caps"]):
        return False
    return not capabilities & set(excludes.get("caps") or [])


def _rule(entry: dict) -> dict:
    rule = {"names": entry["names"], "action": entry["action"]}
    if entry.get("args"):
        rule["args"] = entry["args"]
    if entry.get("errnoRet") is not None:
        rule["errnoRet"] = entry["errnoRet"]
    return rule
