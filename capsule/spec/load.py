"""OCI JSON enters here: config.json, process.json and resources documents become checked objects.

The only module that turns bytes from outside into a Config. runtime-spec config.md.
"""

from __future__ import annotations

import errno
import posix

from capsule import log
from capsule._ext.json import JSONError, loads
from capsule.errors import CapsuleError, SpecError
from capsule.spec.check import check, problem, quote, required
from capsule.spec.devices import build_devices
from capsule.spec.hooks import build_hooks
from capsule.spec.model import Config, Process
from capsule.spec.mounts import build_mounts
from capsule.spec.namespaces import take_masks, take_names, take_namespaces
from capsule.spec.process import build_process
from capsule.spec.resources import check_cgroups_path, check_resources
from capsule.spec.schema import CONFIG, PROCESS, RESOURCES
from capsule.spec.seccomp import check_seccomp
from capsule.spec.sysctl import take_sysctl

SIZE_MAX = 16 << 20
S_IFMT = 0o170000
READABLE = (0o100000, 0o010000, 0o140000)  # a regular file, a pipe, a socket

# Without O_NONBLOCK a fifo that nobody writes to would hold us for ever: a bundle's maker must not be able to do that.
_OPEN = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY | posix.O_NONBLOCK


def load_config(data: bytes) -> Config:
    """Parse and check config.json. Raises SpecError with the JSON path, Unsupported."""
    return build_config(_parse(data, "config.json"), data)


def build_config(document: object, data: bytes) -> Config:
    """Check a parsed config.json; `data` are its bytes. Raises SpecError with the JSON path, Unsupported."""
    tree = check(document, CONFIG, None)
    if log.is_debug():
        from capsule.spec import checkup

        unknown = checkup.unknown_keys(document)
        if unknown:
            log.debug(f"config.json: keys that the specification does not have are ignored: {', '.join(unknown)}")
    linux = tree.get("linux", {})
    config = Config()
    config.raw = data
    config.oci_version = _check_version(required(tree, "ociVersion", ""))
    root = required(tree, "root", "")
    config.root_path = required(root, "path", "root")
    config.root_readonly = root.get("readonly", False)
    if "process" in tree:
        config.process = build_process(tree["process"], "process")
    config.hooks = build_hooks(tree.get("hooks", {}))
    config.annotations = _check_annotations(tree.get("annotations", {}))
    kinds = take_namespaces(config, linux)
    config.mounts = build_mounts(tree.get("mounts", []), "user" in kinds)
    take_names(config, tree, kinds)
    take_masks(config, linux, kinds)
    take_sysctl(config, linux.get("sysctl", {}), kinds)
    _take_linux(config, linux)
    if "intelRdt" in linux:
        from capsule.spec.rdt import check_rdt

        config.intel_rdt = check_rdt(linux["intelRdt"])
    if linux.get("netDevices"):
        from capsule.spec.net_devices import take_net_devices

        take_net_devices(config, linux["netDevices"], kinds)
    return config


def _take_linux(config: Config, linux: dict) -> None:
    """Fill the fields of `linux` that stand for themselves."""
    config.devices = build_devices(linux.get("devices", []))
    config.cgroups_path = check_cgroups_path(linux.get("cgroupsPath", "")) or None
    config.resources = check_resources(linux.get("resources", {}), "linux.resources")
    config.rootfs_propagation = linux.get("rootfsPropagation") or None
    # An empty object asks for no filter; the schema would miss its defaultAction.
    config.seccomp = check_seccomp(linux["seccomp"]) if linux.get("seccomp") else None
    config.mount_label = linux.get("mountLabel") or None
    if linux.get("personality") or linux.get("memoryPolicy"):
        _take_attributes(config, linux)


def _take_attributes(config: Config, linux: dict) -> None:
    from capsule.spec import attributes

    if linux.get("personality"):
        config.personality = attributes.check_personality(linux["personality"])
    if linux.get("memoryPolicy"):
        config.memory_policy = attributes.check_memory_policy(linux["memoryPolicy"])


def load_process(data: bytes) -> Process:
    """Parse and check the process.json of exec; paths in errors begin at its top."""
    try:
        return build_process(check(_parse(data, "process.json"), PROCESS, None), "")
    except CapsuleError as err:
        err.operation = "process.json"
        raise


def load_resources(data: bytes) -> dict:
    """Parse and check a resources document, as `update --resources` takes it; see model.Config.resources."""
    return check_resources_tree(_parse(data, "resources"))


def check_resources_tree(tree: object) -> dict:
    """Check resources that do not come from a config.json; paths in errors begin at their top. Raises SpecError."""
    try:
        return check_resources(check(tree, RESOURCES, None), "")
    except CapsuleError as err:
        err.operation = "resources"
        raise


def _parse(data: bytes, name: str) -> object:
    if len(data) > SIZE_MAX:
        raise SpecError(name, "", f"larger than {SIZE_MAX >> 20} MiB")
    try:
        return loads(data)
    except JSONError as err:
        raise SpecError(name, err.path, str(err)) from err


def _check_version(version: str) -> str:
    """Return a semantic version of major 1 (semver.org 2.0.0); any minor is taken, as extensibility wants."""
    core, plus, build = version.partition("+")
    core, dash, pre = core.partition("-")
    numbers = core.split(".")
    if (
        len(numbers) != 3
        or not all(_is_number(part) for part in numbers)
        or (dash and not (_are_identifiers(pre) and all(_is_number(p) for p in pre.split(".") if p.isdigit())))
        or (plus and not _are_identifiers(build))
    ):
        raise problem("ociVersion", f"expected a semantic version such as 1.3.0, got {quote(version)}")
    if numbers[0] != "1":
        raise problem("ociVersion", f"expected major version 1, got {quote(version)}")
    return version


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _are_identifiers(text: str) -> bool:
    return all(part.isascii() and part.replace("-", "a").isalnum() for part in text.split("."))


def _check_annotations(annotations: dict[str, str]) -> dict[str, str]:
    if "" in annotations:
        raise problem("annotations", "expected keys that are not empty")
    return annotations


def read_file(path: str | int, *, wait: bool = False) -> bytes:
    """Read a whole document from a path, or from an fd that stays open; at most 16 MiB.

    With `wait`, a named pipe is waited for until somebody opens its other end.
    Raises CapsuleError: `open PATH: cause`; for a bundle without config.json in runc's words.
    """
    if isinstance(path, int):
        return _read_fd(path, f"file descriptor {path}")
    try:
        fd = posix.open(path.encode("utf-8", "surrogateescape"), _OPEN & ~posix.O_NONBLOCK if wait else _OPEN)
    except OSError as err:
        if err.errno == errno.ENOENT and (path == "config.json" or path.endswith("/config.json")):
            raise _no_config(path.rpartition("/")[0]) from err
        raise CapsuleError("open", path, errno=err.errno or 0) from err
    except ValueError as err:
        raise CapsuleError("open", quote(path), "a path cannot hold NUL") from err
    try:
        posix.set_blocking(fd, True)
        return _read_fd(fd, path)
    finally:
        posix.close(fd)


def _no_config(bundle: str) -> CapsuleError:
    """Say in runc's words that a bundle has no config.json, or that there is no bundle."""
    try:
        posix.stat(bundle or ".")
    except OSError as err:
        return CapsuleError("bundle", bundle, errno=err.errno or 0)
    return CapsuleError(f"JSON specification file config.json not found in {bundle or '.'}")


def _read_fd(fd: int, subject: str) -> bytes:
    try:
        kind = posix.fstat(fd).st_mode & S_IFMT
        if kind not in READABLE:
            raise CapsuleError("read", subject, "not a regular file or a pipe", errno=errno.EINVAL)
        chunks: list[bytes] = []
        left = SIZE_MAX + 1
        while left > 0:
            chunk = posix.read(fd, min(left, 1 << 16))
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            left -= len(chunk)
    except OSError as err:
        raise CapsuleError("read", subject, errno=err.errno or 0) from err
    raise CapsuleError("read", subject, f"larger than {SIZE_MAX >> 20} MiB", errno=errno.EFBIG)
