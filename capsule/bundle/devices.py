"""--device and --init of `image run` → what a config says of them. Runs in R; imported where one is used."""

from __future__ import annotations

import posix

from capsule.errors import CapsuleError, Unsupported, errno_text

_S_IFMT, _S_IFCHR, _S_IFBLK, _S_IFDIR = 0o170000, 0o020000, 0o060000, 0o040000
_DEPTH = 8
#: Inits that need no library of an image's: one of them is bound into the container, over our own /dev.
INITS = ("/usr/bin/tini-static", "/usr/bin/catatonit", "/usr/libexec/podman/catatonit", "/usr/sbin/docker-init")
INIT = "/dev/init"


def add(tree: dict, texts: list[str]) -> None:
    """Let a container have devices: `HOST[:DESTINATION][:rwm]`, or a directory of them. Raises CapsuleError."""
    linux = tree["linux"]
    nodes = linux.setdefault("devices", [])
    rules = linux["resources"].setdefault("devices", [])
    for text in texts:
        source, target, access = _parse(text)
        found = _nodes(text, source, target, 0)
        if not found:
            raise CapsuleError("image run", f"--device {text}", "there is no device below that directory")
        for node in found:
            nodes.append(node)
            rules.append({"allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"],
                          "access": access})


def _parse(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    access = "rwm"
    if len(parts) > 1 and parts[-1] and not parts[-1].strip("rwm"):
        access = parts.pop()
    if len(parts) > 2 or not all([part.startswith("/") for part in parts]):
        raise Unsupported("image run", f"--device {text}", "expected HOST[:DIR][:rwm], absolute paths")
    return parts[0], parts[-1], access


def _nodes(text: str, source: str, target: str, depth: int) -> list[dict]:
    try:
        info = posix.stat(source)
    except OSError as err:
        raise CapsuleError("image run", f"--device {text}", errno_text(err.errno), errno=err.errno or 0) from err
    kind = info.st_mode & _S_IFMT
    if kind == _S_IFDIR and depth < _DEPTH:
        found = []
        for name in sorted(posix.listdir(source)):
            below = posix.stat(f"{source}/{name}", follow_symlinks=False).st_mode & _S_IFMT
            if below in (_S_IFDIR, _S_IFCHR, _S_IFBLK):
                found += _nodes(text, f"{source}/{name}", f"{target}/{name}", depth + 1)
        return found
    if kind not in (_S_IFCHR, _S_IFBLK):
        raise CapsuleError("image run", f"--device {text}", f"{source} is no device")
    return [{"type": "c" if kind == _S_IFCHR else "b", "path": target, "major": posix.major(info.st_rdev),
             "minor": posix.minor(info.st_rdev), "fileMode": info.st_mode & 0o7777, "uid": info.st_uid,
             "gid": info.st_gid}]


def add_init(tree: dict) -> None:
    """Have an init of the host's start the program, reap orphans and pass signals on. Raises Unsupported."""
    for path in INITS:
        if posix.access(path, posix.X_OK):
            tree["mounts"].append({"destination": INIT, "type": "bind", "source": path,
                                   "options": ["bind", "ro", "nosuid", "nodev"]})
            tree["process"]["args"] = [INIT, "--", *tree["process"]["args"]]
            return
    raise Unsupported("image run", "--init", f"needs one of {', '.join(INITS)}: apt-get install tini")
