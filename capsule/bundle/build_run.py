"""RUN of a build: a container over the image so far, whose upper layer becomes the step's layer."""

from __future__ import annotations

import os
import subprocess

from capsule._ext import openbeneath
from capsule.bundle import confinement, image as images
from capsule.bundle.build_tree import Tree
from capsule.client import launcher
from capsule.errors import CapsuleError, ImageError
from capsule.image.layout import Staging, write_json

NETWORKS = ("none", "host")
#: What the container needs to have mounted upon; what the image has not is no part of the layer.
_STUBS = ("/proc", "/sys", "/dev", "/etc", "/etc/hosts", "/etc/resolv.conf")
_OF_HOST = ("/etc/hosts", "/etc/resolv.conf")  # with the host's network, its names


class Runner:
    """Runs the steps of one build."""

    def __init__(self, staging: Staging, root: str, network: str, *, quiet: bool) -> None:
        self.staging = staging
        self.root = root  # of the containers' records
        self.network = network
        self.quiet = quiet

    def run(self, tree: Tree, config: dict, args: list[str], env: list[str]) -> None:
        """Run a program over a tree. Raises ImageError where it fails, CapsuleError."""
        missing = _missing(tree)
        upper = {"upper": tree.upper, "work": tree.work, "volatile": True}
        own = {**config, "Entrypoint": None, "Labels": None}
        spec, overlay = images.compile(own, tree.layers, self._wish(args, env))
        path = f"{tree.upper}.json"
        write_json(path, {"config": spec, "overlay": {**overlay, **upper}})
        self._start(path)
        for stub in missing:
            _take_away(tree.upper, stub)

    def _wish(self, args: list[str], env: list[str]) -> dict:
        host = self.network == "host"
        mounts = [{"destination": path, "type": "bind", "source": path, "options": ["bind", "ro", "nosuid", "nodev"]}
                  for path in _OF_HOST if host and os.path.isfile(path)]
        return {"image": "", "command": args, "user": "", "cwd": "", "entrypoint": None, "env": env, "terminal": False,
                "hostname": "build", "readonly": False, "labels": {}, "mounts": mounts, "resources": {}, "cap_add": [],
                "cap_drop": [], "confinement": confinement.parse([]), "devices": [], "init": False,
                "host_network": host}

    def _start(self, path: str) -> None:
        id = f"build-{os.urandom(6).hex()}"
        command = launcher.command()
        try:
            done = subprocess.run(
                [*command, "--root", self.root, "_step", id, path, str(self.staging.fd)],
                check=False, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE if self.quiet else 2,
                # It holds our lock too: were we killed, nobody would take the area from under it.
                pass_fds=[self.staging.fd],
            )
        except BaseException:
            subprocess.run([*command, "--root", self.root, "delete", "--force", id], check=False)
            raise
        if done.returncode != 0:
            last = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ImageError("run", "", f"exit status {done.returncode}" + (f": {last[0]}" if last else ""))


def _missing(tree: Tree) -> list[str]:
    """List the stubs that the image has not, what lies deeper first."""
    root_fd = tree.look()
    try:
        found = []
        for path in _STUBS:
            try:
                os.close(openbeneath.open_in_root(root_fd, path, openbeneath.O_PATH | openbeneath.O_NOFOLLOW))
            except FileNotFoundError:
                found.append(path)
        return found[::-1]
    except OSError as err:
        raise CapsuleError("look into", "the image", errno=err.errno) from err
    finally:
        os.close(root_fd)


def _take_away(upper: str, path: str) -> None:
    """Remove a mount point that only the mount has made: what is empty. No link in the upper layer is followed."""
    upper_fd = os.open(upper, os.O_PATH | os.O_DIRECTORY)
    parent_fd = -1
    directory, _, name = path[1:].rpartition("/")
    try:
        parent_fd = openbeneath.open_in_root(upper_fd, directory or ".", openbeneath.O_PATH | openbeneath.O_DIRECTORY,
                                             openbeneath.RESOLVE_BENEATH | openbeneath.RESOLVE_NO_SYMLINKS)
        info = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if info.st_size == 0 and path in _OF_HOST:
            os.unlink(name, dir_fd=parent_fd)
        else:
            os.rmdir(name, dir_fd=parent_fd)
    except OSError:
        pass  # the step has made something of it
    finally:
        for fd in (upper_fd, parent_fd):
            if fd >= 0:
                os.close(fd)
