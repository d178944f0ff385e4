"""Plan a container's seccomp filter: its load flags, and its program out of the cache of compiled filters.

Compiling an engine's profile takes milliseconds, so the program is kept in <cache>/<digest>, where the
digest covers the profile, this format and the architecture. An entry names the libseccomp that numbered its
calls, and is used only while that file, and the linker's cache that leads to it, are the same. The directory
is 0700 and the files 0600; what is not exactly as it should be is compiled again.
"""

from __future__ import annotations

import errno
import marshal
import posix

from capsule._ext import seccomp as ext
from capsule.errors import SpecError, Unsupported, errno_text
from capsule.spec.seccomp import notifies

# SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
TSYNC = 1
SPEC_ALLOW = 4
NEW_LISTENER = 8
WAIT_KILLABLE_RECV = 32

# magic, u32 length of the library's path, u32 length of the program, identity, path, program, digest
MAGIC = b"capsbpf1"
IDENTITY_SIZE = 64
HEADER_SIZE = len(MAGIC) + 8 + IDENTITY_SIZE
DIGEST_SIZE = 32
MAX_SIZE = 65536
MAX_ENTRIES = 64
LINKER_CACHE = "/etc/ld.so.cache"


def compile_filter(profile, *, cache_dir, warn) -> tuple[bytes, int]:
    """Return the BPF program (an array of struct sock_filter) and the load flags of a profile.

    `profile` is the checked JSON of linux.seccomp. Raises SpecError, SecurityError or Unsupported.
    """
    flags = load_flags(profile)
    dir_fd = -1
    if cache_dir is not None:
        dir_fd = _open_directory(cache_dir, warn)
    try:
        if dir_fd < 0:
            return _build(profile)[0], flags
        key = cache_key(profile)
        program = load(dir_fd, key)
        if program is None:
            program, library = _build(profile)
            store(dir_fd, key, program, library, warn)
        return program, flags
    finally:
        if dir_fd >= 0:
            posix.close(dir_fd)


def load_flags(profile) -> int:
    """Return the SECCOMP_FILTER_FLAG_* to load a profile's filter with.

    No `flags` at all means SPEC_ALLOW where the kernel has it. Raises SpecError, Unsupported.
    """
    listener = _listener_flag(profile)
    wanted = profile.get("flags")
    if wanted is None:
        return listener | (SPEC_ALLOW if _is_known(SPEC_ALLOW) else 0)
    flags = listener
    for name in wanted:
        flag = FLAGS.get(name, 0)
        if not flag:
            raise SpecError("read seccomp profile", "linux.seccomp.flags", f"unknown flag {name}")
        if not _is_known(flag):
            raise Unsupported("seccomp flag", name, "this kernel does not have it")
        flags |= flag
    # Only a listener's calls can wait: the kernel refuses WAIT_KILLABLE_RECV without one.
    if not listener:
        flags &= ~WAIT_KILLABLE_RECV
    # The tail has one thread; the one that sends its listener must stay outside the filter.
    return flags & ~TSYNC


def _listener_flag(profile):
    if not notifies(profile):
        return 0
    if not _is_known(NEW_LISTENER):
        raise Unsupported("seccomp action", "SCMP_ACT_NOTIFY", "this kernel does not have it")
    return NEW_LISTENER


def supported_flags() -> list[str]:
    """Return the names of the flags that this kernel has."""
    return [name for name, flag in FLAGS.items() if _is_known(flag)]


def _is_known(flag):
    try:
        return ext.flags_known(flag | NEW_LISTENER if flag == WAIT_KILLABLE_RECV else flag)
    except OSError as err:
        raise Unsupported("seccomp filter", "", "this kernel is built without it") from err


def _build(profile):
    from capsule.security.plan import seccomp_rules

    return seccomp_rules.build(profile)


def cache_key(profile) -> str:
    """Return the name of a profile's entry."""
    # Format 2 of marshal has no references, so that equal profiles have equal bytes.
    return ext.digest(MAGIC + ext.native_arch().to_bytes(4, "little") + marshal.dumps(profile, 2)).hex()


def _is_private(status, kind):
    """Tell whether a file is of the kind wanted, ours, and nobody else's to touch."""
    return status.st_mode & 0o170077 == kind and status.st_uid == posix.geteuid()


def _open_directory(path, warn):
    """Open the cache, made where it is missing; -1 with a warning when it cannot be trusted or made."""
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        try:
            fd = posix.open(path, flags)
        except FileNotFoundError:
            try:
                posix.mkdir(path, 0o700)
            except FileExistsError:
                pass  # made by another runtime meanwhile
            except FileNotFoundError:
                return -1  # the first container of a state root is planned before the root is made
            fd = posix.open(path, flags)
    except OSError as err:
        warn(f"compiling seccomp profile without cache {path!r}: {errno_text(err.errno)}")
        return -1
    if _is_private(posix.fstat(fd), 0o040000):
        return fd
    posix.close(fd)
    warn(f"compiling seccomp profile without cache {path!r}: it is open to others")
    return -1


def load(dir_fd, key) -> bytes | None:
    """Return the program of an entry that is whole, ours and current; None otherwise."""
    try:
        # O_NONBLOCK: a FIFO in the place of the entry must not stop us.
        fd = posix.open(key, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        if not _is_private(posix.fstat(fd), 0o100000):
            return None
        entry = posix.read(fd, MAX_SIZE)
    except OSError:
        return None
    finally:
        posix.close(fd)
    return _parse(entry, key)


def _parse(entry, key):
    end = len(entry) - DIGEST_SIZE
    if end < HEADER_SIZE or entry[:8] != MAGIC:
        return None
    path_size = int.from_bytes(entry[8:12], "little")
    program_size = int.from_bytes(entry[12:16], "little")
    if HEADER_SIZE + path_size + program_size != end or not program_size or program_size % 8:
        return None
    if ext.digest(key.encode() + entry[:end]) != entry[end:]:
        return None
    path_end = HEADER_SIZE + path_size
    library = entry[HEADER_SIZE:path_end].decode("utf-8", "surrogateescape")
    if entry[16:HEADER_SIZE] != library_identity(library):
        return None
    return entry[path_end:end]


def library_identity(library) -> bytes:
    """Return what tells two versions of an installed library apart.

    That is the file's own numbers, and those of the cache by which the dynamic linker found it: a library
    installed in another directory leaves the old file as it was.
    """
    return _file_identity(library) + _file_identity(LINKER_CACHE)


def _file_identity(path):
    try:
        status = posix.stat(path)
    except OSError:
        return b"\0" * 32
    mask = (1 << 64) - 1
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return b"".join([(part & mask).to_bytes(8, "little") for part in parts])


def store(dir_fd, key, program, library, warn) -> None:
    """Write an entry under a temporary name and rename it; a failure costs only the next compilation."""
    path = library.encode("utf-8", "surrogateescape")
    lengths = len(path).to_bytes(4, "little") + len(program).to_bytes(4, "little")
    entry = MAGIC + lengths + library_identity(library) + path + program
    entry += ext.digest(key.encode() + entry)
    temporary = f".{key[:16]}.{posix.getpid()}.{posix.urandom(8).hex()}"
    try:
        _evict(dir_fd)
        fd = posix.open(
            temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600, dir_fd=dir_fd
        )
        try:
            if posix.write(fd, entry) != len(entry):
                raise OSError(errno.ENOSPC, "short write")
            posix.rename(temporary, key, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError:
            posix.unlink(temporary, dir_fd=dir_fd)
            raise
        finally:
            posix.close(fd)
    except OSError as err:
        warn(f"seccomp cache entry {key[:16]} not written: {errno_text(err.errno)}")


def _evict(dir_fd):
    """Make room for one entry: of more than MAX_ENTRIES the oldest go, left-over temporary files too."""
    entries = posix.listdir(dir_fd)
    if len(entries) < MAX_ENTRIES:
        return
    aged = []
    for name in entries:
        try:
            aged.append((posix.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:
            pass  # another runtime evicts, too
    aged.sort()
    for _, name in aged[: len(aged) - MAX_ENTRIES + 1]:
        try:
            posix.unlink(name, dir_fd=dir_fd)
        except FileNotFoundError:
            pass
