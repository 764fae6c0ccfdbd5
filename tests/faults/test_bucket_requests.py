"""S1, S3, S4, S6, S7, S8, S9: what goes wrong between kafkeep and a real S3 service, request by request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.s3_proxy import Answer, Cut, Fault, Flip, Lost, Proxy, Stall, proxied
from tests.support.versitygw import S3Server

from kafkeep.errors import (
    KafkeepError,
    ObjectExists,
    ObjectLocked,
    ObjectNotFound,
    StoreAccessDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from kafkeep.repository.stores.object import RANGE_BYTES, ObjectStore
from kafkeep.repository.stores.object_connect import open_object_store
from kafkeep.repository.stores.object_errors import SlowDown
from kafkeep.repository.stores.wrappers import RetryingStore

NAME = "log/000000000000"
Behind = Callable[..., tuple[Proxy, ObjectStore]]


@pytest.fixture
def behind(s3_server: S3Server) -> Iterator[Behind]:
    """A store in an empty bucket behind a proxy that follows a script."""
    opened: list[Any] = []

    def begin(*faults: Fault | None, only: str = "", **options: Any) -> tuple[Proxy, ObjectStore]:
        """The first requests of the method `only` meet these faults, in this order."""
        left = list(faults)

        def script(number: int, method: str, path: str) -> Fault | None:
            return left.pop(0) if left and method in (only or method) else None

        context = proxied(s3_server, script)
        opened.append(context)
        proxy = context.__enter__()
        store = open_object_store(
            f"s3://{s3_server.new_bucket()}/some/place", s3_server.options(endpoint=proxy.endpoint, **options)
        )
        return proxy, store

    yield begin
    for context in opened:
        context.__exit__(None, None, None)


def at_once(store: ObjectStore) -> RetryingStore:
    return RetryingStore(store, tries=20, pause=lambda seconds: None)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Answer(500, "InternalError"), StoreUnavailable),
        (Answer(502), StoreUnavailable),
        (Answer(503, "SlowDown"), SlowDown),
        (Answer(429), SlowDown),
        (Answer(504), StoreUnavailable),
        (Answer(400, "RequestTimeout"), StoreUnavailable),
        (Answer(400, "BadDigest"), StoreUnavailable),
        (Answer(409, "ConditionalRequestConflict"), StoreUnavailable),
        (Answer(409, "OperationAborted"), StoreUnavailable),
        (Answer(412, "PreconditionFailed"), ObjectExists),
        (Answer(304), ObjectExists),
        (Answer(403, "AccessDenied"), StoreAccessDenied),
        (Answer(403), StoreAccessDenied),
        (Answer(401), StoreAccessDenied),
        (Answer(400, "ExpiredToken"), StoreAccessDenied),
        (Answer(403, "RequestTimeTooSkewed"), StoreAccessDenied),
        (Answer(507), StoreFull),
        (Answer(403, "QuotaExceeded"), StoreError),
        (Answer(301, "PermanentRedirect"), StoreError),
        (Answer(404, "NoSuchBucket"), StoreError),
        (Answer(404), StoreError),
        (Answer(501, "NotImplemented"), StoreError),
        (Lost(applied=False), StoreUnavailable),
        (Lost(applied=True), StoreUnavailable),
    ],
    ids=str,
)
def test_what_a_creation_makes_of_each_answer(behind: Behind, fault: Fault, expected: type[StoreError]) -> None:
    """Only a refused condition is "exists", never a conflict that may yet fail, and nothing at all is "absent"."""
    _, store = behind(fault)
    with pytest.raises(expected) as caught:
        store.put_new(NAME, b"first")
    assert not isinstance(caught.value, ObjectNotFound)
    assert isinstance(caught.value, ObjectExists) == (expected is ObjectExists)
    assert caught.value.retryable == issubclass(expected, StoreUnavailable)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Answer(404, "NoSuchKey"), ObjectNotFound),
        (Answer(404, "NoSuchBucket"), StoreError),
        (Answer(403, "AccessDenied"), StoreAccessDenied),
        (Answer(412, "PreconditionFailed"), StoreUnavailable),
        (Answer(500), StoreUnavailable),
        (Lost(applied=True), StoreUnavailable),
        (Cut(0.0), StoreUnavailable),
        (Cut(0.5), StoreUnavailable),
    ],
    ids=str,
)
@pytest.mark.fault("S13")
def test_s13_only_the_answer_that_a_key_is_absent_is_absence(
    behind: Behind, fault: Fault, expected: type[StoreError]
) -> None:
    _, store = behind(fault, only="GET")
    store.put_new(NAME, b"there" * 1000)
    with pytest.raises(expected) as caught:
        store.get(NAME)
    assert isinstance(caught.value, ObjectNotFound) == (expected is ObjectNotFound)
    assert store.get(NAME) == b"there" * 1000


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Answer(403, "ObjectLocked"), ObjectLocked),
        (Answer(409, "BlobImmutableDueToPolicy"), ObjectLocked),
        (Answer(403, "retentionPolicyNotMet"), ObjectLocked),
        (Answer(403, "AccessDenied"), StoreAccessDenied),
        (Answer(404, "NoSuchKey"), None),
    ],
    ids=str,
)
def test_s11_a_deletion_that_a_lock_refuses_is_told_from_a_missing_right(
    behind: Behind, fault: Fault, expected: type[StoreError] | None
) -> None:
    _, store = behind(fault, only="DELETE")
    store.put_new(NAME, b"there")
    if expected is None:
        store.delete(NAME)
        return
    with pytest.raises(expected) as caught:
        store.delete(NAME)
    assert isinstance(caught.value, ObjectLocked) == (expected is ObjectLocked)
    assert not caught.value.retryable


def test_an_answer_without_a_body_does_not_hide_a_missing_bucket(s3_server: S3Server) -> None:
    """HEAD says 404 for both; the first absence is asked about again in a way that tells."""
    store = open_object_store("s3://there-is-none/x", s3_server.options())
    for ask in (lambda: store.head(NAME), lambda: store.get(NAME), lambda: list(store.list(""))):
        with pytest.raises(StoreError, match="no such bucket") as caught:
            ask()
        assert not isinstance(caught.value, ObjectNotFound)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.fault("S3", "S4")
def test_s3_s4_creation_whose_answer_was_lost(behind: Behind, applied: bool) -> None:
    """Tried again: then it exists, with the bytes that were sent, or it is made."""
    _, store = behind(Lost(applied=applied))
    try:
        at_once(store).put_new(NAME, b"mine")
        assert not applied
    except ObjectExists:
        assert applied
    assert store.get(NAME) == b"mine"


@pytest.mark.parametrize("size", [100, 5_000_000])
@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.fault("S3", "S4")
def test_s3_s4_upload_whose_answer_was_lost(behind: Behind, applied: bool, size: int) -> None:
    """From memory or from the file, the second try sends the same bytes."""
    _, store = behind(Lost(applied=applied), Answer(503, "SlowDown"))
    with at_once(store).open_new() as upload:
        upload.write(b"x" * size)
        try:
            upload.publish(NAME)
            assert not applied
        except ObjectExists:
            assert applied
    assert store.get(NAME) == b"x" * size


@pytest.mark.parametrize("every", range(2, 21))
@pytest.mark.fault("S1")
def test_s1_every_kth_request_fails(s3_server: S3Server, every: int) -> None:
    kinds = (Answer(500), Answer(503, "SlowDown"), Lost(applied=True), Lost(applied=False), Cut(0.5))

    def script(number: int, method: str, path: str) -> Fault | None:
        return kinds[number // every % len(kinds)] if number % every == every - 1 else None

    with proxied(s3_server, script) as proxy:
        options = s3_server.options(endpoint=proxy.endpoint)
        store = at_once(open_object_store(f"s3://{s3_server.new_bucket()}", options))
        for number in range(20):
            try:
                store.put_new(f"log/{number:012d}", b"%d" % number)
            except ObjectExists:
                assert store.get(f"log/{number:012d}") == b"%d" % number
        assert [info.name for info in store.list("log/")] == [f"log/{number:012d}" for number in range(20)]
        assert [store.get(f"log/{number:012d}") for number in range(20)] == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("sixteenth", range(16))
@pytest.mark.fault("S7")
def test_s7_read_that_breaks_off_is_resumed_where_it_was(behind: Behind, sixteenth: int) -> None:
    data = bytes(range(256)) * (3 * RANGE_BYTES // 256)
    proxy, store = behind(None, Cut(sixteenth / 16), only="GET")
    store.put_new(NAME, data)
    before = len(proxy.seen)
    assert store.get(NAME) == data
    assert len(proxy.seen) - before == 4, "three ranges, one of them twice"


def test_read_does_not_go_on_in_another_object(behind: Behind, s3_server: S3Server) -> None:
    """The second range asks for the ETag of the first."""
    name = "hint/large"

    def replaced(number: int, method: str, path: str) -> Fault | None:
        if method == "GET" and sum(kind == "GET" for kind, _ in proxy.seen) == 2:
            straight.put_hint(name, b"2" * (2 * RANGE_BYTES))
        return None

    proxy, store = behind()
    proxy.script = replaced
    straight = open_object_store(store.url, s3_server.options())
    store.put_hint(name, b"1" * (2 * RANGE_BYTES))
    with pytest.raises(StoreError, match="replaced meanwhile") as caught:
        store.get(name)
    assert caught.value.retryable
    assert at_once(store).get(name) == b"2" * (2 * RANGE_BYTES)


def test_s8_flipped_bit_comes_through_and_is_for_digests_to_find(behind: Behind) -> None:
    """The store promises nothing about it: `test_repository_damage` shows that no reader takes it."""
    _, store = behind(Flip(), only="GET")
    store.put_new(NAME, b"x" * 100)
    assert store.get(NAME) != b"x" * 100
    assert store.get(NAME) == b"x" * 100


@pytest.mark.fault("S8")
def test_s8_flipped_bit_on_the_way_up_is_refused_by_the_service(behind: Behind, s3_server: S3Server) -> None:
    """The signature covers the body's digest."""
    proxy, store = behind()
    passed_on = proxy._passed_on

    def damaged(request: Any, body: bytes) -> Any:
        return passed_on(request, bytes([body[0] ^ 1]) + body[1:] if body else body)

    proxy._passed_on = damaged  # type: ignore[method-assign]
    with pytest.raises(StoreError) as caught:
        store.put_new(NAME, b"x" * 100)
    assert caught.value.retryable
    assert list(open_object_store(store.url, s3_server.options()).list("")) == []


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
@pytest.mark.fault("S9")
def test_s9_request_that_stalls_is_given_up_and_made_again(behind: Behind, method: str) -> None:
    _, store = behind(Stall(60), only=method, timeout_seconds=1.5)
    began = time.monotonic()
    patient = at_once(store)
    patient.put_new(NAME, b"x")
    assert patient.head(NAME).size == 1
    assert patient.get(NAME, 0, 1) == b"x"
    assert 1.5 < time.monotonic() - began < 28


def test_a_store_that_was_never_reached_is_given_up_soon(s3_server: S3Server) -> None:
    store = open_object_store("s3://bucket/x", s3_server.options(endpoint="http://127.0.0.1:1"))
    waits: list[float] = []
    with pytest.raises(StoreUnavailable, match="no connection"):
        RetryingStore(store, tries=100, first_tries=3, pause=waits.append).head(NAME)
    assert len(waits) == 2


def test_no_error_repeats_what_a_service_or_its_address_says(behind: Behind) -> None:
    _, store = behind(*[Answer(403, "SignatureDoesNotMatch")] * 2, Answer(500, "canary-in-a-body"))
    for _ in range(3):
        with pytest.raises(KafkeepError) as caught:
            store.get(NAME)
        error: BaseException | None = caught.value
        assert error is not None and error.__cause__ is None and error.__suppress_context__
        assert "http" not in str(error)


def test_packs_wait_in_a_file_without_a_name(s3_server: S3Server, tmp_path: Path) -> None:
    store = s3_server.store(spool_folder=str(tmp_path))
    with store.open_new() as upload:
        upload.write(b"x" * 10_000_000)
        assert list(tmp_path.iterdir()) == []
        upload.publish(NAME)
    assert store.head(NAME).size == 10_000_000


def test_a_spool_folder_that_cannot_be_written_is_an_error_of_the_store(s3_server: S3Server, tmp_path: Path) -> None:
    store = s3_server.store(spool_folder=str(tmp_path / "absent"))
    with store.open_new() as upload, pytest.raises(StoreError, match="cannot keep an upload"):
        upload.write(b"x" * 10_000_000)
