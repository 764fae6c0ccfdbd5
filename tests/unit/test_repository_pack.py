"""Packs: what is written, what is kept of it, what is refused."""

from __future__ import annotations

import random

import pytest
from tests.support.batches import old_message
from tests.support.repositories import CODEC_LZ4, Clock, batch, generation, noise

from kafkeep.errors import CorruptBatch, CorruptionError, CorruptObject
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import AbortedTransaction, BatchInfo, OffsetRange, PackRef
from kafkeep.repository import layout, pack
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import canonical
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.names import parse_pack_name
from kafkeep.repository.nouns import encode_facts
from kafkeep.repository.pack import PackWriter, place_of_run
from kafkeep.repository.reader import PackReader
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore, RetryingStore

pytestmark = pytest.mark.usefixtures("either_way")

ORDERS, PAYMENTS = generation("orders"), generation("payments", 7)


def document(*, compression: str = "zstd", chunk_bytes: int = 1000, pack_bytes: int = 100_000) -> RepositoryDocument:
    return RepositoryDocument(
        id="ab" * 16,
        created="2026-11-20T10:00:00.000Z",
        compression=compression,
        chunk_bytes=chunk_bytes,
        pack_bytes=pack_bytes,
    )


def writer(store: Store, about: RepositoryDocument | None = None) -> PackWriter:
    return PackWriter(
        store.open_new(), document() if about is None else about, epoch=3, now=Clock(), rng=random.Random(1)
    )


def add(target: PackWriter, *batches: bytes) -> None:
    data = memoryview(b"".join(batches))
    infos, used = walk(data)
    assert used == len(data)
    target.append(data, infos)


def entry(found: PackRef) -> PackEntry:
    return PackEntry(found.name, found.size, found.blake3, found.epoch, 1, found.run_refs())


def read(store: Store, found: PackRef, index: int, start: int | None = None, stop: int | None = None) -> list[bytes]:
    reader = PackReader(store, "ab" * 16)
    return [bytes(chunk) for chunk in reader.read(entry(found), found.run_refs()[index], start, stop)]


def test_batches_come_back_as_they_went_in() -> None:
    for compression in ("none", "zstd"):
        store = MemoryStore()
        batches = [batch(offset, 3, size=200) for offset in range(0, 60, 3)]
        with writer(store, document(compression=compression)) as target:
            target.begin_run(ORDERS, 0)
            add(target, *batches)
            target.end_run(60)
            target.begin_run(PAYMENTS, 100)
            add(target, noise(100, 400))
            target.end_run(105)
            found = target.finish()
        assert b"".join(read(store, found, 0)) == b"".join(batches)
        assert b"".join(read(store, found, 1)) == noise(100, 400)
        name = parse_pack_name(found.name)
        assert name is not None
        assert (name.epoch, name.h16) == (3, found.blake3[:16])
        assert found.size == store.head(found.name).size
        assert [facts.coverage for facts in found.runs] == [OffsetRange(0, 60), OffsetRange(100, 105)]


def test_facts_tell_what_the_headers_say() -> None:
    with writer(MemoryStore()) as target:
        target.begin_run(ORDERS, 10)
        add(
            target,
            batch(10, 2, base_timestamp=50, max_timestamp=70, leader_epoch=4),
            batch(12, 1, base_timestamp=-5, max_timestamp=60, leader_epoch=4, attributes=0x08),
            batch(13, 1, base_timestamp=1, max_timestamp=999, leader_epoch=6, attributes=0x20, size=500),
            batch(
                20, 5, base_timestamp=40, max_timestamp=80, leader_epoch=6, attributes=CODEC_LZ4, last_offset_delta=9
            ),
        )
        aborted = [AbortedTransaction(9, 12), AbortedTransaction(8, 11), AbortedTransaction(9, 12)]
        facts = target.end_run(31, aborted=aborted, open_transactions=[AbortedTransaction(1, 20)])
    assert facts is not None
    assert facts.coverage == OffsetRange(10, 31)
    assert facts.leader_epochs == ((4, 10), (6, 13))
    assert (facts.batches, facts.records, facts.control_batches) == (4, 8, 1)
    assert (facts.min_base_timestamp, facts.max_timestamp) == (-5, 80)
    assert (facts.log_append_time, facts.create_time) == (True, True)
    assert (facts.codecs, facts.holes, facts.old_magic) == ((0, CODEC_LZ4), True, False)
    assert facts.largest_batch == 561
    assert facts.raw_bytes == 4 * 61 + 3 * 100 + 500
    assert facts.aborted == (AbortedTransaction(8, 11), AbortedTransaction(9, 12))
    assert facts.open_transactions == (AbortedTransaction(1, 20),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"attributes": 0x40}, True), ({"record_count": 2}, True), ({}, False), ({"attributes": 0x20}, False)],
)
def test_holes_are_batches_that_a_client_could_not_produce(change: dict[str, int], expected: bool) -> None:
    with writer(MemoryStore()) as target:
        target.begin_run(ORDERS, 0)
        add(target, batch(0, 3, **change))
        facts = target.end_run(3)
    assert facts is not None
    assert facts.holes is expected


def test_old_batches_are_told_apart() -> None:
    store = MemoryStore()
    with writer(store) as target:
        target.begin_run(ORDERS, 0)
        add(target, old_message(0, b"k", b"v", magic=1, timestamp=5), batch(1))
        facts = target.end_run(4)
        found = target.finish()
    assert facts is not None
    assert facts.old_magic
    assert len(b"".join(read(store, found, 0))) == facts.raw_bytes


def test_a_run_without_batches_is_kept_for_its_coverage() -> None:
    store = MemoryStore()
    with writer(store) as target:
        target.begin_run(ORDERS, 5)
        facts = target.end_run(9)
        found = target.finish()
    assert facts is not None
    assert (facts.batches, facts.records, facts.min_base_timestamp, facts.max_timestamp) == (0, 0, -1, -1)
    assert read(store, found, 0) == []


def test_a_run_without_coverage_is_dropped_and_a_pack_without_runs_not_stored() -> None:
    store = MemoryStore()
    target = writer(store)
    target.begin_run(ORDERS, 5)
    assert target.end_run(5) is None
    found = target.finish()
    assert (found.runs, found.size) == ((), 0)
    assert store.objects == {}


def test_chunks_end_at_batches_and_aim_at_their_size() -> None:
    store = MemoryStore()
    big = noise(30, 5000)
    with writer(store, document(compression="none")) as target:
        target.begin_run(ORDERS, 0)
        add(target, *(noise(offset, 239) for offset in range(10)))
        add(target, big)
        add(target, noise(31, 100))
        target.end_run(32)
        found = target.finish()
    chunks = read(store, found, 0)
    assert [len(chunk) for chunk in chunks] == [900, 900, 900, 300, 5061, 161]
    assert all(walk(memoryview(chunk))[1] == len(chunk) for chunk in chunks)


def test_where_batches_come_to_lie_is_known_before() -> None:
    store = MemoryStore()
    with writer(store, document(compression="none")) as target:
        places = [place_of_run(0, 0, ORDERS, 0)]
        assert places == [target.place_in(ORDERS, 0)]
        target.begin_run(ORDERS, 0)
        add(target, *(batch(offset, 3, size=300) for offset in range(0, 12, 3)))
        places.append(target.place_in(ORDERS, 12))
        add(target, batch(12, 3, size=3000))
        places.append(target.place_in(PAYMENTS, 100))
        target.end_run(15)
        assert places[-1] == target.place_in(PAYMENTS, 100)
        target.begin_run(PAYMENTS, 100)
        add(target, batch(100, 3))
        target.end_run(103)
        found = target.finish()
    data = store.get(found.name)
    for place, stored in zip(places, (batch(0, 3, size=300), batch(12, 3, size=3000), batch(100, 3)), strict=True):
        assert data[place : place + len(stored)] == stored


def test_a_range_reads_only_the_chunks_it_needs() -> None:
    store = MemoryStore()
    with writer(store, document(compression="none")) as target:
        target.begin_run(ORDERS, 0)
        add(target, *(noise(offset, 839) for offset in range(10)))
        add(target, noise(20, 839))
        target.end_run(30)
        found = target.finish()
    assert read(store, found, 0, 3, 5) == [noise(3, 839), noise(4, 839)]
    assert read(store, found, 0, 9, 10) == [noise(9, 839)]
    # the offsets between two chunks belong to the one behind them, whose header may not tell how far back it reaches
    assert read(store, found, 0, 10, 11) == [noise(20, 839)]
    assert read(store, found, 0, 20, None) == [noise(20, 839)]
    assert read(store, found, 0, 21, 30) == []


def test_only_chunks_of_uncompressed_batches_are_compressed() -> None:
    store = MemoryStore()
    stubborn = noise(
        15, 500, base_timestamp=0x123456789ABCDEF, max_timestamp=0xFEDCBA987654321, producer_id=0x5F3759DF1234
    )
    with writer(store, document(chunk_bytes=600)) as target:
        target.begin_run(ORDERS, 0)
        add(target, batch(0, size=400))
        add(target, batch(3, size=400, attributes=CODEC_LZ4))
        add(target, batch(6, size=100), batch(9, size=100, attributes=CODEC_LZ4), batch(12, size=100))
        add(target, stubborn)
        target.end_run(20)
        found = target.finish()
    footer = PackReader(store, "ab" * 16).footer(entry(found))
    assert [(chunk.codec, chunk.raw_length) for chunk in footer.runs[0].chunks] == [
        (1, 461),
        (0, 461),
        (0, 483),
        (0, 561),
    ]
    assert footer.runs[0].chunks[0].stored_length < 200
    assert len(b"".join(read(store, found, 0))) == 461 + 461 + 483 + 561


def test_a_compressor_that_errs_stops_the_pack_before_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    class Lying:
        def __init__(self, level: int) -> None:
            self._honest = real(level=level)

        def compress(self, data: bytearray) -> bytes:
            data = bytearray(data)
            data[len(data) // 2] ^= 1
            return self._honest.compress(data)

    real = pack.zstandard.ZstdCompressor
    monkeypatch.setattr(pack.zstandard, "ZstdCompressor", Lying)
    with writer(store) as target:
        target.begin_run(ORDERS, 0)
        add(target, batch(0, size=500))
        with pytest.raises(CorruptionError, match="memory"):
            target.end_run(3)
    assert store.objects == {}


@pytest.mark.parametrize(
    "batches",
    [
        [batch(10), batch(10)],
        [batch(10), batch(12)],
        [batch(10), batch(5)],
        [batch(0)],
        [batch(7, 3)],
    ],
)
def test_batches_that_do_not_rise_from_the_start_are_refused(batches: list[bytes]) -> None:
    with writer(MemoryStore()) as target:
        target.begin_run(ORDERS, 10)
        with pytest.raises(CorruptBatch, match="orders/0"):
            for one in batches:
                add(target, one)


def test_refused_across_pieces_of_one_append() -> None:
    data = batch(10) + batch(5)
    infos = [walk(memoryview(part))[0][0] for part in (batch(10), batch(5))]
    with writer(MemoryStore()) as target:
        target.begin_run(ORDERS, 10)
        with pytest.raises(CorruptBatch):
            target.append(memoryview(data), infos)


def test_the_first_batch_may_begin_before_the_coverage() -> None:
    with writer(MemoryStore()) as target:
        target.begin_run(ORDERS, 10)
        add(target, batch(8, 3))
        facts = target.end_run(11)
    assert facts is not None
    assert facts.coverage == OffsetRange(10, 11)


def test_misuse_is_a_value_error() -> None:
    target = writer(MemoryStore())
    info = BatchInfo(0, 149, 1, 2, 0, 0, 2, 0, 0, -1, -1, -1, 3)
    with pytest.raises(ValueError, match="no run is open"):
        target.append(memoryview(b"x"), [info])
    with pytest.raises(ValueError, match="no run is open"):
        target.end_run(1)
    for bad in (generation("a/../b"), generation(""), generation(".."), generation("a", -1), generation(topic_id="x")):
        with pytest.raises(ValueError, match="not a generation"):
            target.begin_run(bad, 0)
    target.begin_run(ORDERS, 0)
    with pytest.raises(ValueError, match="a run begins only"):
        target.begin_run(PAYMENTS, 0)
    with pytest.raises(ValueError, match="headers tell of"):
        target.append(memoryview(batch(0))[:-1], [info])
    add(target, batch(0))
    with pytest.raises(ValueError, match="its batches reach 3"):
        target.end_run(2)
    with pytest.raises(ValueError, match="no run open"):
        target.finish()
    target.discard()


def test_a_pack_keeps_to_its_limit_except_for_a_single_batch() -> None:
    store = MemoryStore()
    about = document(compression="none", pack_bytes=100_000)
    target = writer(store, about)
    assert target.fits(500_000)
    target.begin_run(ORDERS, 0)
    add(target, noise(0, 40_000))
    assert target.fits(20_000)
    assert not target.fits(60_000)
    with pytest.raises(ValueError, match="no room"):
        add(target, noise(1, 60_000))
    target.end_run(1)
    told = target.size
    found = target.finish()
    assert found.size <= told <= about.pack_bytes
    target = writer(store, about)
    target.begin_run(ORDERS, 0)
    with pytest.raises(ValueError, match="no room"):
        add(target, noise(0, 60_000), noise(1, 60_000))
    add(target, noise(0, 200_000))
    target.end_run(1)
    assert target.finish().size > 200_000


def test_a_pack_of_many_small_runs_is_full_before_its_commit_is() -> None:
    store = MemoryStore()
    target = writer(store, document(pack_bytes=200_000))
    number = 0
    while target.fits(161):
        target.begin_run(generation("topic-with-a-name-of-some-length", number), 0)
        add(target, noise(0, 100))
        target.end_run(1)
        number += 1
    found = target.finish()
    assert number > 30
    facts = b"".join(canonical(encode_facts(facts)) for facts in found.runs)
    assert found.size + len(facts) < 200_000


def test_a_lost_answer_to_the_last_step_is_no_failure() -> None:
    inner = MemoryStore()
    with writer(RetryingStore(FaultyStore.failing(inner, every=2, applied=True), pause=lambda seconds: None)) as target:
        target.begin_run(ORDERS, 0)
        add(target, batch(0))
        target.end_run(3)
        found = target.finish()
    assert list(inner.objects) == [found.name]


def test_every_byte_belongs_to_a_part_of_the_layout() -> None:
    store = MemoryStore()
    with writer(store) as target:
        for of in (ORDERS, PAYMENTS):
            target.begin_run(of, 0)
            add(target, *(batch(offset, size=400) for offset in range(0, 30, 3)))
            target.end_run(30)
        found = target.finish()
    data = store.get(found.name)
    footer = PackReader(store, "ab" * 16).footer(entry(found))
    built = layout.encode_header("ab" * 16, 3)
    for index, run in enumerate(footer.runs):
        built += layout.encode_run_header(index, run.facts.generation, 0)
        for chunk in run.chunks:
            built += data[len(built) : len(built) + chunk.stored_length]
    foot = layout.encode_footer(footer.runs)
    root = layout.pack_root(layout.encode_header("ab" * 16, 3), foot)
    assert data == built + foot + layout.encode_trailer(len(built), len(foot), root)
    assert root.hex() == found.blake3


def test_a_read_damaged_on_its_way_is_read_again_and_lasting_damage_is_not_handed_out() -> None:
    store = MemoryStore()
    with writer(store, document(compression="none")) as target:
        target.begin_run(ORDERS, 0)
        add(target, *(noise(offset, 839) for offset in range(3)))
        target.end_run(3)
        found = target.finish()
    reads: list[str] = []

    def once(name: str, data: bytes) -> bytes:
        reads.append(name)
        return data if len(reads) != 3 else data[:100] + b"\xff\x00" + data[102:]

    chunks = read(FaultyStore(store, damage=once), found, 0)
    assert chunks == [noise(offset, 839) for offset in range(3)]
    damaged = bytearray(store.objects[found.name])
    place = damaged.index(noise(1, 839)[100:200])
    damaged[place] ^= 1
    store.objects[found.name] = bytes(damaged)
    handed: list[bytes] = []
    with pytest.raises(CorruptObject, match=r"orders/0 \[0, 3\): chunk \[1, 2\)") as raised:
        handed.extend(
            bytes(chunk) for chunk in PackReader(store, "ab" * 16).read(entry(found), found.run_refs()[0], None, None)
        )
    assert found.name in raised.value.message
    assert raised.value.exit_code == 20
    assert handed == [noise(0, 839)]


def test_a_missing_pack_is_corruption() -> None:
    store = MemoryStore()
    with writer(store) as target:
        target.begin_run(ORDERS, 0)
        target.end_run(3)
        found = target.finish()
    store.delete(found.name)
    with pytest.raises(CorruptObject, match="missing"):
        read(store, found, 0)
