"""spec: write an example config.json into a bundle; --check and --explain read one."""

from __future__ import annotations

import errno
import posix

from capsule._ext import proc
from capsule.cli import output
from capsule.cli.paths import absolute
from capsule.cli.scanner import Invocation
from capsule.errors import CapsuleError
from capsule.spec.example import example

_CGROUP_MOUNT = "/sys/fs/cgroup"
_CGROUP2_SUPER_MAGIC = 0x63677270  # man 2 statfs


def run(invocation: Invocation) -> int:
    """Write the file, never over an existing one; or hand a file to what reads it.

    Raises CapsuleError.
    """
    options = invocation.options
    if options["check"] or options["explain"]:
        from capsule.cli import spec_reading

        return spec_reading.run(invocation)
    if invocation.positionals or options["format"]:
        raise CapsuleError("spec", invocation.positionals[0] if invocation.positionals else "--format",
                           "needs --check or --explain")
    path = absolute(invocation.options["bundle"] or ".") + "/config.json"
    document = output.to_json(example(invocation.options["rootless"], cgroup_v2=_is_unified()), pretty=True)
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
    except OSError as err:
        if err.errno == errno.EEXIST:
            raise CapsuleError(f"File {path} exists. Remove it first") from err
        raise CapsuleError("create", path, errno=err.errno or 0) from err
    try:
        output.write(fd, document)
    finally:
        posix.close(fd)
    return 0


def _is_unified() -> bool:
    """Tell whether the host has cgroup v2 alone."""
    try:
        fd = posix.open(_CGROUP_MOUNT, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return proc.statfs_type(fd) == _CGROUP2_SUPER_MAGIC
    finally:
        posix.close(fd)
