"""Packs of any batches: what comes out is what went in, and the facts are those of a plain count."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.batches import around
from tests.support.repositories import Clock, Journal, Piece, cut, draft, opened, write_pack

from kafkeep.errors import KafkeepError
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import AbortedTransaction, BatchInfo, Generation, OffsetRange, RunFacts
from kafkeep.repository import layout
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.envelope import Kind, unwrap
from kafkeep.repository.format import RepositoryDocument, read_slot
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.reader import PackReader
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

pytestmark = pytest.mark.usefixtures("either_way")

ID = "cd" * 16
INT32, INT64 = 2**31 - 1, 2**63 - 1
timestamps = st.one_of(st.integers(-(2**63), INT64), st.integers(-5, 5), st.just(253402300799999))


@st.composite
def batches(draw: st.DrawFn, start: int) -> tuple[bytes, int]:
    """A batch at or after `start`, and the offset behind it."""
    base = start + draw(st.integers(0, 3))
    delta = draw(st.integers(0, 4))
    payload = draw(st.one_of(st.binary(max_size=60), st.integers(0, 900).map(lambda size: b"x" * size)))
    data = around(
        payload,
        base_offset=base,
        last_offset_delta=delta,
        record_count=draw(st.integers(0, delta + 1)),
        leader_epoch=draw(st.sampled_from([-1, 0, 1, 7, INT32])),
        attributes=draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 0x08, 0x10, 0x20, 0x30, 0x40, 0x0B])),
        base_timestamp=draw(timestamps),
        max_timestamp=draw(timestamps),
        producer_id=draw(st.integers(-1, INT64)),
    )
    return data, base + delta + 1


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    topic = draw(st.text("abcXYZ._-09", min_size=1, max_size=8).filter(lambda text: text not in (".", "..")))
    start = offset = draw(st.one_of(st.integers(0, 10), st.integers(0, 2**62)))
    made = []
    for _ in range(draw(st.integers(0, 8))):
        data, offset = draw(batches(offset))
        made.append(data)
    stop = offset + draw(st.integers(0, 3))
    transactions = st.lists(
        st.builds(AbortedTransaction, st.integers(0, INT64), st.integers(0, INT64)), max_size=3, unique=True
    )
    of = Generation(topic, "A" * 22, draw(st.integers(0, INT32)), draw(st.integers(0, 3)))
    return Piece(of, start, stop, tuple(made), tuple(draw(transactions)))


def plain_facts(part: Piece, facts: RunFacts) -> RunFacts:
    """The same by counting one batch after the other; digest and stored size are taken as they are."""
    infos: list[BatchInfo] = [walk(memoryview(one))[0][0] for one in part.batches]
    data = [info for info in infos if not info.is_control]
    epochs: list[tuple[int, int]] = []
    for info in infos:
        if not epochs or epochs[-1][0] != info.leader_epoch:
            epochs.append((info.leader_epoch, info.base_offset))
    return RunFacts(
        generation=part.generation,
        coverage=OffsetRange(part.start, part.stop),
        leader_epochs=tuple(epochs),
        batches=len(infos),
        records=sum(info.record_count for info in data),
        control_batches=len(infos) - len(data),
        raw_bytes=sum(len(one) for one in part.batches),
        stored_bytes=facts.stored_bytes,
        min_base_timestamp=min((info.base_timestamp for info in data), default=-1),
        max_timestamp=max((info.max_timestamp for info in data), default=-1),
        log_append_time=any(info.is_log_append_time for info in data),
        create_time=any(not info.is_log_append_time for info in data),
        largest_batch=max((info.size for info in infos), default=0),
        codecs=tuple(sorted({info.codec for info in data})),
        aborted=tuple(sorted(part.aborted)),
        open_transactions=(),
        holes=any(info.has_holes or info.attributes & 0x40 for info in data),
        old_magic=False,
        blake3=facts.blake3,
    )


@settings(deadline=None)
@given(
    st.lists(pieces(), max_size=4),
    st.sampled_from(["none", "zstd"]),
    st.integers(1, 2000),
    st.integers(1, 4),
    st.data(),
)
def test_what_goes_in_comes_out_in_whole_batches(
    parts: Sequence[Piece], compression: str, chunk_bytes: int, portion: int, data: st.DataObject
) -> None:
    store = MemoryStore()
    about = RepositoryDocument(
        id=ID, created="2026-11-20T10:00:00Z", compression=compression, chunk_bytes=chunk_bytes, pack_bytes=10**7
    )
    writer = PackWriter(store.open_new(), about, epoch=5, now=Clock(), rng=random.Random(1))
    kept = []
    for part in parts:
        writer.begin_run(part.generation, part.start)
        for first in range(0, len(part.batches), portion):
            view = memoryview(b"".join(part.batches[first : first + portion]))
            writer.append(view, walk(view)[0])
        facts = writer.end_run(part.stop, aborted=part.aborted)
        assert (facts is None) == (part.stop == part.start)
        if facts is not None:
            assert facts == plain_facts(part, facts)
            kept.append(part)
    found = writer.finish()
    assert [facts.generation for facts in found.runs] == [part.generation for part in kept]
    if not kept:
        assert store.objects == {}
        return
    reader = PackReader(store, ID)
    entry = PackEntry(found.name, found.size, found.blake3, 5, 1, found.run_refs())
    for run, part in zip(found.run_refs(), kept, strict=True):
        chunks = [bytes(chunk) for chunk in reader.read(entry, run, None, None)]
        assert b"".join(chunks) == b"".join(part.batches)
        assert all(len(chunk) <= chunk_bytes or len(walk(memoryview(chunk))[0]) == 1 for chunk in chunks)
        start = data.draw(st.integers(part.start, part.stop))
        stop = data.draw(st.integers(start, part.stop))
        some = b"".join(bytes(chunk) for chunk in reader.read(entry, run, start, stop))
        for one in part.batches:
            (info,), _ = walk(memoryview(one))
            if start < stop and info.base_offset < stop and info.next_offset > start:
                assert one in some
        assert len(some) <= sum(map(len, part.batches))


@settings(deadline=None)
@given(st.lists(pieces(), min_size=1, max_size=3, unique_by=lambda part: part.generation.topic_partition))
def test_any_pack_passes_verify_and_is_read_back_through_a_repository(parts: Sequence[Piece]) -> None:
    store = MemoryStore()
    repository = Journal(store, chunk_bytes=300).create()
    pack = write_pack(repository, parts)
    fresh = [one for part in parts for one in opened(part.generation, start=part.start)]
    cuts = [cut(part.generation, part.stop, part.start) for part in parts]
    outcome = repository.commit(draft(packs=[pack] if pack.runs else [], open_=fresh, cuts=cuts))
    assert outcome.dropped_runs == ()
    assert outcome.point is not None
    assert verify(store, level="data", workers=1).findings == ()
    for view, part in zip(
        repository.view(outcome.point).partitions, sorted(parts, key=lambda p: p.generation), strict=True
    ):
        assert b"".join(bytes(c) for run in view.runs for c in repository.read_run(run)) == b"".join(part.batches)


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**40))
def test_parsers_of_packs_raise_only_errors_of_ours(data: bytes, size: int) -> None:
    tail = data[-layout.TRAILER_SIZE :]
    for parse in (
        lambda: layout.decode_trailer(tail, size, "it"),
        lambda: layout.decode_footer(data, size, "it"),
        lambda: layout.check_header(data, ID, 0, "it"),
        lambda: unwrap(data, Kind.COMMIT, "it"),
        lambda: read_slot(data, 1, "0" * 64, "it"),
    ):
        try:
            parse()
        except KafkeepError:
            continue
