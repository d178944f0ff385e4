from capsule.client.container import Container as Container
from capsule.client.factory import Factory as Factory
from capsule.client.process import Process as Process
from capsule.client.session import ProcessHandle as ProcessHandle
from capsule.client.status import ContainerStatus as ContainerStatus
from capsule.errors import AlreadyExists as AlreadyExists
from capsule.errors import BadTransition as BadTransition
from capsule.errors import CapsuleError as CapsuleError
from capsule.errors import CgroupError as CgroupError
from capsule.errors import ChildError as ChildError
from capsule.errors import CorruptRecord as CorruptRecord
from capsule.errors import HookError as HookError
from capsule.errors import ImageError as ImageError
from capsule.errors import KernelError as KernelError
from capsule.errors import MountError as MountError
from capsule.errors import NetworkError as NetworkError
from capsule.errors import NotFound as NotFound
from capsule.errors import SecurityError as SecurityError
from capsule.errors import SpecError as SpecError
from capsule.errors import StateError as StateError
from capsule.errors import Unsupported as Unsupported
from capsule.spec.load import load_config as load_config
from capsule.spec.model import Config as Config
from capsule.state.record import StateStorage as StateStorage

__version__: str
