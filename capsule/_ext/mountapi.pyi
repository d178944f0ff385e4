#: (set, clear, replace, keep_atime, rec_set, rec_clear, propagations)
Attr = tuple[int, int, bool, bool, int, int, tuple[int, ...]]

KEEP: Attr
#: Options of an overlay.
USERXATTR: int
VOLATILE: int

def place_new(
    target_fd: int,
    root_fd: int,
    path: str,
    fstype: str,
    source: str | None,
    words: tuple[str, ...],
    sb_flags: int,
    attr: Attr,
    proc_fd: int = -1,
    copy_up: bool = False,
    pid_namespace: int = 0,
    idmap: int = 0,
) -> int: ...
def place_overlay(
    target_fd: int,
    root_fd: int,
    path: str,
    lower: list[int],
    upper: int,
    work: int,
    flags: int,
    attr: int,
    proc_fd: int = -1,
) -> int: ...
def place_bind(
    target_fd: int,
    root_fd: int,
    path: str,
    source_fd: int,
    recursive: bool,
    detached: bool,
    attr: Attr,
    proc_fd: int = -1,
) -> int: ...
def clone(dir_fd: int, path: str, recursive: bool) -> int: ...
def attach(mount_fd: int, target_fd: int) -> None: ...
def set_flags(mount_fd: int, attr: Attr, proc_fd: int = -1) -> None: ...
def propagate(mount_fd: int, propagation: int, proc_fd: int = -1) -> None: ...
def propagate_parent(dir_fd: int, propagation: int, proc_fd: int = -1) -> None: ...
def reconfigure(mount_fd: int, words: tuple[str, ...], sb_flags: int, proc_fd: int = -1) -> None: ...
def pivot(root_fd: int, proc_fd: int = -1) -> None: ...
def move_root(root_fd: int, proc_fd: int = -1) -> None: ...
def chroot(root_fd: int) -> None: ...
def umount(path: str, flags: int) -> None: ...
def private_proc(subset_pid: bool = False) -> int: ...
def open_proc() -> int: ...
def fs_type(fd: int) -> int: ...
def is_mount_root(fd: int) -> bool: ...
