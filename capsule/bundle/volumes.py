"""What a container is to see of the host and of volumes → mounts of its config. Runs in R.

An image is its author's word: it may ask for volumes, and what it has where a volume is mounted is copied into a
volume that is new; nothing of it is followed outside of its own tree.
"""

from __future__ import annotations

import errno
import posix

from capsule._ext import mountapi, openbeneath, proc
from capsule.errors import ImageError, Unsupported, VolumeError
from capsule.linux import trees
from capsule.rootfs.plan.mounts import clean
from capsule.volume.store import DATA, Volumes, make_data

BIND, VOLUME, TMPFS = "bind", "volume", "tmpfs"
_VOLUMES_MAX = 64  # that an image may ask for
_NOT_FOR_IMAGES = ("/", "/proc", "/sys", "/dev")
_FILLING = "data.new"
_LOOK_ONLY = 0x1 | 0x2 | 0x4 | 0x8  # MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC
_DIRECTORY = openbeneath.O_PATH | openbeneath.O_DIRECTORY


class Wanted:
    """A mount that was asked for: source is a path of the host, a volume's name, or "" (tmpfs, anonymous volume)."""

    __slots__ = ("kind", "source", "destination", "options", "copy")

    def __init__(self, kind: str, source: str, destination: str, options: list[str], copy: bool = True) -> None:
        self.kind = kind
        self.source = source
        self.destination = clean(destination)
        self.options = options
        self.copy = copy  # fill a new volume with what the image has there


class Given:
    """What a container got: `mounts` for its config, and what to undo where it is not made after all."""

    __slots__ = ("volumes", "id", "mounts", "used", "held")

    def __init__(self, volumes: Volumes, id: str) -> None:
        self.volumes = volumes
        self.id = id
        self.mounts: list[dict] = []
        self.used: list[dict] = []  # {"name", "destination", "anonymous", "readonly"} of volumes
        self.held: list[str] = []

    def undo(self) -> None:
        """Let go of all volumes, and remove the anonymous ones, which no one else knows. Raises VolumeError."""
        for name in self.held:
            self.volumes.release(name, self.id)
            if self.volumes.exists(name) and self.volumes.load(name)["anonymous"]:
                self.volumes.remove(name)
        self.held = []


def give(volumes: Volumes, id: str, wanted: list[Wanted], image: dict, layers: list[str]) -> Given:
    """Make, hold and fill the volumes of a container. `image`: its configuration's "config"; layers: [] copies nothing.

    Raises CapsuleError; then nothing is held, and no volume has been made but named ones.
    """
    every = [*wanted, *_of_image(image, [one.destination for one in wanted])]
    _check(every)
    given = Given(volumes, id)
    try:
        # What lies deeper is mounted later, in whichever order it was asked for.
        for one in sorted(every, key=lambda one: one.destination.count("/")):
            given.mounts.append(_volume(given, one, layers) if one.kind == VOLUME else _plain(one))
    except BaseException:
        given.undo()
        raise
    return given


def beside(containers: str) -> Volumes:
    """Return the volumes that belong to a directory of containers."""
    parent, _, name = containers.rpartition("/")
    return Volumes(f"{parent}/{'.' if name.startswith('.') else ''}volumes")


def let_go(volumes: Volumes, id: str, *, anonymous: bool) -> list[str]:
    """End a container's hold on its volumes; anonymous: remove those that were made for it. Returns those removed.

    Raises VolumeError.
    """
    removed = []
    for name in volumes.of(id):
        volumes.release(name, id)
        if anonymous and volumes.load(name)["anonymous"] and not volumes.holders(name):
            volumes.remove(name)
            removed.append(name)
    return removed


def _of_image(image: dict, taken: list[str]) -> list[Wanted]:
    paths = image.get("Volumes") or {}
    if not isinstance(paths, dict) or len(paths) > _VOLUMES_MAX:
        raise ImageError("make volumes", "", f"the image asks for more than {_VOLUMES_MAX}, or in no known form")
    found: list[Wanted] = []
    for path in paths:
        target = clean(path)
        if not path.startswith("/") or target in _NOT_FOR_IMAGES or target.startswith(("/proc/", "/sys/", "/dev/")):
            raise ImageError("make volume", repr(path), "the image asks for it; expected a directory of its own files")
        if target not in [*taken, *[one.destination for one in found]]:
            found.append(Wanted(VOLUME, "", target, []))
    return found


def _check(every: list[Wanted]) -> None:
    seen: list[str] = []
    for one in every:
        if one.destination == "/":
            raise VolumeError("mount at", "/", "that is the image's own root")
        if one.destination in seen:
            raise VolumeError("mount at", one.destination, "two mounts are asked for there")
        seen.append(one.destination)


def _plain(one: Wanted) -> dict:
    if one.kind == TMPFS:
        words = ["nosuid", "nodev", *(["tmpcopyup"] if one.copy else []), *one.options]
        return {"destination": one.destination, "type": "tmpfs", "source": "tmpfs", "options": words}
    return _bind(one.source, one)


def _bind(source: str, one: Wanted) -> dict:
    words = one.options if "bind" in one.options else ["rbind", *one.options]
    if "ro" in words:
        words = [*words, "rro"]  # what is mounted below it too: mount_setattr(2), AT_RECURSIVE
    return {"destination": one.destination, "type": "bind", "source": source, "options": words}


def _volume(given: Given, one: Wanted, layers: list[str]) -> dict:
    volumes = given.volumes
    record = _hold(given, one)
    name = record["name"]
    if one.source and record["anonymous"]:
        record["anonymous"] = False  # somebody knows it by its name: it goes with no container any more
        volumes.save(record)
    given.used.append({"name": name, "destination": one.destination, "anonymous": record["anonymous"],
                       "readonly": "ro" in one.options})
    if record["tmpfs"]:
        others = [user for user in volumes.holders(name) if user != given.id]
        if others:
            raise Unsupported("use volume", name, f"a tmpfs is one container's alone, and {', '.join(others)} has it")
        return _plain(Wanted(TMPFS, "", one.destination, [*record["tmpfs"], *one.options], one.copy))
    if record["fresh"]:
        _fill(volumes, name, one, layers)
    return _bind(volumes.path(name), one)


def _hold(given: Given, one: Wanted) -> dict:
    """Make a volume if there is none, and hold it; until then somebody's prune may take it. Raises VolumeError."""
    while True:
        record = given.volumes.create(one.source, exist_ok=True)
        proc.stop_point("volume-not-held")
        try:
            if given.volumes.hold(record["name"], given.id):
                given.held.append(record["name"])
            return record
        except VolumeError as err:
            if err.errno != errno.ENOENT:
                raise


def _fill(volumes: Volumes, name: str, one: Wanted, layers: list[str]) -> None:
    """Copy what the image has at the destination into a new volume; a crash leaves it new. Raises VolumeError."""
    lock_fd = volumes.lock_volume(name)
    try:
        record = volumes.load(name)
        if not record["fresh"]:
            return  # another container was first
        if one.copy and layers and not posix.listdir(volumes.path(name)):
            _copy(volumes.path(name), lock_fd, one.destination, layers)
        proc.stop_point("volume-filled")
        record["fresh"] = False
        volumes.save(record)
    except OSError as err:
        raise VolumeError("fill volume", name, f"{err.strerror}: {posix.strerror(err.errno or 0).lower()}",
                          errno=err.errno) from err
    finally:
        posix.close(lock_fd)


def _copy(data: str, place_fd: int, destination: str, layers: list[str]) -> None:
    source_fd = _open_in_layers(destination, layers, data)
    if source_fd < 0:
        return
    try:
        trees.remove(_FILLING, place_fd)
        make_data(data.removesuffix(DATA) + _FILLING)
        target_fd = trees.open_directory(_FILLING, place_fd)
        try:
            mountapi.copy_up(source_fd, target_fd)
            proc.stop_point("volume-copied")
            posix.fchmod(target_fd, posix.fstat(source_fd).st_mode & 0o7777)
        finally:
            posix.close(target_fd)
        posix.rename(_FILLING, DATA, src_dir_fd=place_fd, dst_dir_fd=place_fd)
    finally:
        posix.close(source_fd)
        trees.remove(_FILLING, place_fd)


def _open_in_layers(destination: str, layers: list[str], empty: str) -> int:
    """Open a directory of an image, links in it staying in it; -1 where it has none there. Raises OSError."""
    root_fd = merged(layers, empty)
    try:
        return openbeneath.open_in_root(root_fd, destination, posix.O_RDONLY | openbeneath.O_DIRECTORY)
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return -1
    finally:
        posix.close(root_fd)


def merged(layers: list[str], empty: str, upper: int = -1, work: int = -1, *, by_name: bool = False) -> int:
    """Return an fd of layers, lowest first, as one tree that is mounted nowhere; read-only without an upper one.

    `empty`: a directory with nothing in it, for overlayfs wants two layers, and not the same one twice. Raises OSError.
    """
    fds: list[int] = []
    try:
        for path in [*reversed(layers), *([empty] if upper < 0 else [])]:
            fds.append(openbeneath.open_host(path, _DIRECTORY))
        attr = _LOOK_ONLY if upper < 0 else 0x2 | 0x4
        return mountapi.open_overlay(fds, upper, work, 0, attr, by_name)
    finally:
        for fd in fds:
            posix.close(fd)
