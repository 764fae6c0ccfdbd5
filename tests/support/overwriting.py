"""A store in memory that has no create-only writes: a second creation replaces the first."""

from __future__ import annotations

from kafkeep.repository.names import check_object_name
from kafkeep.repository.stores.memory import MemoryStore


class OverwritingStore(MemoryStore):
    """Everything else is as it should be."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        with self._lock:
            self.objects[check_object_name(name)] = bytes(data)
