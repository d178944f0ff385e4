"""image build: a Dockerfile, or a directory of layers, becomes an image."""

from __future__ import annotations

import os
import stat
import sys

from capsule._ext import openbeneath
from capsule.bundle import building
from capsule.bundle.build_tree import Context
from capsule.cli import output
from capsule.cli.paths import absolute, runtime_root, storage_root
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError, ImageError, Unsupported
from capsule.image import dockerfile, documents, importing
from capsule.image.ignoring import Ignored
from capsule.image.lookup import Image
from capsule.image.progress import Progress
from capsule.image.store import Store
from capsule.linux import trees

_FILES = ("Dockerfile", "Containerfile")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def run(invocation: Invocation) -> int:
    """Build an image and print its id. Raises CapsuleError."""
    os.umask(0o022)  # the modes of an image are its own, not ours
    output.print_out(f"{build(invocation, Progress(quiet=invocation.options['quiet'])).id}\n")
    return 0


def build(invocation: Invocation, progress: Progress) -> Image:
    """Build what a call asks for. Raises CapsuleError."""
    options, place = invocation.options, invocation.positionals[0]
    if place == "-" or "://" in place:
        raise Unsupported("build", place, "expected a directory")
    wish = _wish(invocation)
    building.check(wish)
    store = Store(storage_root(invocation))
    if options["layers"]:
        return importing.from_layers(store, wish.context, wish.names, changes=options["change"], progress=progress)
    if options["change"]:
        raise CapsuleError("build", "--change", "that is for --from-layers; a Dockerfile says it itself")
    return _by_file(invocation, store, wish, progress)


def _wish(invocation: Invocation) -> building.Wish:
    options = invocation.options
    wish = building.Wish(absolute(invocation.positionals[0]), options["tag"])
    wish.arguments = dict(_argument(text) for text in options["build_arg"])
    for text in options["label"]:
        key, _, value = text.partition("=")
        wish.labels[key] = value
    wish.target, wish.network = options["target"], options["network"] or "none"
    wish.use_cache, wish.runtime_root = not options["no_cache"], runtime_root(invocation)
    return wish


def _argument(text: str) -> tuple[str, str]:
    name, has_value, value = text.partition("=")
    if not name:
        raise CapsuleError("build", f"--build-arg {text}", "expected NAME=VALUE, or NAME to pass one of ours")
    return name, value if has_value else os.environ.get(name, "")


def _by_file(invocation: Invocation, store: Store, wish: building.Wish, progress: Progress) -> Image:
    try:
        fd = os.open(wish.context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise CapsuleError("open", wish.context, errno=err.errno) from err
    try:
        parsed = dockerfile.parse(_dockerfile(invocation.options["file"], wish.context, fd))
        context = Context(fd, _ignored(wish.context, fd))
        with store.stage() as staging:
            return building.Build(store, staging, wish, parsed, context, progress).run()
    finally:
        os.close(fd)


def _dockerfile(given: str, context: str, context_fd: int) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read(documents.SIZE_MAX + 1)
    if not given:
        name = next((name for name in _FILES if trees.lstat(name, context_fd) is not None), _FILES[0])
        return _of_context(context, context_fd, name)
    path = absolute(given)
    try:
        return _read(path, os.open(path, _READ))
    except OSError as err:
        raise ImageError("open", path, errno=err.errno) from err


def _ignored(context: str, context_fd: int) -> Ignored:
    if trees.lstat(".dockerignore", context_fd) is None:
        return Ignored()
    return Ignored(_of_context(context, context_fd, ".dockerignore").decode("utf-8-sig", "surrogateescape"))


def _of_context(context: str, context_fd: int, name: str) -> bytes:
    """Read a file of the context, which is a stranger's: its links show no file of this machine. Raises ImageError."""
    path = f"{context}/{name}"
    try:
        return _read(path, openbeneath.open_in_root(context_fd, name, _READ))
    except FileNotFoundError as err:
        is_link = trees.lstat(name, context_fd) is not None
        cause = "a link that leads out of the context, or nowhere" if is_link else ""
        raise ImageError("open", path, cause, errno=err.errno) from err
    except OSError as err:
        raise ImageError("open", path, errno=err.errno) from err


def _read(path: str, fd: int) -> bytes:
    """Read an open file, which may be a fifo. Raises OSError, ImageError."""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ImageError("open", path, "not a regular file; `-f -` reads a Dockerfile from standard input")
        data = file.read(documents.SIZE_MAX + 1)
    if len(data) > documents.SIZE_MAX:
        raise ImageError("read", path, f"larger than {documents.SIZE_MAX} bytes")
    return data
