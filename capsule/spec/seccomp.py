"""`linux.seccomp`: actions and what each may carry. runtime-spec config-linux.md#seccomp, man 2 seccomp."""

from __future__ import annotations

from capsule.errors import Unsupported
from capsule.spec.check import problem, required

# The actions with a number for the caller: an errno, or data for the tracer.
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
NOTIFY = "SCMP_ACT_NOTIFY"
# The kernel takes it only together with a listener (Linux 5.19).
NOTIFY_FLAG = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


def check_seccomp(tree: dict) -> dict:
    """Check a tree that has passed schema.SECCOMP and return it."""
    where = "linux.seccomp"
    if tree.get("listenerMetadata") and not tree.get("listenerPath"):
        raise problem(f"{where}.listenerMetadata", "needs listenerPath")
    if tree.get("listenerPath"):
        raise _no_notify(f"{where}.listenerPath")
    flags = tree.get("flags", [])
    if NOTIFY_FLAG in flags:
        raise _no_notify(f"{where}.flags[{flags.index(NOTIFY_FLAG)}]")
    _check_action(tree, "defaultAction", "defaultErrnoRet", where)
    for index, rule in enumerate(tree.get("syscalls", [])):
        _check_rule(rule, f"{where}.syscalls[{index}]")
    return tree


def _check_rule(rule: dict, where: str) -> None:
    names = rule.get("names")
    if not names:
        raise problem(f"{where}.names", "expected at least one system call")
    if "" in names:
        raise problem(f"{where}.names[{names.index('')}]", "expected the name of a system call")
    _check_action(rule, "action", "errnoRet", where)
    for index, arg in enumerate(rule.get("args", [])):
        at = f"{where}.args[{index}]"
        required(arg, "index", at)
        required(arg, "op", at)
        arg.setdefault("value", 0)


def _check_action(tree: dict, action_key: str, errno_key: str, where: str) -> None:
    action = required(tree, action_key, where)
    if action == NOTIFY:
        raise _no_notify(f"{where}.{action_key}")
    if errno_key in tree and action not in WITH_ERRNO:
        raise problem(f"{where}.{errno_key}", f"the action {action} takes no errno")


def _no_notify(where: str) -> Unsupported:
    return Unsupported("config.json", where, "this version has no user-space notification")
