"""The contract of a store: named immutable objects, created only if absent.

Every store and every wrapper passes `tests/contract/test_store.py`. What all of them promise:

* `put_new` and `Upload.publish` create the object or raise `ObjectExists`; of several creators at once exactly one
  wins, and nobody ever sees a part of an object. When they return, the object is as durable as the store can make it.
* `ObjectNotFound` means that the store said "absent". Everything else that goes wrong is another `StoreError`: "could
  not read" is never "does not exist".
* An error with `retryable` leaves the outcome open: the object may or may not have been created.
* `list` proposes names; it is never evidence of absence. Nothing that decides about data relies on it.
* Names are checked by `names.check_object_name`; a bad one is a `ValueError`, before anything is touched.
* All methods may be called from many threads; one `Upload` belongs to one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from kafkeep.errors import StoreError
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from kafkeep.repository.stores.object_lock import BucketLock, Retention

NO_LOCKS: Final = "Locks are of buckets of S3 and compatible services that were made with object lock."


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's name and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What callers may count on or make use of."""

    durable: bool
    """Objects outlive the process."""
    parallel_reads: int = 1
    """How many reads at once make sense; 1 where the answer takes no time to come."""
    decided_elsewhere: bool = False
    """Which of several creators wins is decided by a service that this program cannot see into: it has to be tried."""


class Upload(ABC):
    """A new object on its way: bytes first, its name last. Left without `publish` it leaves nothing behind."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; `data` may be reused as soon as the call returns. Raises `StoreError`."""

    def lend(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes that stay as they are until `settle` has returned: they may be on their way until then. Raises
        `StoreError`, also for what was lent before."""
        self.write(data)

    def settle(self) -> None:
        """What was lent may be reused when this returns. May be called from another thread. Raises `StoreError`."""
        return

    @abstractmethod
    def publish(self, name: str) -> None:
        """Make the bytes durable under `name`. Raises `ObjectExists`, `StoreError`.

        Called again only after an error with `retryable`.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drop what was written; does nothing after `publish` or a second time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class Store(ABC):
    """See the module's text for what every method promises."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the store is, for people: never holds a secret."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @abstractmethod
    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create the object, durable on return. Raises `ObjectExists`, `StoreError`."""

    @abstractmethod
    def open_new(self) -> Upload:
        """Begin an object whose name is known only at its end. Raises `StoreError`."""

    @abstractmethod
    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from `start`, at most `length` of them: fewer (or none) where the object ends before.

        Raises `ObjectNotFound`, `StoreError`.
        """

    @abstractmethod
    def head(self, name: str) -> ObjectInfo:
        """The object's size. Raises `ObjectNotFound`, `StoreError`."""

    def modified(self, name: str) -> datetime | None:
        """When the object was made by the store's own clock, None where it has none. Raises as `head`."""
        self.head(name)
        return None

    def bucket_lock(self) -> BucketLock | None:
        """What the place says about locks on its objects, None where it knows none. Raises `StoreError`."""
        return None

    def versioning(self) -> str | None:
        """Whether versions of what is deleted or overwritten are kept: `enabled`, `suspended`, `never`.

        None where the place does not tell. Raises `StoreError`.
        """
        return None

    def object_lock(self, name: str) -> Retention | None:
        """Until when the object cannot be deleted, None when it has no lock.

        Raises `ObjectNotFound`, `StoreError`, as for a kind of store that locks nothing.
        """
        raise StoreError(f"objects in {self.url} cannot be locked", hint=NO_LOCKS)

    def prolong_lock(self, name: str, lock: Retention) -> None:
        """Lock the object until later than it is; in place when the call returns. Raises as `object_lock`, and
        `StoreAccessDenied` for a lock that would end earlier or without the right."""
        raise StoreError(f"objects in {self.url} cannot be locked", hint=NO_LOCKS)

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose names begin with `prefix` (empty, or ending in `/`), in the order of their names."""

    @abstractmethod
    def put_hint(self, name: str, data: bytes) -> None:
        """Create or replace an object under `hint/`, the only names that ever change. Raises `StoreError`."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove the object; an absent one is no error. Raises `ObjectLocked`, `StoreError`."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the store holds open."""


class Unchanging(Store):
    """Refuses changes. Goes in front of the store that it is of: how objects are made differs, so that is refused there."""

    @abstractmethod
    def _refuse(self, what: str) -> StoreError:
        """The error for a change."""

    def open_new(self) -> Upload:
        raise self._refuse("begin an object")

    def put_hint(self, name: str, data: bytes) -> None:
        raise self._refuse(f"write {name}")

    def delete(self, name: str) -> None:
        raise self._refuse(f"delete {name}")

    def prolong_lock(self, name: str, lock: Retention) -> None:
        raise self._refuse(f"lock {name}")
