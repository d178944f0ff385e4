"""Room for a container's next record, kept while there is some: the container itself may fill the disk.

    <containers>/ID/room          0600; blank, as long as a record may become
"""

from __future__ import annotations

import posix

ROOM = "room"
_STEP = 4096
_MORE = 1024  # bytes that a record may grow by


def keep(dir_fd: int, size: int) -> None:
    """Keep room for a record that has so many bytes now; fine where there is none."""
    size = (size + _MORE + _STEP - 1) // _STEP * _STEP
    try:
        if posix.stat(ROOM, dir_fd=dir_fd, follow_symlinks=False).st_size >= size:
            return
        posix.unlink(ROOM, dir_fd=dir_fd)
    except OSError:
        pass
    try:
        fd = posix.open(ROOM, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600, dir_fd=dir_fd)
        try:
            is_whole = posix.write(fd, b"\n" * size) == size
        except OSError:
            is_whole = False
        finally:
            posix.close(fd)
        if not is_whole:
            posix.unlink(ROOM, dir_fd=dir_fd)
    except OSError:
        pass


def replace(dir_fd: int, name: str, data: bytes) -> bool:
    """Replace a file in one step by the room that was kept, blank lines behind the data; False where it does not do."""
    try:
        fd = posix.open(ROOM, posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        if posix.fstat(fd).st_size < len(data) or posix.write(fd, data) != len(data):
            return False
        posix.fsync(fd)
        posix.rename(ROOM, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        posix.fsync(dir_fd)
    except OSError:
        return False
    finally:
        posix.close(fd)
    return True
