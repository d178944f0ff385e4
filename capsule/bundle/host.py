"""The built-in image `host`: this machine's `/` as the lower layer of a container, its secrets veiled. Runs in R.

`draw` turns what the command line asks into a config and an overlay; nothing is made or mounted by it.
"""

from __future__ import annotations

import posix

from capsule.bundle import seccomp
from capsule.bundle.mounts import below, lstat
from capsule.bundle.veil import FILES, PLACES, WORKPLACES, Veil, of_machine, owner, real, real_places
from capsule.errors import CapsuleError, errno_text
from capsule.spec import example

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_NOSUID, _NODEV = 0x2, 0x4
_PIDS = 4096
#: Of the caller's environment, what says how to work and is no secret; the rest is named with --env.
ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLORTERM", "TZ", "LANG", "LANGUAGE")


class Wish:
    """What a sandbox is asked for; paths are absolute and without links."""

    __slots__ = ("args", "env", "cwd", "writable", "readonly", "memory", "quota", "terminal", "upper", "hostname")

    def __init__(self, args: list[str], cwd: str) -> None:
        self.args = args
        self.env: list[str] = []
        self.cwd = cwd
        self.writable: list[str] = []
        self.readonly: list[str] = []
        self.memory = 0  # bytes, 0: no limit
        self.quota = 0  # microseconds of CPU time in 100 ms, 0: no limit
        self.terminal = False
        self.upper = ""  # directory that keeps the upper layers; "": they vanish
        self.hostname = "sandbox"


def draw(wish: Wish) -> tuple[dict, dict, list]:
    """Return (config.json as a tree, the overlay, [(destination, paths hidden there)] of each stack).

    Raises CapsuleError.
    """
    veil, further = of_machine()
    bases = [("/", veil), *further]
    shown = _shown_directory(wish.cwd, [its for _, its in bases])
    if shown:
        bases.append((shown, _veil_of_shown(shown)))
    for path in [*wish.writable, *wish.readonly, *[point for point, _ in bases[1:]], *([] if shown else [wish.cwd])]:
        _veil_of(path, bases).point(path, _is_directory(path))
    stacks = [_stack(index, base, its, wish.upper) for index, (base, its) in enumerate(bases)]
    overlay = {
        "lower": ["/"], "upper": stacks[0][2], "work": stacks[0][3], "veil": stacks[0][4], "owner": stacks[0][5],
        "inner": stacks[1:], "attr": _NOSUID | _NODEV, "volatile": True,
    }
    return _config(wish), overlay, [(base, its.hidden) for base, its in bases]


def _veil_of(path: str, bases: list) -> Veil:
    """Return the veil of the innermost overlay that a mount point lies in."""
    for base, veil in reversed(bases):
        if path != base and below(path, (base,)):
            return veil
    return bases[0][1]


def _stack(index: int, base: str, veil: Veil, upper: str) -> tuple:
    """Return a stack as rootfs.overlay takes it."""
    info = lstat(base)
    where = (f"{upper}/upper{index}", f"{upper}/work{index}") if upper else ("", "")
    return base, (base,), *where, veil.rows(), owner(info) if info is not None else (0o755, 0, 0)


def _shown_directory(cwd: str, veils: list[Veil]) -> str:
    """Return the working directory where it is shown although its place is hidden, "" otherwise.

    Never somebody's home, and nothing in a home whose name begins with a dot: keys and tokens lie there.
    """
    if not any([veil.hides(cwd) for veil in veils]):
        return ""
    workplaces = real_places(WORKPLACES)
    others = real_places([place for place in PLACES if place not in WORKPLACES])
    if not below(cwd, workplaces) or below(cwd, others) or any([below(place, (cwd,)) for place in workplaces]):
        return ""
    home = real(posix.environ.get(b"HOME", b"").decode("utf-8", "surrogateescape"))
    if home and below(home, (cwd,)):
        return ""
    for name in ("/root", "/home"):
        place = real(name)
        if place and below(cwd, (place,)):
            inside = cwd[len(place) + 1:].split("/")
            if name == "/home" and len(inside) == 1 or any([part.startswith(".") for part in inside]):
                return ""
    return cwd


def _veil_of_shown(shown: str) -> Veil:
    """Return the veil of the working directory: a link may have led a hidden place into it."""
    veil = Veil(shown)
    for place in real_places((*PLACES, *FILES)):
        info = lstat(place)
        if info is not None and place != shown and below(place, (shown,)):
            veil.hide(place, info.st_mode, info.st_uid, info.st_gid)
    return veil


def _is_directory(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & _S_IFMT == _S_IFDIR
    except OSError as err:
        raise CapsuleError("open", path, errno_text(err.errno), errno=err.errno or 0) from err


def _config(wish: Wish) -> dict:
    tree = example.example()
    process, linux = tree["process"], tree["linux"]
    process.update(terminal=wish.terminal, args=wish.args, env=_environment(wish.env), cwd=wish.cwd, capabilities={},
                   rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])
    tree["root"]["readonly"] = False
    tree["hostname"] = wish.hostname
    tree["mounts"].pop()  # cgroups: a sandbox has nothing to do there
    for path, words in [(path, "ro") for path in wish.readonly] + [(path, "rw") for path in wish.writable]:
        options = ["rbind", words, "nosuid", "nodev", *(["rro"] if words == "ro" else [])]
        tree["mounts"].append({"destination": path, "type": "bind", "source": path, "options": options})
    linux["resources"]["pids"] = {"limit": _PIDS}
    if wish.memory:
        linux["resources"]["memory"] = {"limit": wish.memory, "swap": wish.memory}
    if wish.quota:
        linux["resources"]["cpu"] = {"period": 100_000, "quota": wish.quota}
    linux["seccomp"] = seccomp.profile()
    return tree


def _environment(added: list[str]) -> list[str]:
    found = []
    for name, value in posix.environ.items():
        word = name.decode("utf-8", "surrogateescape")
        if word in ENVIRONMENT or word.startswith("LC_"):
            found.append(f"{word}={value.decode('utf-8', 'surrogateescape')}")
    if not any([entry.startswith("PATH=") for entry in found]):
        found.append(example.ENV[0])
    for entry in added:
        if "=" in entry:
            found.append(entry)
        elif (given := posix.environ.get(entry.encode("utf-8", "surrogateescape"))) is not None:
            found.append(f"{entry}={given.decode('utf-8', 'surrogateescape')}")
    return found
