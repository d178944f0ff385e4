"""`process` of config.json and process.json of exec: rules that need more than one field.

runtime-spec config.md#process, config.md#posix-process, config.md#linux-process.
"""

from __future__ import annotations

from capsule.spec.check import absolute, problem, quote, required
from capsule.spec.model import Process

# struct winsize holds unsigned shorts (man 2 ioctl_tty).
CONSOLE_MAX = 65535
# setgroups(2) takes no more (NGROUPS_MAX, Linux 2.6.4).
GROUPS_MAX = 65536


def build_process(tree: dict, at: str) -> Process:
    """Make the Process of a checked tree; `at` is "process" or, for process.json, empty."""
    prefix = f"{at}." if at else ""
    process = Process()
    process.terminal = tree.get("terminal", False)
    # Without a terminal the specification wants the size ignored, even a wrong one.
    if process.terminal and "consoleSize" in tree:
        process.console_size = _console_size(tree["consoleSize"], f"{prefix}consoleSize")
    process.cwd = absolute(required(tree, "cwd", at), f"{prefix}cwd")
    process.args = _args(tree, f"{prefix}args")
    process.env = _env(tree.get("env", []), f"{prefix}env")
    _take_user(process, tree.get("user", {}), f"{prefix}user")
    process.capabilities = tree.get("capabilities")
    process.no_new_privileges = tree.get("noNewPrivileges", False)
    process.rlimits = _rlimits(tree.get("rlimits", []), f"{prefix}rlimits")
    process.oom_score_adj = tree.get("oomScoreAdj")
    process.apparmor_profile = tree.get("apparmorProfile") or None
    process.selinux_label = tree.get("selinuxLabel") or None
    if "scheduler" in tree or "ioPriority" in tree or "execCPUAffinity" in tree:
        _take_attributes(process, tree, prefix)
    return process


def _take_attributes(process: Process, tree: dict, prefix: str) -> None:
    from capsule.spec import attributes

    # An empty object asks for nothing.
    if tree.get("scheduler"):
        process.scheduler = attributes.check_scheduler(tree["scheduler"], f"{prefix}scheduler")
    if tree.get("ioPriority"):
        process.io_priority = attributes.check_io_priority(tree["ioPriority"], f"{prefix}ioPriority")
    if tree.get("execCPUAffinity"):
        process.cpu_affinity = attributes.check_affinity(tree["execCPUAffinity"], f"{prefix}execCPUAffinity")


def _console_size(tree: dict, where: str) -> tuple[int, int]:
    height, width = tree.get("height", 0), tree.get("width", 0)
    for name, value in (("height", height), ("width", width)):
        if value > CONSOLE_MAX:
            raise problem(f"{where}.{name}", f"expected an integer from 0 to {CONSOLE_MAX}, got {value}")
    return (height, width)


def _args(tree: dict, where: str) -> list[str]:
    args = tree.get("args")
    if not args:
        raise problem(where, "expected at least one argument, the program")
    return args


def _env(env: list[str], where: str) -> list[str]:
    for index, item in enumerate(env):
        if item.find("=") < 1:
            raise problem(f"{where}[{index}]", f"expected NAME=value, got {quote(item)}")
    return env


def _take_user(process: Process, user: dict, where: str) -> None:
    process.uid = user.get("uid", 0)
    process.gid = user.get("gid", 0)
    process.umask = user.get("umask")
    process.additional_gids = user.get("additionalGids", [])
    if len(process.additional_gids) > GROUPS_MAX:
        raise problem(f"{where}.additionalGids", f"expected at most {GROUPS_MAX} groups")


def _rlimits(items: list[dict], where: str) -> list[tuple[str, int, int]]:
    rlimits: list[tuple[str, int, int]] = []
    seen: list[str] = []
    for index, item in enumerate(items):
        at = f"{where}[{index}]"
        name, soft, hard = required(item, "type", at), required(item, "soft", at), required(item, "hard", at)
        if name in seen:
            raise problem(f"{at}.type", f"{name} is given twice")
        if soft > hard:
            raise problem(f"{at}.soft", f"expected at most the hard limit, {hard}, got {soft}")
        seen.append(name)
        rlimits.append((name, soft, hard))
    return rlimits
