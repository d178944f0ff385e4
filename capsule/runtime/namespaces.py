"""Which namespaces a container makes and which it joins, and the words R writes into /proc for them."""

from __future__ import annotations

import posix

from capsule._ext import proc
from capsule.errors import KernelError, SpecError, errno_text
from capsule.linux.namespaces import KINDS

_SMALLEST_PAGE = 4096


class NamespacePlan:
    """unshare: CLONE_NEW* flags; joins: [(fd, CLONE_NEW* flag)], to be closed by `close`."""

    __slots__ = ("unshare", "joins", "new", "joined", "idmaps")

    def __init__(self) -> None:
        self.unshare = 0
        self.joins: list[tuple[int, int]] = []
        self.new: set[str] = set()
        self.joined: set[str] = set()
        self.idmaps: list[int] = []  # user namespaces that map the ids of mounts; nobody enters them

    def has(self, word: str) -> bool:
        """Tell whether the container has a namespace of this kind that is not the runtime's."""
        return word in self.new or word in self.joined

    def joined_fd(self, word: str) -> int:
        """Return the fd of a namespace that is joined, 0 for none."""
        for fd, flag in self.joins:
            if flag == KINDS[word][0]:
                return fd
        return 0

    def close(self) -> None:
        for fd in [*[fd for fd, _ in self.joins], *self.idmaps]:
            posix.close(fd)
        self.joins, self.idmaps = [], []


def plan(namespaces: list[tuple[str, str | None]]) -> NamespacePlan:
    """Open what is joined by path and collect what is made.

    Raises SpecError when a path is not a namespace of its kind, or cannot be opened.
    """
    result = NamespacePlan()
    try:
        for index, (word, path) in enumerate(namespaces):
            flag = KINDS[word][0]
            if path is None:
                result.unshare |= flag
                result.new.add(word)
            else:
                result.joins.append((_open_namespace(path, word, f"linux.namespaces[{index}].path"), flag))
                result.joined.add(word)
    except BaseException:
        result.close()
        raise
    return result


def _open_namespace(path: str, word: str, where: str) -> int:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as err:
        raise SpecError("config.json", where, f"{path}: {errno_text(err.errno)}", errno=err.errno) from err
    try:
        kind = proc.namespace_type(fd)
    except OSError:
        kind = 0
    if kind != KINDS[word][0]:
        posix.close(fd)
        actual = [name for name, (flag, _, _) in KINDS.items() if flag == kind]
        found = f"it is a {actual[0]} namespace" if actual else "it is no namespace"
        raise SpecError("config.json", where, f"expected a {word} namespace at {path}: {found}")
    return fd


def of_process(pid: int, words: list[str]) -> list[tuple[int, int]]:
    """Open the namespaces of a running process that are not ours, as [(fd, CLONE_NEW* flag)].

    Raises KernelError.
    """
    opened: list[tuple[int, int]] = []
    for word in words:
        flag, name, _ = KINDS[word]
        path = f"/proc/{pid}/ns/{name}"
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as err:
            for other, _ in opened:
                posix.close(other)
            raise KernelError("open namespace", path, errno=err.errno) from err
        if posix.fstat(fd).st_ino == posix.stat(f"/proc/self/ns/{name}").st_ino:
            posix.close(fd)
        else:
            opened.append((fd, flag))
    return opened


def map_text(mappings: list[tuple[int, int, int]], where: str) -> bytes:
    """Write id mappings as uid_map wants them: at most a page, in one write.

    Raises SpecError for more than the kernel takes.
    """
    text = "".join([f"{inside} {outside} {size}\n" for inside, outside, size in mappings]).encode()
    if len(text) > _SMALLEST_PAGE - 1 and len(text) > posix.sysconf("SC_PAGESIZE") - 1:
        cause = f"the {len(mappings)} ranges are {len(text)} bytes as text; the kernel takes less than a page"
        raise SpecError("config.json", where, cause)
    return text


def offsets_text(time_offsets: dict[str, tuple[int, int]]) -> bytes | None:
    """Write time offsets as timens_offsets wants them (time_namespaces(7)), None when there are none."""
    if not time_offsets:
        return None
    return "".join(f"{name} {secs} {nanosecs}\n" for name, (secs, nanosecs) in time_offsets.items()).encode()
