"""--security-opt of `image run` → what a config says of it. Runs in R."""

from __future__ import annotations

from capsule.errors import CapsuleError, Unsupported

_KNOWN = ("no-new-privileges, seccomp=unconfined, apparmor=PROFILE, label=disable, mask=PATH:..., unmask=PATH:...|ALL, "
          "systempaths=unconfined")


class Confinement:
    """What the words of a call ask for."""

    __slots__ = ("seccomp", "no_new_privileges", "apparmor", "masked", "unmasked")

    def __init__(self) -> None:
        self.seccomp = True
        self.no_new_privileges = False
        self.apparmor = ""
        self.masked: list[str] = []
        self.unmasked: list[str] = []  # "ALL" stands for every path


def parse(words: list[str]) -> Confinement:
    """Read the values of --security-opt; Docker's older `key:value` too. Raises CapsuleError, Unsupported."""
    found = Confinement()
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            key, _, value = word.partition(":")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            found.no_new_privileges = value != "false"
        elif key == "seccomp" and value == "unconfined":
            found.seccomp = False
        elif key == "apparmor" and value:
            found.apparmor = value
        elif key == "label" and value == "disable":
            pass  # no container of ours has a label unless it is asked for
        elif key in ("mask", "unmask") and value:
            paths = value.split(":")
            for path in paths:
                if not path.startswith("/") and not (key == "unmask" and path == "ALL"):
                    raise CapsuleError("image run", f"--security-opt {word}", f"expected absolute paths, not {path!r}")
            (found.masked if key == "mask" else found.unmasked).extend(paths)
        elif word == "systempaths=unconfined":
            found.unmasked.append("ALL")
        else:
            raise Unsupported("image run", f"--security-opt {word}", f"known are {_KNOWN}")
    return found


def apply(tree: dict, asked: Confinement) -> None:
    """Put it into a config that has the masks of every container."""
    process, linux = tree["process"], tree["linux"]
    process["noNewPrivileges"] = asked.no_new_privileges
    if asked.apparmor:
        process["apparmorProfile"] = asked.apparmor
    for key in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(key) or []
        linux[key] = [] if "ALL" in asked.unmasked else [path for path in paths if path not in asked.unmasked]
    linux["maskedPaths"] += asked.masked
