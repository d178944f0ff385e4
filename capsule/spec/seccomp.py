"""`linux.seccomp`: actions and what each may carry. runtime-spec config-linux.md#seccomp, man 2 seccomp."""

from __future__ import annotations

from capsule.spec.check import absolute, problem, required

# The actions with a number for the caller: an errno, or data for the tracer.
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
NOTIFY = "SCMP_ACT_NOTIFY"


def check_seccomp(tree: dict) -> dict:
    """Check a tree that has passed schema.SECCOMP and return it."""
    where = "linux.seccomp"
    if tree.get("listenerMetadata") and not tree.get("listenerPath"):
        raise problem(f"{where}.listenerMetadata", "needs listenerPath")
    if tree.get("listenerPath"):
        absolute(tree["listenerPath"], f"{where}.listenerPath")
    _check_action(tree, "defaultAction", "defaultErrnoRet", where)
    for index, rule in enumerate(tree.get("syscalls", [])):
        _check_rule(rule, f"{where}.syscalls[{index}]")
    if notifies(tree) and not tree.get("listenerPath"):
        raise problem(f"{where}.listenerPath", f"is required by {NOTIFY}")
    return tree


def notifies(tree: dict) -> bool:
    """Tell whether a checked profile has calls for an agent in user space."""
    return tree["defaultAction"] == NOTIFY or any(rule["action"] == NOTIFY for rule in tree.get("syscalls", []))


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
    if errno_key in tree and action not in WITH_ERRNO:
        raise problem(f"{where}.{errno_key}", f"the action {action} takes no errno")
