"""An image and what the command line asks → config.json as a tree, and the overlay of its root. Runs in R.

Everything in an image is its author's word: it decides what runs inside, and nothing about the container's borders
(image-spec config.md; security: labels never become control input).
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import openbeneath
from capsule.bundle import confinement, seccomp
from capsule.errors import CapsuleError, ImageError
from capsule.linux import names, users
from capsule.spec import example, surroundings

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
)  # fmt: skip
_PIDS = 2048
_DIGITS_MAX = 10  # of a user's or a group's number
#: Annotations that tell systemd or the runtime what to do: never an image's to give (capsule features names them).
_CONTROL = ("org.systemd.property.", "run.oci.")


def host_config() -> dict:
    """Return the image configuration of the built-in image `host`."""
    return {"Cmd": ["/bin/sh"]}


def compile(image: dict, layers: list[str], wish: dict) -> tuple[dict, dict]:
    """Return (config.json as a tree, the overlay). `image` is the configuration's "config"; `wish`, see cmd_image_run.

    Raises CapsuleError for what cannot be meant.
    """
    tree = example.example()
    tree["root"]["readonly"] = False
    tree["mounts"].pop()  # cgroups
    tree["linux"]["resources"]["pids"] = {"limit": _PIDS}
    tree["process"]["user"] = user_of(wish["user"] or image.get("User") or "", layers)
    # The root of an overlay shows the owner and mode of its topmost layer, the throw-away one.
    top = posix.stat(layers[-1])
    overlay = {"lower": layers, "upper": "", "work": "", "volatile": True,
               "owner": (top.st_mode & 0o7777, top.st_uid, top.st_gid)}
    change(tree, image, wish)
    return tree, overlay


def change(tree: dict, image: dict, wish: dict) -> None:
    """Put an image's configuration and a wish into a config."""
    process = tree["process"]
    process["args"] = _args(image, wish)
    process["env"] = _environment(image.get("Env") or [], wish)
    process["cwd"] = wish["cwd"] or image.get("WorkingDir") or "/"
    process["terminal"] = wish["terminal"]
    capabilities = _capabilities(wish)
    process["capabilities"] = {name: capabilities for name in ("bounding", "effective", "permitted")}
    confinement.apply(tree, wish["confinement"])
    process["rlimits"] = []
    tree["hostname"] = wish["hostname"]
    tree["root"]["readonly"] = wish["readonly"]
    labels = {key: value for key, value in (image.get("Labels") or {}).items() if not key.startswith(_CONTROL)}
    tree["annotations"] = {key: value for key, value in {**labels, **wish["labels"]}.items() if key}
    if image.get("ExposedPorts"):
        tree["annotations"][surroundings.EXPOSED_PORTS] = ",".join(sorted(image["ExposedPorts"]))
    tree["mounts"] += wish["mounts"]
    linux = tree["linux"]
    if wish["host_network"]:
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
        tree["mounts"] = [mount for mount in tree["mounts"] if mount["type"] != "sysfs"]
        tree["mounts"].append({"destination": "/sys", "type": "none", "source": "/sys",
                               "options": ["rbind", "nosuid", "noexec", "nodev", "ro", "rro"]})
    for name, value in wish["resources"].items():
        linux["resources"][name] = value
    if wish["confinement"].seccomp:
        linux["seccomp"] = seccomp.profile(capabilities)
    if wish["devices"] or wish["init"]:
        from capsule.bundle import devices

        devices.add(tree, wish["devices"])
        if wish["init"]:
            devices.add_init(tree)


def _args(image: dict, wish: dict) -> list[str]:
    entrypoint = wish["entrypoint"] if wish["entrypoint"] is not None else image.get("Entrypoint") or []
    # An entrypoint of the caller's replaces both of the image's, as Docker does.
    command = wish["command"] or ([] if wish["entrypoint"] is not None else image.get("Cmd") or [])
    if not entrypoint and not command:
        raise CapsuleError("image run", wish["image"], "the image names no program; name one behind it")
    return [*entrypoint, *command]


def _environment(of_image: list[str], wish: dict) -> list[str]:
    """Return the image's variables, then the caller's: of equal names the last one counts."""
    found = [example.ENV[0], f"HOSTNAME={wish['hostname']}", *(["TERM=xterm"] if wish["terminal"] else [])]
    return [*found, *of_image, *wish["env"]]


def _capabilities(wish: dict) -> list[str]:
    chosen = list(CAPABILITIES)
    for words, add in ((wish["cap_drop"], False), (wish["cap_add"], True)):
        for word in words:
            name = word.upper() if word.upper().startswith("CAP_") else f"CAP_{word.upper()}"
            if name == "CAP_ALL":
                chosen = list(names.CAPABILITIES) if add else []
            elif name not in names.CAPABILITIES:
                option = "--cap-add" if add else "--cap-drop"
                raise CapsuleError("image run", f"{option} {word}", "no capability has that name")
            elif add and name not in chosen:
                chosen.append(name)
            elif not add and name in chosen:
                chosen.remove(name)
    return chosen


def user_of(text: str, layers: list[str]) -> dict:
    """Return `process.user` of the image's or the caller's words, "" being root. Raises CapsuleError."""
    fd = _layer_with_passwd(layers)
    if fd < 0:
        uid, _, gid = text.partition(":")
        if any([word.strip("0123456789") or len(word) > _DIGITS_MAX for word in (uid, gid)]):
            raise ImageError("find user", text, "the image has no /etc/passwd")
        return _as_user(int(uid or 0), int(gid or 0), [])
    try:
        uid_found, gid_found = users.parse_user(fd, text or "0")
        entry = users.lookup(fd, uid_found)
        if gid_found is None:
            gid_found = entry[1] if entry is not None and entry[1] is not None else 0
        groups = users.groups_of(fd, entry[0]) if entry is not None and ":" not in text else []
        return _as_user(uid_found, gid_found, [gid for gid in groups if gid != gid_found])
    finally:
        posix.close(fd)


def _as_user(uid: int, gid: int, groups: list[int]) -> dict:
    return {"uid": uid, "gid": gid, "additionalGids": groups}


def _layer_with_passwd(layers: list[str]) -> int:
    """Open the topmost layer that has an /etc/passwd, -1 if none has. Links in a layer stay in it."""
    for path in reversed(layers):
        fd = openbeneath.open_host(path, openbeneath.O_PATH | openbeneath.O_DIRECTORY)
        try:
            posix.close(openbeneath.open_in_root(fd, "etc/passwd"))
            return fd
        except OSError as err:
            posix.close(fd)
            if err.errno not in (errno.ENOENT, errno.ENOTDIR):
                return -1
    return -1
