from capsule.client.container import Container as Container
from capsule.client.factory import Factory as Factory
from capsule.client.network import Endpoint as Endpoint, Network as Network
from capsule.client.process import Process as Process
from capsule.client.session import ProcessHandle as ProcessHandle
from capsule.client.status import ContainerStatus as ContainerStatus
from capsule.errors import (
    AlreadyExists as AlreadyExists,
    BadTransition as BadTransition,
    CapsuleError as CapsuleError,
    CgroupError as CgroupError,
    ChildError as ChildError,
    CorruptRecord as CorruptRecord,
    HookError as HookError,
    ImageError as ImageError,
    KernelError as KernelError,
    MountError as MountError,
    NetworkError as NetworkError,
    NotFound as NotFound,
    SecurityError as SecurityError,
    SpecError as SpecError,
    StateError as StateError,
    Unsupported as Unsupported,
    VolumeError as VolumeError,
)
from capsule.network.driver import NetworkDriver as NetworkDriver
from capsule.network.ipam import IPAM as IPAM
from capsule.spec.load import load_config as load_config
from capsule.spec.model import Config as Config
from capsule.state.record import StateStorage as StateStorage

__version__: str
