"""capsule: OCI runtime, engine and container library. The public names are loaded on first use."""

# Imports nothing: the launcher's hot path goes through here.

_HOMES = {
    "Factory": "capsule.client.factory",
    "Container": "capsule.client.container",
    "ContainerStatus": "capsule.client.status",
    "Process": "capsule.client.process",
    "ProcessHandle": "capsule.client.session",
    "Network": "capsule.client.network",
    "Endpoint": "capsule.client.network",
    "NetworkDriver": "capsule.network.driver",
    "IPAM": "capsule.network.ipam",
    "StateStorage": "capsule.state.record",
    "Config": "capsule.spec.model",
    "load_config": "capsule.spec.load",
    "CapsuleError": "capsule.errors",
    "SpecError": "capsule.errors",
    "StateError": "capsule.errors",
    "NotFound": "capsule.errors",
    "AlreadyExists": "capsule.errors",
    "BadTransition": "capsule.errors",
    "CorruptRecord": "capsule.errors",
    "KernelError": "capsule.errors",
    "MountError": "capsule.errors",
    "CgroupError": "capsule.errors",
    "SecurityError": "capsule.errors",
    "NetworkError": "capsule.errors",
    "ChildError": "capsule.errors",
    "HookError": "capsule.errors",
    "ImageError": "capsule.errors",
    "VolumeError": "capsule.errors",
    "Unsupported": "capsule.errors",
}

__all__ = list(_HOMES)


def __getattr__(name):
    """Load a public name from its home (PEP 562)."""
    if name == "__version__":
        from capsule._version import VERSION

        return VERSION
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'capsule' has no attribute {name!r}")
    value = getattr(__import__(home, None, None, (name,)), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_HOMES, "__version__"])
