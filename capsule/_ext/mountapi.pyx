# distutils: sources = csrc/mountapi.c csrc/copyup.c csrc/copyup_inode.c csrc/copyup_links.c csrc/idmap.c csrc/mountinside.c csrc/mountlegacy.c csrc/openbeneath.c csrc/overlay.c csrc/fdpass.c csrc/proc.c
# cython: language_level=3
"""Mounts by file descriptor: csrc/mountapi.h."""

import posix

from libc.stdint cimport int64_t, uint64_t

cdef extern from "<stdbool.h>":
    ctypedef bint c_bool "bool"

cdef extern from "mountapi.h" nogil:
    struct capsule_mount_target:
        int target_fd
        int root_fd
        const char *path
        int proc_fd
    struct capsule_mount_flags:
        uint64_t set
        uint64_t clear
        c_bool replace
        c_bool keep_atime
        uint64_t rec_set
        uint64_t rec_clear
        const uint64_t *propagation
        size_t propagation_count
    struct capsule_mount_new:
        const char *fstype
        const char *source
        const char *data
        size_t data_size
        unsigned long sb_flags
        c_bool copy_up
        int pid_namespace
        int idmap
    int capsule_mountapi_place_new(const capsule_mount_target *target, const capsule_mount_new *new_mount,
                                   const capsule_mount_flags *flags, char *message, size_t size) noexcept
    int capsule_mountapi_place_bind(const capsule_mount_target *target, int source_fd, c_bool recursive,
                                    c_bool detached, const capsule_mount_flags *flags) noexcept
    int capsule_mountapi_clone_detached(int dir_fd, const char *path, c_bool recursive) noexcept
    int capsule_mountapi_attach(int mount_fd, int target_fd) noexcept
    int capsule_mountapi_set_flags(int mount_fd, const capsule_mount_flags *flags, int proc_fd) noexcept
    int capsule_mountapi_propagate(int mount_fd, uint64_t propagation, int proc_fd) noexcept
    int capsule_mountapi_propagate_parent(int dir_fd, uint64_t propagation, int proc_fd) noexcept
    int capsule_mountapi_reconfigure(int mount_fd, const capsule_mount_new *new_mount, int proc_fd) noexcept
    int capsule_mountapi_pivot(int root_fd, int proc_fd) noexcept
    int capsule_mountapi_move_root(int root_fd, int proc_fd) noexcept
    int capsule_mountapi_chroot(int root_fd) noexcept
    int capsule_mountapi_umount(const char *path, int flags) noexcept
    int capsule_mountapi_private_proc(c_bool subset_pid) noexcept
    int capsule_mountapi_open_proc() noexcept
    int64_t capsule_mountapi_fs_type(int fd) noexcept
    int capsule_mountapi_is_mount_root(int fd) noexcept

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "<sched.h>" nogil:
    enum:
        _CLONE_NEWNS "CLONE_NEWNS"
    int c_unshare "unshare"(int flags) noexcept

cdef extern from "overlay.h" nogil:
    int CAPSULE_OVERLAY_USERXATTR
    int CAPSULE_OVERLAY_VOLATILE
    struct capsule_overlay:
        const int *lower
        size_t lower_count
        int upper
        int work
        unsigned int flags
    int capsule_overlay_place(const capsule_mount_target *target, const capsule_overlay *overlay, uint64_t attr,
                              char *message, size_t size) noexcept
    int capsule_overlay_open(const capsule_overlay *overlay, uint64_t attr, c_bool by_name, char *message,
                             size_t size) noexcept

cdef extern from "copyup.h" nogil:
    int capsule_copyup_fill(int source_fd, int target_fd, unsigned int keep, char *message, size_t size) noexcept

cdef enum:
    MAX_PROPAGATIONS = 8
    MAX_LAYERS = 500  # what overlayfs takes

USERXATTR = CAPSULE_OVERLAY_USERXATTR
VOLATILE = CAPSULE_OVERLAY_VOLATILE

#: An attribute change: (set, clear, replace, keep_atime, rec_set, rec_clear, propagations); mountapi.h says how.
KEEP = (0, 0, False, True, 0, 0, ())


cdef long check(long ret, operation, path=None) except -1:
    if ret < 0:
        raise OSError(-ret, f"{operation}: {posix.strerror(-ret).lower()}", path)
    return ret


cdef bytes encoded(str text):
    return text.encode("utf-8", "surrogateescape")


cdef int fill_flags(capsule_mount_flags *flags, uint64_t *propagation, tuple attr) except -1:
    changes = attr[6]
    if len(changes) > MAX_PROPAGATIONS:
        raise OSError(7, "mount: too many propagation changes")
    for index, change in enumerate(changes):
        propagation[index] = change
    flags.set, flags.clear, flags.replace, flags.keep_atime = attr[0], attr[1], attr[2], attr[3]
    flags.rec_set, flags.rec_clear = attr[4], attr[5]
    flags.propagation = propagation
    flags.propagation_count = len(changes)
    return 0


cdef int fill_new(capsule_mount_new *new_mount, const char *fstype, bytes source, bytes data,
                  unsigned long sb_flags) except -1:
    new_mount.fstype = fstype
    new_mount.source = NULL
    if source is not None:
        new_mount.source = source
    new_mount.data = data
    new_mount.data_size = len(data) + 1 if data else 0
    new_mount.sb_flags = sb_flags
    new_mount.copy_up = False
    new_mount.pid_namespace = 0
    new_mount.idmap = 0
    return 0


def place_new(int target_fd, int root_fd, str path, str fstype, str source, tuple words, unsigned long sb_flags,
              tuple attr, int proc_fd=-1, bint copy_up=False, int pid_namespace=0, int idmap=0):
    """Mount a new instance of a file system on a target; returns an fd of its root.

    words: "key=value" or "flag". copy_up: fill it first with a copy of what the target holds. pid_namespace: fd of
    the one that a procfs shows, which our children must be in; 0 is ours. idmap: fd of the user namespace that maps
    the ids of the mount; 0 is none. The OSError's text is the kernel's own
    message where it gives one.
    """
    cdef capsule_mount_target target
    cdef capsule_mount_new new_mount
    cdef capsule_mount_flags flags
    cdef uint64_t propagation[MAX_PROPAGATIONS]
    cdef char message[256]
    cdef bytes c_path = encoded(path)
    cdef bytes c_type = encoded(fstype)
    cdef bytes c_source = encoded(source) if source is not None else None
    cdef bytes c_data = encoded("\0".join(words))
    cdef int ret
    target.target_fd, target.root_fd, target.path, target.proc_fd = target_fd, root_fd, c_path, proc_fd
    fill_new(&new_mount, c_type, c_source, c_data, sb_flags)
    new_mount.copy_up = copy_up
    new_mount.pid_namespace = pid_namespace
    new_mount.idmap = idmap
    fill_flags(&flags, propagation, attr)
    message[0] = 0
    with nogil:
        ret = capsule_mountapi_place_new(&target, &new_mount, &flags, message, sizeof(message))
    if ret < 0 and message[0]:
        raise OSError(-ret, message.decode("utf-8", "replace"), path)
    return check(ret, "mount", path)


def place_overlay(int target_fd, int root_fd, str path, list lower, int upper, int work, unsigned int flags,
                  uint64_t attr, int proc_fd=-1):
    """Mount an overlay of layers given by fds on a target; returns an fd of its root.

    lower: the topmost first. upper, work: -1 for none. flags: USERXATTR, VOLATILE. The OSError's text is the kernel's
    own message where it gives one.
    """
    cdef capsule_mount_target target
    cdef capsule_overlay overlay
    cdef int fds[MAX_LAYERS]
    cdef char message[256]
    cdef bytes c_path = encoded(path)
    cdef int ret
    if len(lower) > MAX_LAYERS:
        raise OSError(7, f"mount: more than {MAX_LAYERS} layers", path)
    for index, fd in enumerate(lower):
        fds[index] = fd
    target.target_fd, target.root_fd, target.path, target.proc_fd = target_fd, root_fd, c_path, proc_fd
    overlay.lower, overlay.lower_count, overlay.upper, overlay.work = fds, len(lower), upper, work
    overlay.flags = flags
    with nogil:
        ret = capsule_overlay_place(&target, &overlay, attr, message, sizeof(message))
    if ret < 0 and message[0]:
        raise OSError(-ret, message.decode("utf-8", "replace"), path)
    return check(ret, "mount", path)


def open_overlay(list lower, int upper, int work, unsigned int flags, uint64_t attr, bint by_name=False):
    """Make an overlay of layers given by fds that is mounted nowhere; returns an fd of its root, the only way into it.

    lower: the topmost first; one alone needs an upper one. by_name: as kernels before 6.13 want it.
    """
    cdef capsule_overlay overlay
    cdef int fds[MAX_LAYERS]
    cdef char message[256]
    cdef int ret
    if len(lower) > MAX_LAYERS:
        raise OSError(7, f"mount: more than {MAX_LAYERS} layers")
    for index, fd in enumerate(lower):
        fds[index] = fd
    overlay.lower, overlay.lower_count, overlay.upper, overlay.work = fds, len(lower), upper, work
    overlay.flags = flags
    with nogil:
        ret = capsule_overlay_open(&overlay, attr, by_name, message, sizeof(message))
    if ret < 0 and message[0]:
        raise OSError(-ret, message.decode("utf-8", "replace"))
    return check(ret, "mount overlay")


def copy_up(int source_fd, int target_fd):
    """Fill an empty directory with a copy of another one, its own owner and mode included (csrc/copyup.h)."""
    cdef char message[256]
    cdef int ret
    message[0] = 0
    with nogil:
        ret = capsule_copyup_fill(source_fd, target_fd, 0, message, sizeof(message))
    if ret < 0 and message[0]:
        raise OSError(-ret, message.decode("utf-8", "replace"))
    check(ret, "copy")


def place_bind(int target_fd, int root_fd, str path, int source_fd, bint recursive, bint detached, tuple attr,
               int proc_fd=-1):
    """Bind what source_fd is (detached: attach that mount) onto a target; returns an fd of its root."""
    cdef capsule_mount_target target
    cdef capsule_mount_flags flags
    cdef uint64_t propagation[MAX_PROPAGATIONS]
    cdef bytes c_path = encoded(path)
    cdef int ret
    target.target_fd, target.root_fd, target.path, target.proc_fd = target_fd, root_fd, c_path, proc_fd
    fill_flags(&flags, propagation, attr)
    with nogil:
        ret = capsule_mountapi_place_bind(&target, source_fd, recursive, detached, &flags)
    return check(ret, "mount", path)


def clone(int dir_fd, str path, bint recursive):
    """Make a detached copy of the mount (recursive: the tree) at a host path or, with "", at dir_fd."""
    cdef bytes c_path = encoded(path)
    cdef const char *name = c_path
    cdef int ret
    with nogil:
        ret = capsule_mountapi_clone_detached(dir_fd, name, recursive)
    return check(ret, "open_tree", path)


def unshare():
    """Give the caller a mount namespace of its own, a copy of what it was in (unshare(2))."""
    check(-errno if c_unshare(_CLONE_NEWNS) < 0 else 0, "unshare")


def attach(int mount_fd, int target_fd):
    """Attach a detached mount, or move an attached one."""
    check(capsule_mountapi_attach(mount_fd, target_fd), "move_mount")


def set_flags(int mount_fd, tuple attr, int proc_fd=-1):
    """Change the flags of the mount whose root mount_fd is."""
    cdef capsule_mount_flags flags
    cdef uint64_t propagation[MAX_PROPAGATIONS]
    fill_flags(&flags, propagation, attr)
    check(capsule_mountapi_set_flags(mount_fd, &flags, proc_fd), "mount_setattr")


def propagate(int mount_fd, uint64_t propagation, int proc_fd=-1):
    """Change the propagation (MS_* | MS_REC) of the mount whose root mount_fd is."""
    check(capsule_mountapi_propagate(mount_fd, propagation, proc_fd), "mount_setattr")


def propagate_parent(int dir_fd, uint64_t propagation, int proc_fd=-1):
    """Change the propagation of the mount that a directory lies on."""
    check(capsule_mountapi_propagate_parent(dir_fd, propagation, proc_fd), "mount_setattr")


def reconfigure(int mount_fd, tuple words, unsigned long sb_flags, int proc_fd=-1):
    """Change the options of the file system that is mounted at mount_fd."""
    cdef capsule_mount_new new_mount
    cdef bytes c_data = encoded("\0".join(words))
    fill_new(&new_mount, b"", None, c_data, sb_flags)
    check(capsule_mountapi_reconfigure(mount_fd, &new_mount, proc_fd), "fsconfig")


def pivot(int root_fd, int proc_fd=-1):
    """Make a mount the root and drop the old one."""
    check(capsule_mountapi_pivot(root_fd, proc_fd), "pivot_root")


def move_root(int root_fd, int proc_fd=-1):
    """Move a mount over the root and chroot into it."""
    check(capsule_mountapi_move_root(root_fd, proc_fd), "move_mount", "/")


def chroot(int root_fd):
    """Make a directory the root and the working directory."""
    check(capsule_mountapi_chroot(root_fd), "chroot")


def umount(str path, int flags):
    """Unmount a path of the caller's own root (umount2(2))."""
    cdef bytes c_path = encoded(path)
    check(capsule_mountapi_umount(c_path, flags), "umount", path)


def private_proc(bint subset_pid=False):
    """Open a procfs of the caller's pid namespace that no path leads to."""
    return check(capsule_mountapi_private_proc(subset_pid), "fsopen", "proc")


def open_proc():
    """Open /proc, verified to be a procfs."""
    return check(capsule_mountapi_open_proc(), "open", "/proc")


def fs_type(int fd):
    """Tell the statfs(2) magic number of the file system that fd is on."""
    cdef int64_t magic = capsule_mountapi_fs_type(fd)
    if magic < 0:
        check(magic, "fstatfs")
    return magic


def is_mount_root(int fd):
    """Tell whether fd is the root of its mount."""
    return check(capsule_mountapi_is_mount_root(fd), "statx") != 0
