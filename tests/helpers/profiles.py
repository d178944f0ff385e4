"""Seccomp profiles for tests: an engine's own, as the engine would hand it to a runtime."""

from __future__ import annotations

import json
from pathlib import Path

ENGINE_PROFILE = Path("/usr/share/containers/seccomp.json")  # containers-common, podman


def engine_profile(*capabilities: str, machine: str = "amd64") -> dict[str, object]:
    """Return linux.seccomp as podman generates it for a container with these capabilities."""
    source = json.loads(ENGINE_PROFILE.read_text())
    rules = []
    for rule in source["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if machine not in includes.get("arches", [machine]) or machine in excludes.get("arches", []):
            continue
        if not set(includes.get("caps", [])) <= set(capabilities) or set(excludes.get("caps", [])) & set(capabilities):
            continue
        rules.append({key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key)})
    return {
        "defaultAction": source["defaultAction"],
        "defaultErrnoRet": source["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }


def rule(action: str, *names: str, errno: int | None = None, args: list[tuple[int, str, int, int]] = ()) -> dict:
    """Return one entry of linux.seccomp.syscalls; args are (index, op without SCMP_CMP_, value, valueTwo)."""
    made: dict[str, object] = {"names": list(names), "action": f"SCMP_ACT_{action}"}
    if errno is not None:
        made["errnoRet"] = errno
    if args:
        made["args"] = [
            {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two} for index, op, value, two in args
        ]
    return made


def profile(*rules: dict, default: str = "ERRNO", errno: int | None = None, **more: object) -> dict[str, object]:
    """Return a linux.seccomp subtree."""
    made: dict[str, object] = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}
    if errno is not None:
        made["defaultErrnoRet"] = errno
    return made
