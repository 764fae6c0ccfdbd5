"""One writer at a time, for a store that cannot create only what is absent.

What keeps several writers apart elsewhere is that the store refuses a second creation. Where it does not, three things take
its place, and all of them together are weaker: a name is looked for before it is made, what was made is read back and
compared before it counts, and a lease keeps a second writer away. The lease is advice: a writer that was stopped for longer
than `DEAD_SECONDS` and goes on in the middle of a creation can still replace another's commit.

The lease is the object `hint/writer`: who holds it writes it anew every `RENEW_SECONDS`. Whoever wants it watches: what does
not change for `DEAD_SECONDS` by the watcher's own clock was left by a writer that is gone. No two clocks are compared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from blake3 import blake3

from kafkeep.errors import HeldByAnotherWriter, ObjectExists, ObjectNotFound, StoreError, StoreUnavailable
from kafkeep.logger import get_logger
from kafkeep.repository.names import HINT_PROBE, check_hint_name, check_object_name
from kafkeep.repository.stores.base import ObjectInfo, Store, Upload
from kafkeep.repository.stores.wrappers import WrappedStore, WrappedUpload

log = get_logger(__name__)

HINT_WRITER: Final = "hint/writer"
FREE: Final = b"free\n"
RENEW_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.0
"""Two that found the lease free together both write it; after this time the later one has it."""
BLOCK_BYTES: Final = 8 * 1024 * 1024

_UNSHARED: Final = ("audit/", "doc/", HINT_PROBE)
"""Names that no two writers give to different bytes: these need no lease, so a restore beside a backup leaves its report."""


class Lease:
    """Who may write. Safe for many threads; held from the first `hold` to `release`."""

    def __init__(
        self,
        store: Store,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        renew_seconds: float | None = None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self._pause = pause
        self._renew_seconds = RENEW_SECONDS if renew_seconds is None else renew_seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._beats = 0
        self._written = b""
        self._lost = False

    def hold(self) -> None:
        """Have the lease from here on; waits until a dead holder is known to be dead.

        Raises `HeldByAnotherWriter` when another one is at work, `StoreError`.
        """
        with self._lock:
            if self._lost:
                raise self._refusal()
            if self._thread is not None:
                return
            self._await_free()
            self._beat()
            self._pause(SETTLE_SECONDS)
            if self._read() != self._written:
                raise self._refusal()
            self._ended.clear()
            self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Look whether it is still ours. Raises `HeldByAnotherWriter`, `StoreError`."""
        with self._lock:
            if self._lost or self._read() != self._written:
                self._lost = True
                raise self._refusal()

    def release(self) -> None:
        """Give it back, if it is ours."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join()
        try:
            if not self._lost and self._read() == self._written:
                self._store.put_hint(HINT_WRITER, FREE)
        except StoreError as error:
            log.info("lease not given back", reason=error.message)

    def _await_free(self) -> None:
        seen = self._read()
        began = self._clock()
        while seen is not None and seen != FREE and self._clock() - began < DEAD_SECONDS:
            self._pause(LOOK_SECONDS)
            found = self._read()
            if found is not None and found not in (FREE, seen):
                raise self._refusal()
            seen = found
        if seen is not None and seen != FREE:
            log.warning("the writer before did not end well", store=self._store.url, lease=HINT_WRITER)

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_seconds):
            with self._lock:
                try:
                    if self._read() == self._written:
                        self._beat()
                    else:
                        self._lost = True
                except StoreError as error:
                    log.info("lease not renewed", reason=error.message)

    def _beat(self) -> None:
        self._beats += 1
        beat = f"{self._identity} {self._beats}\n".encode()
        self._store.put_hint(HINT_WRITER, beat)
        self._written = beat

    def _read(self) -> bytes | None:
        try:
            return self._store.get(HINT_WRITER, 0, 1024)
        except ObjectNotFound:
            return None

    def _refusal(self) -> HeldByAnotherWriter:
        return HeldByAnotherWriter(f"{self._store.url} takes one writer at a time, and another one is at work")


class SingleWriterStore(WrappedStore):
    """Puts a look before each creation and a comparison behind it, and holds the lease from the first change on.

    What a creation promises: when it returns, the object was read back as it was written. Raises `HeldByAnotherWriter`
    besides what the inner store raises.
    """

    def __init__(
        self,
        inner: Store,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        renew_seconds: float | None = None,
    ) -> None:
        super().__init__(inner)
        self.lease = Lease(inner, identity, clock=clock, pause=pause, renew_seconds=renew_seconds)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.begin(name)
        self.inner.put_new(name, data)
        self.compare(name, len(data), blake3(data).digest())

    def open_new(self) -> Upload:
        self.lease.hold()
        return _ComparedUpload(self.inner.open_new(), self)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # the lease is no part of what is stored
        return (info for info in self.inner.list(prefix) if info.name != HINT_WRITER)

    def put_hint(self, name: str, data: bytes) -> None:
        check_hint_name(name)
        self.lease.hold()
        self.inner.put_hint(name, data)

    def delete(self, name: str) -> None:
        if not check_object_name(name).startswith(HINT_PROBE):
            self.lease.hold()
            self.lease.check()
        self.inner.delete(name)

    def close(self) -> None:
        self.lease.release()
        self.inner.close()

    def begin(self, name: str) -> None:
        """Raises `ObjectExists` for a name that is there, `HeldByAnotherWriter` for one that is not ours to make."""
        try:
            self.inner.head(name)
        except ObjectNotFound:
            if not name.startswith(_UNSHARED):
                self.lease.hold()
                self.lease.check()
            return
        raise ObjectExists(f"{name} already exists in {self.url}")

    def compare(self, name: str, size: int, digest: bytes) -> None:
        """Raises `ObjectExists` when the store holds other bytes under the name."""
        found, position = blake3(), 0
        while position <= size:
            try:
                block = self.inner.get(name, position, BLOCK_BYTES)
            except ObjectNotFound as error:
                raise StoreUnavailable(f"{name} was made in {self.url} and cannot be read back") from error
            found.update(block)
            position += len(block)
            if len(block) < BLOCK_BYTES:
                break
        if position != size or found.digest() != digest:
            raise ObjectExists(f"{name} in {self.url} is another one than was made: two writers were at work")


class _ComparedUpload(WrappedUpload):
    def __init__(self, inner: Upload, store: SingleWriterStore) -> None:
        super().__init__(inner)
        self._store = store
        self._digest = blake3()
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.inner.write(data)
        self._digest.update(data)
        self._size += len(data)

    def publish(self, name: str) -> None:
        self._store.begin(name)
        self.inner.publish(name)
        self._store.compare(name, self._size, self._digest.digest())
