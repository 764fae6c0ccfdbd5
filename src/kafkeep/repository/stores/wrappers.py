"""Wrappers around any store, each with one concern: retry, throttle, refuse writes, count, and faults on script."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from kafkeep.errors import ObjectExists, StoreAccessDenied, StoreError, StoreUnavailable
from kafkeep.events import EventSink, Retried, ignore
from kafkeep.repository.stores.base import Capabilities, ObjectInfo, Store, Unchanging, Upload

if TYPE_CHECKING:
    from kafkeep.repository.stores.object_lock import BucketLock, Retention

T = TypeVar("T")

FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 20.0


class WrappedStore(Store):
    """Passes everything on; each wrapper overrides what it is about."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.inner.put_new(name, data)

    def open_new(self) -> Upload:
        return self.inner.open_new()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self.inner.get(name, start, length)

    def head(self, name: str) -> ObjectInfo:
        return self.inner.head(name)

    def modified(self, name: str) -> datetime | None:
        return self.inner.modified(name)

    def bucket_lock(self) -> BucketLock | None:
        return self.inner.bucket_lock()

    def versioning(self) -> str | None:
        return self.inner.versioning()

    def object_lock(self, name: str) -> Retention | None:
        return self.inner.object_lock(name)

    def prolong_lock(self, name: str, lock: Retention) -> None:
        self.inner.prolong_lock(name, lock)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def put_hint(self, name: str, data: bytes) -> None:
        self.inner.put_hint(name, data)

    def delete(self, name: str) -> None:
        self.inner.delete(name)

    def close(self) -> None:
        self.inner.close()


class WrappedUpload(Upload):
    """Passes everything on."""

    def __init__(self, inner: Upload) -> None:
        self.inner = inner

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.inner.write(data)

    def publish(self, name: str) -> None:
        self.inner.publish(name)

    def discard(self) -> None:
        self.inner.discard()


class RetryingStore(WrappedStore):
    """Makes a call again when its error says that this may help, with growing delays.

    A creation whose answer was lost may have happened: the next try then raises `ObjectExists`, and the caller compares.
    `jitter` gives the part of each delay that is waited, from 0 to 1, so that many writers do not come back together. No
    pause begins that would end later than `budget_seconds` after the call began. A store that has never answered is given
    `first_tries` only: there the address is wrong more often than the store is down.
    """

    def __init__(
        self,
        inner: Store,
        *,
        tries: int = 6,
        first_tries: int | None = None,
        budget_seconds: float = math.inf,
        sink: EventSink = ignore,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        super().__init__(inner)
        self._tries = tries
        self._first_tries = tries if first_tries is None else first_tries
        self._budget = budget_seconds
        self._sink = sink
        self._pause = pause
        self._clock = clock
        self._jitter = jitter
        self._answered = False

    def _again(self, what: str, call: Callable[[], T]) -> T:
        began = self._clock()
        attempt = 0
        while True:
            attempt += 1
            try:
                result = call()
            except StoreError as error:
                if not error.retryable:
                    self._answered = True
                    raise
                delay = min(FIRST_DELAY_SECONDS * 2 ** min(attempt - 1, 30), LONGEST_DELAY_SECONDS) * self._jitter()
                last = attempt >= (self._tries if self._answered else self._first_tries)
                if last or self._clock() + delay - began > self._budget:
                    raise
                self._sink(Retried(what, error.slug, attempt, delay))
                self._pause(delay)
            else:
                self._answered = True
                return result

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._again(f"create {name}", lambda: self.inner.put_new(name, data))

    def open_new(self) -> Upload:
        return _RetryingUpload(self._again("begin an object", self.inner.open_new), self)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._again(f"read {name}", lambda: self.inner.get(name, start, length))

    def head(self, name: str) -> ObjectInfo:
        return self._again(f"look at {name}", lambda: self.inner.head(name))

    def modified(self, name: str) -> datetime | None:
        return self._again(f"look at {name}", lambda: self.inner.modified(name))

    def bucket_lock(self) -> BucketLock | None:
        return self._again("look at the bucket's lock", self.inner.bucket_lock)

    def versioning(self) -> str | None:
        return self._again("look whether versions are kept", self.inner.versioning)

    def object_lock(self, name: str) -> Retention | None:
        return self._again(f"look at the lock of {name}", lambda: self.inner.object_lock(name))

    def prolong_lock(self, name: str, lock: Retention) -> None:
        self._again(f"lock {name}", lambda: self.inner.prolong_lock(name, lock))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # taken whole: a listing that breaks off halfway cannot be continued where it was
        return iter(self._again(f"list {prefix}", lambda: [*self.inner.list(prefix)]))

    def put_hint(self, name: str, data: bytes) -> None:
        self._again(f"write {name}", lambda: self.inner.put_hint(name, data))

    def delete(self, name: str) -> None:
        self._again(f"delete {name}", lambda: self.inner.delete(name))


class _RetryingUpload(WrappedUpload):
    """Only the last step is tried again: bytes once handed over are the inner upload's to keep."""

    def __init__(self, inner: Upload, store: RetryingStore) -> None:
        super().__init__(inner)
        self._store = store

    def publish(self, name: str) -> None:
        self._store._again(f"create {name}", lambda: self.inner.publish(name))


class Rate:
    """A number of bytes per second, kept over all threads that share it."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not bytes_per_second > 0:
            raise ValueError("a rate must be above zero")
        self._rate = bytes_per_second
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._free_at = clock()

    def charge(self, size: int) -> None:
        """Account for `size` bytes and wait until they fit the rate."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + size / self._rate
            delay = self._free_at - now
        if delay > 0:
            self._pause(delay)


class ThrottledStore(WrappedStore):
    """Holds what is written to one rate and what is read to another; both may be the same one, and None holds nothing."""

    def __init__(self, inner: Store, *, upload: Rate | None = None, download: Rate | None = None) -> None:
        super().__init__(inner)
        self._upload = upload
        self._download = download

    def charge(self, size: int) -> None:
        """Account for bytes written."""
        if self._upload is not None:
            self._upload.charge(size)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.charge(len(data))
        self.inner.put_new(name, data)

    def open_new(self) -> Upload:
        return _ThrottledUpload(self.inner.open_new(), self)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = self.inner.get(name, start, length)
        if self._download is not None:
            self._download.charge(len(data))
        return data


class _ThrottledUpload(WrappedUpload):
    def __init__(self, inner: Upload, store: ThrottledStore) -> None:
        super().__init__(inner)
        self._store = store

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._store.charge(len(data))
        self.inner.write(data)


class ReadOnlyStore(Unchanging, WrappedStore):
    """Refuses every change before it reaches the store."""

    def _refuse(self, what: str) -> StoreAccessDenied:
        return StoreAccessDenied(f"cannot {what}: {self.url} is opened for reading only")

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        raise self._refuse(f"create {name}")


class CountingStore(WrappedStore):
    """Counts calls by name in `calls`, and bytes in `bytes_read` and `bytes_written`."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.bytes_read = 0
        self.bytes_written = 0

    def count(self, call: str, *, written: int = 0) -> None:
        with self._lock:
            self.calls[call] += 1
            self.bytes_written += written

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.count("put_new", written=len(data))
        self.inner.put_new(name, data)

    def open_new(self) -> Upload:
        self.count("open_new")
        return _CountingUpload(self.inner.open_new(), self)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.count("get")
        data = self.inner.get(name, start, length)
        with self._lock:
            self.bytes_read += len(data)
        return data

    def head(self, name: str) -> ObjectInfo:
        self.count("head")
        return self.inner.head(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.count("list")
        return self.inner.list(prefix)

    def put_hint(self, name: str, data: bytes) -> None:
        self.count("put_hint", written=len(data))
        self.inner.put_hint(name, data)

    def delete(self, name: str) -> None:
        self.count("delete")
        self.inner.delete(name)


class _CountingUpload(WrappedUpload):
    def __init__(self, inner: Upload, store: CountingStore) -> None:
        super().__init__(inner)
        self._store = store

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._store.count("write", written=len(data))
        self.inner.write(data)

    def publish(self, name: str) -> None:
        self._store.count("publish")
        self.inner.publish(name)


class SimulatedCrash(BaseException):
    """The process is taken to be dead. Not an Exception, so that no handler for errors brings it back to life."""


MUTATING: Final = frozenset({"put_new", "open_new", "write", "publish", "put_hint", "delete"})


class FaultyStore(WrappedStore):
    """Faults on script.

    `before(index, call, name)` and `after(index, call, name)` are asked around every call, `index` counting the mutating
    ones from 0 (-1 for reads); they raise what the call shall raise: `before` instead of doing it, `after` when it is
    done, as when an answer is lost. `damage(name, data)` may change what a read returns. After a `SimulatedCrash` every
    call raises it, and uploads leave what they wrote: a dead process cleans up nothing.
    """

    def __init__(
        self,
        inner: Store,
        *,
        before: Callable[[int, str, str], None] | None = None,
        after: Callable[[int, str, str], None] | None = None,
        damage: Callable[[str, bytes], bytes] | None = None,
    ) -> None:
        super().__init__(inner)
        self._before = before
        self._after = after
        self._damage = damage
        self._lock = threading.Lock()
        self.mutations = 0
        self.dead = False

    @classmethod
    def dying(cls, inner: Store, *, at: int, when: str) -> FaultyStore:
        """Dies at mutating call `at` (from 0), `before` or `after` it is done."""

        def die(index: int, call: str, name: str) -> None:
            if index == at:
                raise SimulatedCrash(f"at {call} {name}")

        return cls(inner, before=die) if when == "before" else cls(inner, after=die)

    @classmethod
    def failing(cls, inner: Store, *, every: int, applied: bool = False) -> FaultyStore:
        """Every `every`-th mutating call but `write` fails with an error that may be retried, `applied` or not."""

        def fail(index: int, call: str, name: str) -> None:
            if call in MUTATING - {"write"} and index % every == every - 1:
                raise StoreUnavailable(f"no answer to {call} {name}")

        return cls(inner, after=fail) if applied else cls(inner, before=fail)

    def run(self, call: str, name: str, action: Callable[[], T]) -> T:
        """Do `action` with the script around it."""
        with self._lock:
            if self.dead:
                raise SimulatedCrash(f"{call} after death")
            index = self.mutations if call in MUTATING else -1
            self.mutations += call in MUTATING
        try:
            if self._before is not None:
                self._before(index, call, name)
            try:
                return action()
            finally:
                # whatever the answer was, it can get lost
                if self._after is not None:
                    self._after(index, call, name)
        except SimulatedCrash:
            self.dead = True
            raise

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.run("put_new", name, lambda: self.inner.put_new(name, data))

    def open_new(self) -> Upload:
        return _FaultyUpload(self.run("open_new", "", self.inner.open_new), self)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = self.run("get", name, lambda: self.inner.get(name, start, length))
        return data if self._damage is None else self._damage(name, data)

    def head(self, name: str) -> ObjectInfo:
        return self.run("head", name, lambda: self.inner.head(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.run("list", prefix, lambda: self.inner.list(prefix))

    def put_hint(self, name: str, data: bytes) -> None:
        self.run("put_hint", name, lambda: self.inner.put_hint(name, data))

    def delete(self, name: str) -> None:
        self.run("delete", name, lambda: self.inner.delete(name))


class _FaultyUpload(WrappedUpload):
    def __init__(self, inner: Upload, store: FaultyStore) -> None:
        super().__init__(inner)
        self._store = store
        self._published = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._store.run("write", "", lambda: self.inner.write(data))

    def publish(self, name: str) -> None:
        self._store.run("publish", name, lambda: self._publish(name))

    def _publish(self, name: str) -> None:
        if self._published:
            # an earlier try was applied and its answer lost; the inner upload is spent, the object is there
            raise ObjectExists(f"{name} already exists in {self._store.url}")
        self.inner.publish(name)
        self._published = name

    def discard(self) -> None:
        if not self._store.dead:
            self.inner.discard()
