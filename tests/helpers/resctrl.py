"""An ordinary directory as the resctrl file system: groups come and go with their files, as the kernel's do."""

import posix

FILES = ("tasks", "schemata")


class Posix:
    """What capsule.cgroups.resctrl has for posix."""

    access, F_OK = posix.access, posix.F_OK

    @staticmethod
    def mkdir(path: str, mode: int) -> None:
        posix.mkdir(path, mode)
        for name in FILES:
            posix.close(posix.open(f"{path}/{name}", posix.O_CREAT | posix.O_WRONLY | posix.O_EXCL, 0o644))
        if "/mon_groups/" not in path:
            posix.mkdir(f"{path}/mon_groups", 0o755)

    @staticmethod
    def rmdir(path: str) -> None:
        for name in FILES:
            posix.unlink(f"{path}/{name}")
        if "/mon_groups/" not in path:
            posix.rmdir(f"{path}/mon_groups")
        posix.rmdir(path)


def install(root: str) -> None:
    """Let the resource director be found at a directory."""
    from capsule.cgroups import resctrl

    resctrl.posix = Posix  # type: ignore[assignment, attr-defined]
    resctrl.find_root = lambda: root  # type: ignore[assignment]
