"""A builder of bundles: a root file system of busybox and the payload, and a config.json."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

APPLETS = ("sh", "ash", "cat", "echo", "env", "false", "grep", "hostname", "id", "ip", "kill", "ls", "mkdir",
           "mount", "printf", "ps", "pwd", "readlink", "rm", "sleep", "stat", "stty", "sync", "test",
           "touch", "true", "tty", "umount", "uname")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def default_mounts() -> list[dict]:
    def mount(destination: str, kind: str, source: str, *options: str) -> dict:
        return {"destination": destination, "type": kind, "source": source,
                "options": list(options)}

    return [
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
              "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]


def default_config() -> dict:
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/payload", "probe"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in sets},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": default_mounts(),
        "linux": {
            "namespaces": [{"type": word} for word in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


class Bundle:
    """One bundle directory; every method changes `config` or the root and returns the bundle."""

    def __init__(self, path: Path, name: str, payload: Path) -> None:
        self.path = path
        self.id = name
        self.rootfs = path / "rootfs"
        self.config = default_config()
        self.text: bytes | None = None  # written as config.json instead of `config`
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "usr/bin", "data"):
            (self.rootfs / directory).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.rootfs / "bin" / "busybox")
        for applet in APPLETS:
            os.symlink("busybox", self.rootfs / "bin" / applet)
        shutil.copy(payload, self.rootfs / "payload")
        self.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:\n")
        self.file("/etc/group", "root:x:0:\nuser:x:1000:\n")

    @property
    def process(self) -> dict:
        return self.config["process"]

    @property
    def linux(self) -> dict:
        return self.config["linux"]

    def edit(self, change: Callable[[dict], object]) -> Bundle:
        change(self.config)
        return self

    def args(self, *argv: str) -> Bundle:
        self.process["args"] = list(argv)
        return self

    def shell(self, script: str) -> Bundle:
        return self.args("/bin/sh", "-c", script)

    def env(self, *entries: str) -> Bundle:
        self.process["env"] = [*self.process["env"], *entries]
        return self

    def user(self, uid: int, gid: int = 0, *groups: int, umask: int | None = None) -> Bundle:
        user: dict = {"uid": uid, "gid": gid}
        if groups:
            user["additionalGids"] = list(groups)
        if umask is not None:
            user["umask"] = umask
        self.process["user"] = user
        return self

    def capabilities(self, *names: str, **sets: list[str]) -> Bundle:
        """Grant names in bounding, effective and permitted, or exactly the sets given by keyword."""
        common = {word: list(names) for word in ("bounding", "effective", "permitted")}
        self.process["capabilities"] = sets or common
        return self

    def terminal(self) -> Bundle:
        self.process["terminal"] = True
        return self

    def mount(self, destination: str, kind: str | None, source: str, *options: str) -> Bundle:
        entry: dict = {"destination": destination, "source": source, "options": list(options)}
        if kind:
            entry["type"] = kind
        self.config["mounts"].append(entry)
        return self

    def bind(self, source: Path | str, destination: str, *options: str) -> Bundle:
        return self.mount(destination, "bind", str(source), *(options or ("rbind",)))

    def without_mount(self, destination: str) -> Bundle:
        """Drop a mount and everything below it."""
        self.config["mounts"] = [
            entry for entry in self.config["mounts"]
            if not (entry["destination"] + "/").startswith(destination.rstrip("/") + "/")]
        return self

    def namespace(self, kind: str, path: str | None = None) -> Bundle:
        """Ask for a new namespace, or for the one at path."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})
        return self

    def without_namespace(self, kind: str) -> Bundle:
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]
        return self

    def user_namespace(self, host: int = 100000, size: int = 65536) -> Bundle:
        """Map container root to host and give it the root file system."""
        mapping = [{"containerID": 0, "hostID": host, "size": size}]
        self.namespace("user")
        self.linux["uidMappings"] = list(mapping)
        self.linux["gidMappings"] = list(mapping)
        self.own_rootfs(host)
        return self

    def own_rootfs(self, uid: int) -> Bundle:
        for parent, directories, files in os.walk(self.rootfs):
            for name in (".", *directories, *files):
                os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)
        return self

    def hook(self, kind: str, *argv: str, **fields: object) -> Bundle:
        """Append a hook whose path is argv[0]; fields are its other keys."""
        entry = {"path": argv[0], "args": list(argv), **fields}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)
        return self

    def seccomp(self, default: str, *rules: dict, **fields: object) -> Bundle:
        self.linux["seccomp"] = {"defaultAction": default, "syscalls": list(rules), **fields}
        return self

    def file(self, path: str, text: str | bytes = "", mode: int = 0o644) -> Bundle:
        """Put a regular file into the root."""
        target = self.rootfs / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        target.chmod(mode)
        return self

    def symlink(self, path: str, target: Path | str) -> Bundle:
        """Put a symlink into the root, in place of the empty directory there, if any."""
        place = self.rootfs / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.is_symlink() or place.exists():
            place.unlink()
        place.symlink_to(target)
        return self

    def write(self) -> Path:
        """Write config.json and return the bundle's directory."""
        text = self.text
        if text is None:
            text = json.dumps(self.config, indent=1).encode()
        (self.path / "config.json").write_bytes(text)
        return self.path
