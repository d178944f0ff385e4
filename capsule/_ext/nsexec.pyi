from collections.abc import Sequence

def start(
    sync_fd: int, parent_fd: int, unshare: int, joins: Sequence[tuple[int, int]], unified_fd: int,
    tasks_fds: Sequence[int], time_offsets: bool, one_stage: bool, unprivileged: bool = False,
) -> int: ...
def exec_tail(
    program_fd: int, plan_fd: int, preserve: int, keep: Sequence[int], tty_fd: int, clone_first: bool, sync_fd: int,
    unified_fd: int, tasks_fds: Sequence[int],
) -> None: ...
def loopback_up() -> None: ...
