"""A store in a bucket, through obstore: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

An object is created by one PUT that the service refuses when the name exists (`If-None-Match: *`, or the service's own
word for it); it is durable when the service has acknowledged it. There are no uploads in parts, so nothing half-made can
stay behind and a large object is as create-only as a small one; what is to become a large one waits in an unnamed
temporary file. obstore itself tries nothing again: `wrappers.RetryingStore` does, in one place for every call.

Reads go in ranges of at most `RANGE_BYTES`. A read that breaks off goes on where it was, and only while the object still has
the ETag that the read began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import obstore

from kafkeep.errors import KafkeepError, ObjectLocked, ObjectNotFound, StoreError
from kafkeep.logger import get_logger
from kafkeep.records import dataclass
from kafkeep.repository.names import check_hint_name, check_object_name, check_prefix
from kafkeep.repository.stores.base import Capabilities, ObjectInfo, Store, Upload
from kafkeep.repository.stores.object_errors import FOREIGN, NONE_YET, ObjectChanged, OutsideObject, SlowDown, translate
from kafkeep.repository.stores.object_lock import (
    UNLOCKED,
    BucketLock,
    Retention,
    lock_headers,
    locked_until,
    read_bucket_lock,
    read_retention,
    read_versioning,
    retention_text,
)
from kafkeep.repository.stores.object_upload import Body, ObjectUpload
from kafkeep.repository.stores.options import ObjectLock
from kafkeep.repository.stores.pace import Pace

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

log = get_logger(__name__)

T = TypeVar("T")

RANGE_BYTES: Final = 8 * 1024 * 1024
"""Longest range that one request reads."""
RESUMES: Final = 3
"""How often one read or listing goes on where it broke off before the whole of it counts as failed."""
SLOWEST_BYTES_PER_SECOND: Final = 512 * 1024
"""A request gets the time that its bytes take at this rate, and the store's timeout besides."""
LIST_PAGE: Final = 1000
NO_E_TAG: Final = "ETag Header missing"
NO_LOCK: Final = "Make a bucket with object lock, or take object_lock out of the settings."
PARALLEL_READS: Final = 8

_RESOURCE: Final = "it"
"""Any name will do: the client of a resource has only that one."""
_SIZES: Final = (1 << 20, RANGE_BYTES, 64 << 20, 256 << 20, 5 << 30)
"""Requests of up to these many bytes share a client, because only a whole client has a deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket and how to reach it."""

    url: str
    """`s3://bucket/prefix`: never holds a secret."""
    prefix: str
    """Of every key; empty or ending in `/`."""
    connect: Callable[[float], Client]
    """A client of obstore whose requests take at most so many seconds."""
    timeout_seconds: float = 60.0
    connections: int = 16
    storage_class: str | None = None
    """For packs."""
    failure: Callable[[], KafkeepError | None] = lambda: None
    """What went wrong when credentials were last asked for, None when nothing did."""
    lock: ObjectLock | None = None
    """What new objects are locked with; then old versions are kept by the service, and deleted one by one."""
    connect_locked: Callable[[float, Mapping[str, str]], Client] | None = None
    """A client whose requests carry these headers."""
    connect_to: Callable[[float, str, str], Client] | None = None
    """A client whose only object is a key's resource: the key (empty for the bucket) and its query."""


class ObjectStore(Store):
    """See the module's text. Safe for many threads."""

    def __init__(self, place: Place, *, spool_folder: str | None = None) -> None:
        self._place = place
        self._spool_folder = spool_folder
        self._pace = Pace(place.connections)
        self._lock = threading.Lock()
        self._clients: dict[int, Client] = {}
        self._locking: tuple[datetime | None, dict[int, Client]] = (None, {})
        """Clients for creations, and until when these lock."""
        self._bucket_seen = False

    @property
    def url(self) -> str:
        return self._place.url

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            durable=True, parallel_reads=min(PARALLEL_READS, self._place.connections), decided_elsewhere=True
        )

    @property
    def pace(self) -> Pace:
        """How many requests are asked at once."""
        return self._pace

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.create(name, data, len(data))

    def open_new(self) -> Upload:
        return ObjectUpload(self, self._spool_folder)

    def create(self, name: str, body: Body, size: int) -> None:
        """Create the object from a buffer of `size` bytes, which is not copied. Raises `ObjectExists`, `StoreError`."""
        check_object_name(name)
        # an empty memoryview has no address that could be passed on
        data = body if size else b""
        locked = self._place.lock is not None and not name.startswith(UNLOCKED)
        try:
            self._call(
                f"cannot create {name} in {self.url}",
                name,
                size,
                lambda client: obstore.put(
                    client, self._key(name), data, mode="create", use_multipart=False, attributes=self._attributes(name)
                ),
                creating=True,
                locked=locked,
            )
        except StoreError as error:
            if locked and any(code in error.message for code in NONE_YET):
                raise StoreError(f"{error.message}: the bucket cannot lock it", hint=NO_LOCK) from None
            raise

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        check_object_name(name)
        if length == 0:
            self.head(name)
            return b""
        end = None if length is None else start + length
        parts: list[bytes] = []
        position, e_tag, resumes = start, None, 0
        while True:
            stop = position + RANGE_BYTES if end is None else min(end, position + RANGE_BYTES)
            try:
                data, size, e_tag = self._read_range(name, position, stop, e_tag)
            except StoreError as error:
                resumes += 1
                if (
                    not parts
                    or not error.retryable
                    or resumes > RESUMES
                    or isinstance(error, (SlowDown, ObjectChanged))
                ):
                    raise
                log.info("read goes on where it broke off", name=name, position=position, reason=error.message)
                continue
            parts.append(data)
            position += len(data)
            if position >= size or position == end:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def head(self, name: str) -> ObjectInfo:
        check_object_name(name)
        return ObjectInfo(name, int(self._head(name)["size"]))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        found: dict[str, ObjectInfo] = {}
        resumes = 0
        while True:
            try:
                for name, size in self._list(prefix, max(found, default=None)):
                    found[name] = ObjectInfo(name, size)
                break
            except StoreError as error:
                resumes += 1
                if not found or not error.retryable or resumes > RESUMES:
                    raise
        return iter([found[name] for name in sorted(found)])

    def put_hint(self, name: str, data: bytes) -> None:
        check_hint_name(name)
        self._call(
            f"cannot write {name} in {self.url}",
            name,
            len(data),
            lambda client: obstore.put(client, self._key(name), data, mode="overwrite", use_multipart=False),
            creating=True,
        )

    def delete(self, name: str) -> None:
        check_object_name(name)
        try:
            if self._place.lock is not None and not name.startswith(UNLOCKED):
                self._delete_version(name, self._place.lock.now())
                return
            self._call(
                f"cannot delete {name} in {self.url}", name, 0, lambda client: obstore.delete(client, self._key(name))
            )
        except ObjectNotFound:
            return

    def _delete_version(self, name: str, now: datetime) -> None:
        """Where objects are locked the service keeps old versions: a deletion without one would hide the object and free
        nothing, and one that is locked would seem to be gone."""
        what = f"cannot delete {name} in {self.url}"
        version = self._head(name)["version"]
        found = self._resource(what, self._key(name), "retention=")
        kept = None if found is None else read_retention(found)
        if kept is not None and kept.until > now:
            raise ObjectLocked(f"{what}: it is locked until {kept.until:%Y-%m-%dT%H:%M:%SZ} ({kept.mode.lower()})")
        connect = self._place.connect_to
        if version is None or connect is None:
            self._call(what, name, 0, lambda client: obstore.delete(client, self._key(name)))
            return
        client = connect(self._place.timeout_seconds, self._key(name), f"versionId={quote(version, safe='')}")
        self._call(what, name, 0, lambda _: obstore.delete(client, _RESOURCE))

    def bucket_lock(self) -> BucketLock | None:
        if self._place.connect_to is None:
            return None
        found = self._resource(f"cannot read the lock of {self.url}", "", "object-lock=")
        return BucketLock(enabled=False) if found is None else read_bucket_lock(found)

    def versioning(self) -> str | None:
        if self._place.connect_to is None:
            return None
        found = self._resource(f"cannot read whether {self.url} keeps versions", "", "versioning=")
        return None if found is None else read_versioning(found)

    def object_lock(self, name: str) -> Retention | None:
        check_object_name(name)
        if self._place.connect_to is None:
            return super().object_lock(name)
        found = self._resource(
            f"cannot read the lock of {name} in {self.url}", self._key(name), "retention=", absent=False
        )
        return None if found is None else read_retention(found)

    def prolong_lock(self, name: str, lock: Retention) -> None:
        connect = self._place.connect_to
        if connect is None:
            super().prolong_lock(name, lock)
            return
        what = f"cannot lock {check_object_name(name)} in {self.url}"
        client = connect(self._place.timeout_seconds, self._key(name), "retention=")
        body = retention_text(lock)

        def put(_: Client) -> None:
            try:
                obstore.put(client, _RESOURCE, body, mode="overwrite", use_multipart=False)
            except FOREIGN as error:
                # the answer to this request has no ETag, which obstore wants to see
                if NO_E_TAG not in str(error):
                    raise

        self._call(what, _RESOURCE, 0, put)
        found = self.object_lock(name)
        if found is None or found.until < lock.until:
            raise StoreError(f"{what}: the service took the request, and the lock is not there")

    def _resource(self, what: str, key: str, query: str, *, absent: bool = True) -> bytes | None:
        """A small answer of the service about the bucket or a key; None when it has none. `absent`: what is not there has
        none either, else `ObjectNotFound`."""
        connect = self._place.connect_to
        if connect is None:
            return None
        client = connect(self._place.timeout_seconds, key, query)
        try:
            return self._call(what, _RESOURCE, 0, lambda _: obstore.get(client, _RESOURCE).bytes().to_bytes())
        except ObjectNotFound:
            if absent:
                return None
            raise
        except StoreError as error:
            if any(code in error.message for code in NONE_YET):
                return None
            raise

    def modified(self, name: str) -> datetime | None:
        found: datetime = self._head(check_object_name(name))["last_modified"]
        return found

    def close(self) -> None:
        with self._lock:
            self._clients.clear()
            self._locking = (None, {})

    # --- requests ----------------------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return self._place.prefix + name

    def _version_of(self, name: str) -> str | None:
        """Which version of the object is read; None for the newest. Raises `ObjectNotFound`, `StoreError`."""
        return None

    def _attributes(self, name: str) -> dict[Any, str] | None:
        """Packs alone get the storage class: all else is small, read often, and dear in a class for rare reads."""
        chosen = self._place.storage_class
        return {"Storage-Class": chosen} if chosen is not None and name.startswith("pack/") else None

    def _client(self, size: int, *, locked: bool = False) -> Client:
        largest = next((limit for limit in _SIZES if size <= limit), _SIZES[-1])
        seconds = self._place.timeout_seconds + largest / SLOWEST_BYTES_PER_SECOND
        lock, connect = self._place.lock, self._place.connect_locked
        with self._lock:
            if not locked or lock is None or connect is None:
                client = self._clients.get(largest)
                if client is None:
                    client = self._clients[largest] = self._place.connect(seconds)
                return client
            until = locked_until(lock)
            if self._locking[0] != until:
                self._locking = (until, {})
            found = self._locking[1].get(largest)
            if found is None:
                found = self._locking[1][largest] = connect(seconds, lock_headers(lock, until))
            return found

    def _call(
        self,
        what: str,
        name: str | None,
        size: int,
        action: Callable[[Client], T],
        *,
        creating: bool = False,
        locked: bool = False,
    ) -> T:
        client = self._client(size, locked=locked)
        with self._pace.turn():
            try:
                result = action(client)
            except FOREIGN as error:
                failure = self._place.failure()
                found = translate(error, what, name, creating=creating) if failure is None else failure
                if isinstance(found, SlowDown):
                    self._pace.slower()
                # the foreign text may hold a signature; it goes no further
                raise found from None
        self._pace.faster()
        self._bucket_seen = True
        return result

    def _read_range(self, name: str, start: int, stop: int, e_tag: str | None) -> tuple[bytes, int, str | None]:
        """Bytes from `start`, the object's size and its ETag; nothing when the object ends before `start`."""

        version = self._version_of(name)

        def read(client: Client) -> tuple[bytes, int, str | None]:
            options: dict[str, Any] = {"range": (start, stop)}
            if version is not None:
                options["version"] = version
            if e_tag is not None:
                options["if_match"] = e_tag
            result = obstore.get(client, self._key(name), options=options)  # type: ignore[arg-type]
            return result.bytes().to_bytes(), int(result.meta["size"]), result.meta["e_tag"]

        what = f"cannot read {name} in {self.url}"
        try:
            data, size, tag = self._call(what, name, stop - start, read)
        except OutsideObject as error:
            size = int(self._head(name)["size"])
            if size > start:
                raise StoreError(f"{what}: the store refuses the range {start} to {stop} of {size}") from error
            return b"", size, e_tag
        if len(data) != min(stop, size) - start:
            raise StoreError(f"{what}: {len(data)} bytes came instead of {min(stop, size) - start}", retryable=True)
        return data, size, tag

    def _head(self, name: str) -> Any:
        what = f"cannot look at {name} in {self.url}"
        version = self._version_of(name)
        if version is not None:
            wanted: Any = {"version": version, "head": True}
            return self._call(what, name, 0, lambda client: obstore.get(client, self._key(name), options=wanted).meta)
        try:
            return self._call(what, name, 0, lambda client: obstore.head(client, self._key(name)))
        except ObjectNotFound:
            if not self._bucket_seen:
                # an answer without a body does not tell a missing bucket from a missing object
                self._call(what, name, 1, lambda client: obstore.get(client, self._key(name)))
            raise

    def _list(self, prefix: str, after: str | None) -> Iterator[tuple[str, int]]:
        base = self._place.prefix
        what = f"cannot list {prefix or 'objects'} in {self.url}"
        pages = obstore.list(
            self._client(0),
            base + prefix or None,
            offset=None if after is None else self._key(after),
            chunk_size=LIST_PAGE,
        )
        pages = iter(pages)
        while (page := self._call(what, None, 0, lambda _: next(pages, None))) is not None:
            for entry in page:
                name = str(entry["path"]).removeprefix(base)
                if name.startswith(prefix) and _is_object(name):
                    yield name, int(entry["size"])


def _is_object(name: str) -> bool:
    try:
        check_object_name(name)
    except ValueError:
        return False
    return True
