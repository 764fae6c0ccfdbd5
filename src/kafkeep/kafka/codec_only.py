"""kafka-python as a codec: its message classes without its clients.

Importing any of its modules runs the package's own `__init__`, which loads consumer, producer, admin client and an event
loop: a hundred modules that kafkeep never uses and that would make up a seventh of a short command's time. The packages of
messages import all that they hold, some sixty definitions of which a command uses a third.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_PACKAGES: Final = (
    "kafka",
    *(f"kafka.protocol.{part}" for part in ("admin", "consumer", "metadata", "producer")),
)


class _Package(ModuleType):
    """The package with its `__init__` left for later: it runs when somebody asks for one of the package's own names."""

    def __getattr__(self, name: str) -> Any:
        spec: ModuleSpec | None = self.__dict__.get("__spec__")
        if spec is None or spec.loader is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        object.__setattr__(self, "__class__", ModuleType)
        spec.loader.exec_module(self)
        return getattr(self, name)


def leave_clients_out() -> None:
    """Makes `import kafka.protocol...` load that part alone. Without effect once the package was imported otherwise."""
    if _PACKAGES[0] in sys.modules:
        return
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return
        package = module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[name] = package
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, package)
