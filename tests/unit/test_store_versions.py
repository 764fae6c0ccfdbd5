"""Lists of versions as services give them, and locks of objects, without a service."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.repositories import Clock, Journal, backup, generation, piece

from kafkeep.errors import ObjectNotFound, PlanRefused, StoreAccessDenied, StoreError, StoreUnavailable, UsageError
from kafkeep.repository.probing import Skew
from kafkeep.repository.stores.as_of import Version, newest_by, read_versions
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.factory import open_store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.object_lock import BucketLock, Retention, read_versioning
from kafkeep.repository.stores.options import AsOf, ObjectLock
from kafkeep.repository.stores.wrappers import ReadOnlyStore, RetryingStore, WrappedStore
from kafkeep.retention.locks import prepare, prolong

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def version(key: str, seconds: int, *, deleted: bool = False, latest: bool = False, number: str = "v") -> Version:
    moment = NOON + timedelta(seconds=seconds)
    return Version(key=key, id=number, modified=moment, size=1, deleted=deleted, latest=latest)


def entry(tag: str, key: str, more: str = "") -> str:
    time = "<LastModified>2026-11-20T12:00:00.000Z</LastModified>"
    return f"<{tag}><Key>{key}</Key><VersionId>1</VersionId>{time}<Size>7</Size>{more}</{tag}>"


def answer(*entries: str, truncated: bool = False, more: str = "") -> bytes:
    told = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
    return f"<ListVersionsResult>{told}{more}{''.join(entries)}</ListVersionsResult>".encode("utf-8", "surrogateescape")


def test_a_list_in_the_words_of_a_service() -> None:
    owner = "<IsLatest>true</IsLatest><Owner><ID>x</ID></Owner>"
    page = read_versions(answer(entry("Version", "a&amp;b", owner), entry("DeleteMarker", "c")))
    assert page.next is None
    assert [(each.key, each.size, each.deleted, each.latest) for each in page.versions] == [
        ("a&b", 7, False, True), ("c", 0, True, False)
    ]  # fmt: skip
    assert page.versions[0].modified == NOON


def test_what_others_named_hides_nothing() -> None:
    """Keys of any bytes, entries that lack something, and keys that look like the list's own words."""
    strange = [
        entry("Version", "\x01\x02"),
        entry("Version", "\udcff"),
        entry("Version", "&lt;IsTruncated&gt;true&lt;/IsTruncated&gt;"),
        entry("Version", "x").replace("2026-11", "2026-99"),
        entry("Version", "x").replace("<Size>7</Size>", "<Size>-1</Size>"),
        entry("Version", "x").replace("<VersionId>1</VersionId>", ""),
    ]
    page = read_versions(answer(*strange, entry("Version", "log/1")))
    assert page.next is None
    assert page.versions[-1].key == "log/1" and len(page.versions) == 4


@pytest.mark.parametrize("data", [b"", b"<html>no</html>", b"<ListVersionsResult></ListVersionsResult>", b"\xff" * 50])
def test_what_is_no_list_is_no_empty_list(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a list"):
        read_versions(data)


def test_a_list_that_goes_on_says_where() -> None:
    more = "<NextKeyMarker>k&amp;1[x:2]</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>"
    assert read_versions(answer(truncated=True, more=more)).next == ("k&1[x:2]", "v1")


def test_a_bucket_says_whether_it_keeps_versions() -> None:
    """What was kept before it was suspended is still there, so that is not the same as never."""
    for status, told in (("Enabled", "enabled"), ("Suspended", "suspended")):
        assert read_versioning(f"<VersioningConfiguration><Status>{status}</Status></>".encode()) == told
    assert read_versioning(b"<VersioningConfiguration/>") == "never"


def test_a_name_stands_for_its_newest_version_of_then() -> None:
    found = [
        version("a", 30, number="late"), version("a", 10, number="right"), version("a", 0, number="old"),
        version("b", 5, deleted=True), version("b", 0), version("c", 11),
    ]  # fmt: skip
    for order in (found, found[::-1]):
        newest = newest_by(iter(order), NOON + timedelta(seconds=10))
        assert (newest["a"].id, newest["b"].deleted, "c" in newest) == ("right", True, False)
    together = [version("d", 1, deleted=True), version("d", 1, latest=True)]
    assert not newest_by(iter(together), NOON + timedelta(seconds=9))["d"].deleted


@pytest.mark.parametrize("url", ["/backups/x", "file:///backups/x", "memory://x", "gs://bucket/x", "az://container/x"])
def test_where_nothing_can_be_read_as_it_was(url: str) -> None:
    with pytest.raises(UsageError, match="as of a time"):
        open_store(url, as_of=AsOf(time=NOON))


class Locking(WrappedStore):
    """A store that locks, in words of Python; `refused` names are locked by nobody."""

    def __init__(self, inner: Store, *, refused: frozenset[str] = frozenset()) -> None:
        super().__init__(inner)
        self.locks: dict[str, Retention] = {}
        self.calls = 0
        self.refused = refused

    def bucket_lock(self) -> BucketLock:
        return BucketLock(enabled=True)

    def object_lock(self, name: str) -> Retention | None:
        self.calls += 1
        if self.calls == 1:
            raise StoreUnavailable("no answer")
        self.inner.head(name)
        return self.locks.get(name)

    def prolong_lock(self, name: str, lock: Retention) -> None:
        self.calls += 1
        if self.calls % 5 == 0:
            raise StoreUnavailable("no answer")
        if name in self.refused:
            raise StoreAccessDenied("you may not")
        self.locks[name] = lock


def test_locks_of_what_is_needed_are_prolonged_and_refusals_named() -> None:
    journal = Journal(MemoryStore())
    backup(journal.create(), [piece(generation("orders"), 0, 2)])
    lost, closed = "log/000000000001", "kafkeep.json"
    locking = Locking(journal.store, refused=frozenset({closed}))
    repository = journal.open(RetryingStore(locking, pause=lambda seconds: None))
    data = journal.store.objects.pop(lost)
    lock = ObjectLock(mode="governance", days=9, now=Clock())
    plan = prepare(repository, lock, below_seconds=3600)
    assert plan.missing == (lost,) and {due.mode for due in plan.due} == {"GOVERNANCE"}
    result = prolong(repository, plan, lock)
    assert [(failure.subject, failure.reason) for failure in result.failures] == [(closed, "store-access-denied")]
    assert result.prolonged == len(locking.locks) == len(plan.due) - 1 > 2
    journal.store.objects[lost] = data
    again = prepare(repository, lock, below_seconds=3600)
    assert sorted(due.name for due in again.due) == [closed, lost]

    wrong = prepare(repository, lock, below_seconds=3600, skew=Skew(301.0, ahead=True))
    with pytest.raises(PlanRefused, match="ahead of"):
        prolong(repository, wrong, lock)
    with pytest.raises(StoreAccessDenied, match="for reading only"):
        ReadOnlyStore(locking).prolong_lock(closed, Retention("GOVERNANCE", NOON))


def test_a_store_that_locks_nothing_says_so(tmp_path: Path) -> None:
    journal = Journal(LocalStore(tmp_path))
    repository = journal.create()
    lock = ObjectLock(mode="governance", days=9, now=Clock())
    with pytest.raises(StoreError, match="cannot be locked"):
        prepare(repository, lock, below_seconds=3600)
    for ask in (
        lambda: journal.store.object_lock("kafkeep.json"),
        lambda: journal.store.prolong_lock("kafkeep.json", Retention("GOVERNANCE", NOON)),
    ):
        with pytest.raises(StoreError, match="cannot be locked"):
            ask()


def test_the_time_of_a_file_is_its_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    before = datetime.now(UTC) - timedelta(seconds=1)
    store.put_new("hint/x", random.Random(1).randbytes(9))
    made = store.modified("hint/x")
    assert made is not None and before < made < datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(ObjectNotFound):
        store.modified("hint/y")
