"""Paths of the command line: the caller's working directory is the only thing they are relative to."""

from __future__ import annotations

import posix

from capsule.cli.refusals import cgroup_access
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.linux import namespaces

RUNTIME_ROOT = "/run/capsule"
SYSTEM_DATA = "/var/lib/capsule"  # what outlives a reboot


def absolute(path: str) -> str:
    """Return an absolute path, "" unchanged.

    `.`, empty and leading `..` components are folded; a later `..` stays, for what precedes it may be a symlink.
    Raises CapsuleError.
    """
    if not path:
        return ""
    parts = [] if path.startswith("/") else _working_directory().split("/")
    leading = True
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and leading:
            # The working directory is physical, so its parent is its name without the last component.
            del parts[-1:]
            continue
        leading = False
        parts.append(part)
    return "/" + "/".join([part for part in parts if part])


def _working_directory() -> str:
    try:
        return posix.getcwd()
    except OSError as err:  # removed, most likely
        raise CapsuleError("find the working directory", "", errno=err.errno or 0) from err


def making_options(invocation: Invocation) -> dict:
    """Return what create and run are asked alike, under the names of verbs.create; paths absolute."""
    options = invocation.options
    return {
        "bundle": absolute(options["bundle"] or "."),
        "pid_file": absolute(options["pid_file"]) or None,
        "console_socket": absolute(options["console_socket"]) or None,
        "pidfd_socket": absolute(options["pidfd_socket"]) or None,
        "preserve_fds": options["preserve_fds"],
        "network": _network(options),
        "no_pivot": options["no_pivot"],
        "no_new_keyring": options["no_new_keyring"],
        "systemd_cgroup": invocation.globals["systemd_cgroup"] or invocation.globals["cgroup_manager"] == "systemd",
        "cgroup_access": cgroup_access(invocation),
    }


_NETWORK_OPTIONS = ("network", "publish", "publish_all", "ip", "ip6", "mac_address", "network_alias", "hostname",
                    "add_host", "dns")


def _network(options: dict) -> dict | None:
    """Return what verbs.create takes as `network`, None where no option of it is used."""
    if not any([options[name] for name in _NETWORK_OPTIONS]):
        return None
    from capsule.cli import network_options

    return network_options.read(options)


def runtime_root(invocation: Invocation) -> str:
    """Return the directory of the containers' records: --root, or the default of this user."""
    given = invocation.globals["root"]
    if given:
        return absolute(given)
    private = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if posix.geteuid() == 0 and (not private or namespaces.is_initial_user()):
        return RUNTIME_ROOT
    from capsule.state import roots

    return roots.private_root(private)


def storage_root(invocation: Invocation) -> str:
    """Return the directory of the images."""
    return _durable(invocation, "storage")


def volume_root(invocation: Invocation) -> str:
    """Return the directory of the volumes."""
    return _durable(invocation, "volumes")


def containers_root(invocation: Invocation) -> str:
    """Return the directory of the engine's containers."""
    return _durable(invocation, "containers")


def _durable(invocation: Invocation, name: str) -> str:
    """Return a directory that outlives a reboot: below --root if that is given, or this user's own.

    No container's id begins with a full stop, so the directory stands beside those of containers.
    """
    given = invocation.globals["root"]
    if given:
        return f"{absolute(given)}/.{name}"
    if posix.geteuid() == 0 and namespaces.is_initial_user():
        return f"{SYSTEM_DATA}/{name}"
    data = posix.environ.get(b"XDG_DATA_HOME", b"").decode("utf-8", "surrogateescape")
    home = posix.environ.get(b"HOME", b"").decode("utf-8", "surrogateescape")
    return f"{data if data.startswith('/') else home + '/.local/share'}/capsule/{name}"
