"""One suite over every store and every wrapper: what `repository.stores.base` promises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.versitygw import S3Server

from kafkeep.errors import ObjectExists, ObjectNotFound
from kafkeep.repository.stores.base import ObjectInfo, Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.single import SingleWriterStore
from kafkeep.repository.stores.wrappers import (
    CountingStore,
    FaultyStore,
    Rate,
    ReadOnlyStore,
    RetryingStore,
    ThrottledStore,
    WrappedStore,
)

HASH = "0123456789abcdef"
STORES: dict[str, Callable[[Path], Store]] = {
    "local": LocalStore,
    "memory": lambda path: MemoryStore(),
    "wrapped": lambda path: WrappedStore(MemoryStore()),
    "retrying": lambda path: RetryingStore(LocalStore(path)),
    "retrying over failures": lambda path: RetryingStore(
        FaultyStore.failing(LocalStore(path), every=2), pause=lambda seconds: None
    ),
    "throttled": lambda path: ThrottledStore(MemoryStore(), upload=Rate(1e9), download=Rate(1e9)),
    "counting": lambda path: CountingStore(MemoryStore()),
    "for one writer": lambda path: SingleWriterStore(LocalStore(path), "one", pause=lambda seconds: None),
    "faulty without faults": lambda path: FaultyStore(LocalStore(path)),
    "wrappers over wrappers": lambda path: CountingStore(
        RetryingStore(ThrottledStore(FaultyStore(MemoryStore()), upload=Rate(1e9)))
    ),
}
BUCKETS: dict[str, Callable[[S3Server], Store]] = {
    "bucket": lambda server: server.store(),
    "whole bucket": lambda server: server.store(""),
    "bucket with other checksums": lambda server: server.store(s3={"checksum": "crc64nvme"}),
    "bucket over one connection": lambda server: server.store(connections=1),
    "retrying over failures of a bucket": lambda server: RetryingStore(
        FaultyStore.failing(server.store(), every=2), pause=lambda seconds: None
    ),
}


@pytest.fixture(params=[*STORES, *BUCKETS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param in BUCKETS:
        return BUCKETS[request.param](request.getfixturevalue("s3_server"))
    return STORES[request.param](tmp_path / "store")


def test_a_new_object_is_read_back_whole_and_in_ranges(store: Store) -> None:
    store.put_new("log/000000000000", b"0123456789")
    assert store.get("log/000000000000") == b"0123456789"
    assert store.get("log/000000000000", 3) == b"3456789"
    assert store.get("log/000000000000", 3, 4) == b"3456"
    assert store.get("log/000000000000", 0, 0) == b""
    assert store.head("log/000000000000") == ObjectInfo("log/000000000000", 10)


def test_ranges_past_the_end_give_what_there_is(store: Store) -> None:
    store.put_new("log/000000000000", b"0123456789")
    assert store.get("log/000000000000", 8, 100) == b"89"
    assert store.get("log/000000000000", 10, 1) == b""
    assert store.get("log/000000000000", 99) == b""


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put_new("log/000000000000", b"")
    assert store.get("log/000000000000") == b""
    assert store.head("log/000000000000").size == 0
    with pytest.raises(ObjectExists):
        store.put_new("log/000000000000", b"")


def test_creating_what_exists_fails_and_keeps_the_first(store: Store) -> None:
    store.put_new("log/000000000000", b"first")
    with pytest.raises(ObjectExists, match="log/000000000000"):
        store.put_new("log/000000000000", b"second")
    with store.open_new() as upload:
        upload.write(b"third")
        with pytest.raises(ObjectExists, match="log/000000000000"):
            upload.publish("log/000000000000")
    assert store.get("log/000000000000") == b"first"


def test_absent_objects_are_not_found(store: Store) -> None:
    for name in ("log/000000000000", "kafkeep.json", f"pack/01/0-{'0' * 26}-{HASH}"):
        with pytest.raises(ObjectNotFound, match=name):
            store.get(name)
        with pytest.raises(ObjectNotFound, match=name):
            store.head(name)


def test_an_upload_takes_its_name_last(store: Store) -> None:
    name = f"pack/01/0-{'0' * 26}-{HASH}"
    pieces = [b"a" * 10, bytearray(b"b" * 300_000), memoryview(b"c" * 2_000_000), b"", b"d"]
    with store.open_new() as upload:
        for piece in pieces:
            upload.write(piece)
        assert list(store.list("")) == []
        upload.publish(name)
    assert store.get(name) == b"".join(pieces)


def test_a_written_buffer_may_be_reused_at_once(store: Store) -> None:
    buffer = bytearray(b"x" * 1000)
    with store.open_new() as upload:
        upload.write(memoryview(buffer))
        buffer[:] = b"y" * 1000
        upload.write(memoryview(buffer))
        upload.publish("log/000000000000")
    assert store.get("log/000000000000") == b"x" * 1000 + b"y" * 1000


def test_a_lent_buffer_may_be_reused_once_it_is_settled(store: Store) -> None:
    buffers = [bytearray(b"%d" % number * 700_000) for number in range(3)]
    expected = b""
    with store.open_new() as upload:
        for _ in range(2):
            for buffer in buffers:
                upload.lend(memoryview(buffer))
                upload.write(b"between")
                expected += bytes(buffer) + b"between"
            upload.settle()
            for buffer in buffers:
                buffer[:] = bytes(reversed(buffer.replace(b"1", b"7")))
        upload.lend(b"last" * 100_000)
        upload.publish("log/000000000000")
    assert store.get("log/000000000000") == expected + b"last" * 100_000


def test_what_is_stored_does_not_change_with_the_callers_buffer(store: Store) -> None:
    buffer = bytearray(b"before")
    store.put_new("log/000000000000", memoryview(buffer))
    buffer[:] = b"after!"
    assert store.get("log/000000000000") == b"before"


def test_an_upload_left_without_a_name_leaves_nothing(store: Store) -> None:
    with store.open_new() as upload:
        upload.write(b"x" * 3_000_000)
    upload.discard()
    assert list(store.list("")) == []


def test_uploads_side_by_side_do_not_mix(store: Store) -> None:
    first, second = store.open_new(), store.open_new()
    for _ in range(5):
        first.write(b"1" * 200_000)
        second.write(b"2" * 200_000)
    second.publish("log/000000000002")
    first.publish("log/000000000001")
    assert store.get("log/000000000001") == b"1" * 1_000_000
    assert store.get("log/000000000002") == b"2" * 1_000_000


def test_listing_is_by_name_and_by_prefix(store: Store) -> None:
    names = ["log/000000000001", "log/000000000000", "doc/ab/" + "ab" * 32, "doc/aa/" + "aa" * 32, "kafkeep.json"]
    for name in names:
        store.put_new(name, name.encode())
    assert [info.name for info in store.list("")] == sorted(names)
    assert list(store.list("log/")) == [ObjectInfo("log/000000000000", 16), ObjectInfo("log/000000000001", 16)]
    assert [info.name for info in store.list("doc/aa/")] == ["doc/aa/" + "aa" * 32]
    assert list(store.list("pack/")) == []


def test_hints_are_the_only_objects_that_change(store: Store) -> None:
    store.put_hint("hint/head", b"1\n")
    store.put_hint("hint/head", b"22\n")
    assert store.get("hint/head") == b"22\n"
    store.put_new("log/000000000000", b"kept")
    with pytest.raises(ValueError, match="hint/"):
        store.put_hint("log/000000000000", b"lost")
    assert store.get("log/000000000000") == b"kept"


def test_deleting_is_done_once_and_may_be_asked_twice(store: Store) -> None:
    store.put_new("log/000000000000", b"x")
    store.delete("log/000000000000")
    store.delete("log/000000000000")
    store.delete("doc/ab/" + "ab" * 32)
    with pytest.raises(ObjectNotFound):
        store.get("log/000000000000")
    store.put_new("log/000000000000", b"again")
    assert store.get("log/000000000000") == b"again"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/log/0",
        "../log/0",
        "log/../kafkeep.json",
        "log/..",
        "log/.hidden",
        "log//0",
        "log/",
        "log",
        "Log/0",
        "log/A",
        "log/a\n",
        "log/a\0b",
        "log/a\\b",
        "tmp/1-1",
        "elsewhere/x",
        "kafkeep.json/x",
        "log/a/b/c/d",
        "log/" + "a" * 300,
        "log/\u202egnp",
    ],
)
@pytest.mark.fault("P5")
def test_bad_names_are_refused_before_anything_is_touched(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        store.put_new(name, b"x")
    with pytest.raises(ValueError, match="not a name"):
        store.get(name)
    with pytest.raises(ValueError, match="not a name"):
        store.head(name)
    with pytest.raises(ValueError, match="not a name"):
        store.delete(name)
    with pytest.raises(ValueError, match="not a name"):
        store.put_hint(name, b"x")
    with store.open_new() as upload, pytest.raises(ValueError, match="not a name"):
        upload.publish(name)
    assert list(store.list("")) == []


@pytest.mark.parametrize("prefix", ["lo", "log", "../", "/", "log/..", "tmp/", "a" * 300])
@pytest.mark.fault("P5")
def test_bad_prefixes_are_refused(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError, match="not a prefix"):
        list(store.list(prefix))


def test_of_many_creators_exactly_one_wins(store: Store) -> None:
    for number in range(10):
        name = f"log/{number:012d}"
        barrier = threading.Barrier(8)
        won: list[bytes] = []

        def create(data: bytes, name: str = name, barrier: threading.Barrier = barrier, won: list[bytes] = won) -> None:
            barrier.wait()
            try:
                store.put_new(name, data)
            except ObjectExists:
                return
            won.append(data)

        threads = [threading.Thread(target=create, args=(b"%d" % index * 1000,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(name) == won[0]


def test_the_url_names_the_place(store: Store) -> None:
    assert store.url.startswith(("file:///", "memory://", "s3://", "gs://", "az://"))


def test_a_closed_store_can_be_used_again(store: Store) -> None:
    store.put_new("log/000000000000", b"x")
    store.close()
    assert store.get("log/000000000000") == b"x"


def test_a_store_for_reading_refuses_every_change() -> None:
    inner = MemoryStore()
    inner.put_new("log/000000000000", b"x")
    store = ReadOnlyStore(inner)
    assert store.get("log/000000000000") == b"x"
    for change in (
        lambda: store.put_new("log/000000000001", b"x"),
        store.open_new,
        lambda: store.put_hint("hint/head", b"1"),
        lambda: store.delete("log/000000000000"),
    ):
        with pytest.raises(Exception, match="reading only"):
            change()
    assert inner.objects == {"log/000000000000": b"x"}
