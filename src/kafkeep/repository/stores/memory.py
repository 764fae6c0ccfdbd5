"""A store in memory: for tests, drills and the fault wrappers. Objects live as long as the instance."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from kafkeep.errors import ObjectExists, ObjectNotFound
from kafkeep.repository.names import check_hint_name, check_object_name, check_prefix
from kafkeep.repository.stores.base import Capabilities, ObjectInfo, Store, Upload


class MemoryStore(Store):
    """`objects` is open to tests that damage, drop or swap what is stored."""

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._lock = threading.Lock()
        self.objects: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"memory://{self._name}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durable=False)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        check_object_name(name)
        copy = bytes(data)
        with self._lock:
            if name in self.objects:
                raise ObjectExists(f"{name} already exists in {self.url}")
            self.objects[name] = copy

    def open_new(self) -> Upload:
        return _MemoryUpload(self)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = self._find(name)
        return data[start:] if length is None else data[start : start + length]

    def head(self, name: str) -> ObjectInfo:
        return ObjectInfo(name, len(self._find(name)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            found = [ObjectInfo(name, len(data)) for name, data in self.objects.items() if name.startswith(prefix)]
        return iter(sorted(found, key=lambda info: info.name))

    def put_hint(self, name: str, data: bytes) -> None:
        check_hint_name(name)
        with self._lock:
            self.objects[name] = bytes(data)

    def delete(self, name: str) -> None:
        check_object_name(name)
        with self._lock:
            self.objects.pop(name, None)

    def close(self) -> None:
        pass

    def _find(self, name: str) -> bytes:
        check_object_name(name)
        with self._lock:
            data = self.objects.get(name)
        if data is None:
            raise ObjectNotFound(f"{name} is not in {self.url}")
        return data


class _MemoryUpload(Upload):
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data

    def publish(self, name: str) -> None:
        self._store.put_new(name, self._data)

    def discard(self) -> None:
        self._data = bytearray()
