"""What a test needs of the machine: declared with @requires, probed once, shown in the header."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from . import apart, ebpf
from .payload import payload_is_fresh

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def mirror() -> str:
    """Return the Debian archive: CAPSULE_DEBIAN_MIRROR, or the one that apt uses; "" where there is none."""
    named = os.environ.get("CAPSULE_DEBIAN_MIRROR")
    if named:
        return named
    if not shutil.which("apt-get"):
        return ""
    words = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True,
                           check=False).stdout.split()
    return next((word.rstrip("/") for word in words if word.rstrip("/").endswith("/debian")), "")


requires = pytest.mark.requires


def binary() -> list[str]:
    """Return the argv of the runtime under test: CAPSULE_BINARY, or the launcher of this tree."""
    return shlex.split(os.environ.get("CAPSULE_BINARY", "")) or [str(ROOT / "build" / "capsule")]


def variant(name: str) -> Path:
    """Return the path of a test build of the launcher, such as "stop" or "noseal"."""
    return ROOT / "build" / f"capsule-{name}"


def _file(path: Path | str, build: str) -> str:
    return "" if os.access(path, os.X_OK) else f"{path} is not built ({build})"


def _program(name: str, package: str) -> str:
    return "" if shutil.which(name) else f"{name} is not installed (apt-get install {package})"


def _compiler() -> str:
    """A payload that was built elsewhere will do: guests of vagrant/rig have no compiler."""
    lacking = _program("gcc", "gcc libc6-dev")
    return lacking if lacking and not payload_is_fresh() else ""


def _runs(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"{argv[0]}: {done.returncode}")


def _mounted(kind: str) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        found = any(f" - {kind} " in line for line in file)
    return "" if found else f"no {kind} hierarchy is mounted"


def _unified_alone() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        kinds = {line.partition(" - ")[2].split()[0] for line in file if " - cgroup" in line}
    return "" if kinds == {"cgroup2"} else "cgroup v2 is not alone (boot it: make test-vm)"


def _device_program() -> str:
    try:
        os.close(ebpf.load("probe", allow=True))
    except OSError as error:
        return f"bpf(2): {error.strerror}"
    return ""


def _capability(number: int, name: str) -> str:
    with open("/proc/self/status", encoding="utf-8") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))
    return "" if effective >> number & 1 else f"{name} is not ours"


def _mirror() -> str:
    """Ask for the Release file as debootstrap will, so that proxies count."""
    if not mirror():
        return "no Debian archive is configured (CAPSULE_DEBIAN_MIRROR)"
    url = f"{mirror()}/dists/bookworm/Release"
    tool = shutil.which("wget") or shutil.which("curl")
    if not tool:
        return "wget is not installed (apt-get install wget)"
    quiet = ["-q", "-O", "/dev/null", "-T", "10", "-t", "1"]
    if tool.endswith("curl"):
        quiet = ["-sf", "-o", "/dev/null", "-m", "10"]
    return _runs(*apart.outside(), tool, *quiet, url) and f"no way to {url}"


def _real_time() -> str:
    """Return "" unless the v1 cgroup that we are in has no real time to hand out, which new groups have not."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "cpu" in controllers.split(","):
                for place in (f"/sys/fs/cgroup/{controllers}{path}", f"/sys/fs/cgroup/cpu{path}"):
                    with contextlib.suppress(FileNotFoundError):
                        if int(Path(place, "cpu.rt_runtime_us").read_text(encoding="ascii")) == 0:
                            return f"{place} has no real time (cpu.rt_runtime_us)"
    return ""


def _tun() -> str:
    """Open the device that makes tap interfaces; a node of any mode is no proof that the kernel has it."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror} (modprobe tun)"
    return ""


def _systemd() -> str:
    """Return "" where systemd is the machine's PID 1, or can be that of a pid namespace (helpers/systemd_box.py)."""
    if os.path.isdir("/run/systemd/system"):
        return ""
    return (_file("/lib/systemd/systemd", "apt-get install systemd") or _program("dbus-daemon", "dbus")
            or _mounted("cgroup2"))


PROBES: dict[str, Callable[[], str]] = {
    "root": lambda: "" if os.geteuid() == 0 else "not root",
    "runtime": lambda: _file(shutil.which(binary()[0]) or binary()[0], "make build"),
    "stop": lambda: _file(variant("stop"), "make build-test"),
    "noseal": lambda: _file(variant("noseal"), "make build-test"),
    "runc": lambda: _program("runc", "runc"),
    "crun": lambda: _program("crun", "crun"),
    "podman": lambda: _program("podman", "podman") or _program("conmon", "conmon"),
    "buildah": lambda: _program("buildah", "buildah"),
    "docker": lambda: _program("dockerd", "docker.io"),
    "containerd": lambda: _program("containerd", "containerd") or _program("ctr", "containerd"),
    "tini": lambda: _program("tini-static", "tini"),
    "cni": lambda: _file("/usr/lib/cni/bridge", "apt-get install containernetworking-plugins"),
    "registry": lambda: _program("docker-registry", "docker-registry") or _program("htpasswd", "apache2-utils"),
    "skopeo": lambda: _program("skopeo", "skopeo"),
    "umoci": lambda: _program("umoci", "umoci"),
    "mariadb": lambda: _program("mariadbd", "mariadb-server-core"),
    "redis": lambda: _program("redis-check-rdb", "redis-tools"),
    "pymysql": lambda: (_file("/usr/bin/python3.11", "apt-get install python3.11")
                        or _file("/usr/lib/python3/dist-packages/pymysql", "apt-get install python3-pymysql")),
    "iptables": lambda: _program("iptables", "iptables"),
    "nft": lambda: _program("nft", "nftables"),
    "firewalld": lambda: _program("firewalld", "firewalld") or _program("dbus-daemon", "dbus"),
    "busybox": lambda: _program("busybox", "busybox-static"),
    "gcc": _compiler,
    "bash": lambda: _program("bash", "bash"),
    "zsh": lambda: _program("zsh", "zsh"),
    "fish": lambda: _program("fish", "fish"),
    "man": lambda: _program("man", "man-db") or _program("groff", "groff"),
    "make": lambda: _program("make", "make"),
    "strace": lambda: _program("strace", "strace"),
    "ps": lambda: _program("ps", "procps"),
    "ip": lambda: _program("ip", "iproute2"),
    "debootstrap": lambda: _program("debootstrap", "debootstrap"),
    "vagrant": lambda: _program("vagrant", "vagrant vagrant-libvirt"),
    "qemu": lambda: _program("qemu-system-x86_64", "qemu-system-x86"),
    "mirror": _mirror,
    "cgroup1": lambda: _mounted("cgroup"),
    "cgroup2": lambda: _mounted("cgroup2"),
    "unified": _unified_alone,
    "devbpf": _device_program,
    "realtime": _real_time,
    "overlay": lambda: _runs("grep", "-qw", "overlay", "/proc/filesystems"),
    "pasta": lambda: _program("pasta", "passt"),
    "slirp4netns": lambda: _program("slirp4netns", "slirp4netns"),
    "tun": _tun,
    "uidmap": lambda: _program("newuidmap", "uidmap"),
    "systemd": _systemd,
    "userns": lambda: _runs("unshare", "--user", "--map-root-user", "true"),
    "timens": lambda: _runs("unshare", "--time", "--fork", "true"),
    "sys_resource": lambda: _capability(24, "CAP_SYS_RESOURCE"),
    "cpus2": lambda: "" if (os.cpu_count() or 1) > 1 else "one processor only",
}


@functools.cache
def lacking(name: str) -> str:
    """Return "" when the machine has what name stands for, else what is lacking."""
    return PROBES[name]()


def forced() -> set[str]:
    """Return the requirements whose lack is a failure: CAPSULE_REQUIRE=root,podman (or "all")."""
    names = {word for word in os.environ.get("CAPSULE_REQUIRE", "").split(",") if word}
    return set(PROBES) if "all" in names else names


def check(item: pytest.Item) -> None:
    """Skip a test whose requirements are lacking, or fail it where CAPSULE_REQUIRE names one."""
    for mark in item.iter_markers("requires"):
        for name in mark.args:
            reason = lacking(name)
            if reason and name in forced():
                pytest.fail(f"requires {name}: {reason}", pytrace=False)
            if reason:
                pytest.skip(f"requires {name}: {reason}")


def header(items: list[pytest.Item]) -> list[str]:
    """Return one line each for what the collected tests need and the machine has or lacks."""
    names = sorted({name for item in items for mark in item.iter_markers("requires")
                    for name in mark.args})
    have = [name for name in names if not lacking(name)]
    lines = [f"runtime under test: {shlex.join(binary())}"] if "runtime" in names else []
    if have:
        lines.append("machine has: " + " ".join(have))
    return lines + [f"machine lacks {name}: {lacking(name)}" for name in names if lacking(name)]
