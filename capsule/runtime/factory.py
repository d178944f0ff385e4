"""Making and loading containers under one runtime root (original: LinuxContainerFactory)."""

from __future__ import annotations

from capsule.errors import StateError
from capsule.runtime.container import Container
from capsule.state.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from capsule.spec.model import Config


class Factory:
    """The containers of one root.

    `initialize(initializer_type, config)` is what S2 runs; it comes from above, because this package and
    capsule.init are two processes that never import each other.
    """

    __slots__ = ("runtime_root", "store", "_initialize")

    def __init__(self, runtime_root: str, *, initialize=None) -> None:
        self.runtime_root = runtime_root
        self.store = Store(runtime_root)
        self._initialize = initialize

    def create(self, id: str, config: Config | None = None, *, bundle: str) -> Container:
        """Build a container that does not exist yet; nothing on the host changes before its `create`.

        None reads config.json of the bundle. Raises StateError for an id that is not valid, SpecError.
        """
        from capsule.state import ids

        ids.check_id(id)
        if config is None:
            from capsule.spec.load import load_config, read_file

            config = load_config(read_file(f"{bundle}/config.json"))
        return Container(self.store, id, bundle=bundle, initialize=self._initialize, config=config)

    def load(self, id: str, *, lock: bool = False) -> Container:
        """Load a container; with `lock`, hold its lock until it is closed.

        Raises NotFound, CorruptRecord.
        """
        entry = self.store.open(id)
        try:
            if lock:
                entry.lock()
            container = self.adopt(entry)
            if lock:
                container.settle()
            return container
        except BaseException:
            entry.close()
            raise

    def adopt(self, entry) -> Container:
        """Build the container of an open entry, which it then owns.

        Raises NotFound, CorruptRecord.
        """
        record = entry.load()
        container = Container(self.store, entry.id, bundle=record.bundle, initialize=self._initialize)
        container.entry, container.record = entry, record
        return container

    def exists(self, id: str) -> bool:
        """Tell whether a container of that id can be loaded."""
        try:
            self.load(id).close()
        except StateError:
            return False
        return True

    def list(self) -> list[str]:
        """The ids of all containers, half-made ones included, sorted."""
        return self.store.ids()

    def start_initialization(self, initializer_type: str, config) -> None:
        """Run the initializer in S2; never returns."""
        self._initialize(initializer_type, config)
