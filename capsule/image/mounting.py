"""An image's whole tree, read-only: mounted on the host for people to look at, or compared layer by layer."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator

from capsule._ext import openbeneath
from capsule.errors import ImageError, MountError, Unsupported
from capsule.image.lookup import Image
from capsule.image.store import Store

MOUNTS = "mounts"
_EMPTY = "mounts/.empty"  # overlayfs wants two lower directories where there is no upper one
_OPTIONS_MAX = 4000  # of mount(2), less than a page
_HOLDER = "mount"


def mount(store: Store, ref: str) -> str:
    """Mount an image read-only below the store, and return where; it is held until `unmount`.

    Raises ImageError, MountError, Unsupported.
    """
    if os.geteuid() != 0:
        raise Unsupported("image mount", "", "needs root")
    image = store.find(ref)
    target = f"{store.root}/{MOUNTS}/{image.id[7:]}"
    store.hold(image.id, _HOLDER)
    os.makedirs(target, 0o700, exist_ok=True)
    os.makedirs(f"{store.root}/{_EMPTY}", 0o700, exist_ok=True)
    if os.path.ismount(target):
        return target
    # Relative to the store: a path of 64 digits for each layer is what the options have room for.
    lower = [path[len(store.root) + 1 :] for path in reversed(image.layers)] + [_EMPTY]
    options = f"ro,lowerdir={':'.join(lower if len(lower) > 1 else lower * 2)}"
    if len(options) > _OPTIONS_MAX:
        store.release(image.id, _HOLDER)
        raise Unsupported("image mount", ref, f"{len(image.layers)} layers are more than mount(2) has room for")
    done = subprocess.run(["mount", "-t", "overlay", "-o", options, "capsule", target], cwd=store.root,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        os.rmdir(target)
        store.release(image.id, _HOLDER)
        raise MountError("mount image", ref, done.stderr.strip().splitlines()[-1] if done.stderr else "mount failed")
    return target


def unmount(store: Store, ref: str) -> None:
    """Undo `mount`; fine when it is not mounted. Raises ImageError, MountError."""
    image = store.find(ref)
    target = f"{store.root}/{MOUNTS}/{image.id[7:]}"
    if os.path.ismount(target):
        done = subprocess.run(["umount", target], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MountError("unmount image", ref, done.stderr.strip())
    try:
        os.rmdir(target)
    except FileNotFoundError:
        pass
    except OSError as err:
        raise MountError("remove", target, errno=err.errno) from err
    store.release(image.id, _HOLDER)


def mounted(store: Store) -> list[tuple[Image, str]]:
    """List the images that are mounted, and where."""
    return [(image, target) for image in store.images()
            if os.path.ismount(target := f"{store.root}/{MOUNTS}/{image.id[7:]}")]


def difference(image: Image) -> Iterator[tuple[str, str]]:
    """Yield (A added, C changed or D deleted, path) of what the top layer does to those below it.

    Raises ImageError.
    """
    if not image.layers:
        return
    fds: list[int] = []
    try:
        for path in reversed(image.layers):
            fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        yield from _walk(fds[0], "", fds[1:])
    except OSError as err:
        raise ImageError("compare", image.id, errno=err.errno) from err
    finally:
        for fd in fds:
            os.close(fd)


def _walk(top_fd: int, directory: str, lower_fds: list[int]) -> Iterator[tuple[str, str]]:
    pending = [directory]
    while pending:
        directory = pending.pop()
        fd = openbeneath.open_in_root(top_fd, directory or ".", os.O_RDONLY | os.O_DIRECTORY,
                                      openbeneath.RESOLVE_BENEATH | openbeneath.RESOLVE_NO_SYMLINKS)
        try:
            names = sorted(os.listdir(fd))
            for name in names:
                path = f"{directory}/{name}" if directory else name
                mode, device = _kind(fd, name)
                below = _is_below(path, lower_fds)
                if stat.S_ISCHR(mode) and device == 0:
                    if below:
                        yield "D", path
                    continue
                yield ("C" if below else "A"), path
                if stat.S_ISDIR(mode):
                    pending.append(path)
        finally:
            os.close(fd)


def _kind(dir_fd: int, name: str) -> tuple[int, int]:
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return found.st_mode, found.st_rdev


def _is_below(path: str, lower_fds: list[int]) -> bool:
    """Tell whether the layers below show something at path: the first that knows it decides."""
    for fd in lower_fds:
        try:
            found = openbeneath.open_in_root(fd, path, openbeneath.O_PATH | openbeneath.O_NOFOLLOW,
                                             openbeneath.RESOLVE_BENEATH | openbeneath.RESOLVE_NO_SYMLINKS)
        except OSError as err:
            if err.errno == errno.ENOENT:
                continue
            return False  # something else than a directory hides what lies deeper
        try:
            status = os.fstat(found)
            return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
        finally:
            os.close(found)
    return False

