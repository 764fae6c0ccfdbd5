"""Level `data`: what digests cannot tell, because it was stored that way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.batches import patched
from tests.support.repositories import (
    Clock,
    Journal,
    Piece,
    backup,
    batch,
    draft,
    generation,
    opened,
    piece,
    write_pack,
)

from kafkeep.errors import RepositoryNotFound, UnknownFormat
from kafkeep.events import Event, Progress, WorkPlanned
from kafkeep.model import ChunkRef, OffsetRange, RunFacts
from kafkeep.repository import layout
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.names import REPOSITORY, log_name, pack_name, ulid
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.report import Finding
from kafkeep.verify.run import verify

ORDERS = generation("orders")


def rewritten(
    *, facts: dict[str, object] | None = None, chunk: dict[str, object] | None = None, raw: bytes | None = None
) -> tuple[MemoryStore, Repository]:
    """A repository whose only pack was written wrongly, with every digest right."""
    store = MemoryStore()
    repository = Journal(store, compression="none").create()
    backup(repository, [piece(ORDERS, 0, 3)])
    (entry,) = repository.state.packs
    data = store.objects.pop(entry.name)
    position, length, _ = layout.decode_trailer(data[-layout.TRAILER_SIZE :], len(data), "pack")
    (run,) = layout.decode_footer(data[position : position + length], position, "pack").runs
    (old,) = run.chunks
    stored = data[old.position : old.position + old.stored_length] if raw is None else raw
    lengths = {"stored_length": len(stored), "raw_length": len(stored), "blake3": digest(stored)}
    new: ChunkRef = replace(old, **(lengths | (chunk or {})))  # type: ignore[arg-type]
    told: RunFacts = replace(
        run.facts,
        **({"blake3": layout.run_digest([new]), "stored_bytes": len(stored)} | (facts or {})),  # type: ignore[arg-type]
    )
    header = data[: layout.HEADER_SIZE]
    body = header + layout.encode_run_header(0, told.generation, told.coverage.start) + stored
    footer = layout.encode_footer([layout.RunIndex(told, run.position, (new,))])
    root = layout.pack_root(header, footer)
    whole = body + footer + layout.encode_trailer(len(body), len(footer), root)
    name = pack_name(0, ulid(Clock()(), b"0" * 10), root.hex())
    store.objects[name] = whole
    value = unwrap(store.objects[log_name(1)], Kind.COMMIT, "commit 1")
    named = value["body"]["packs"][0]  # type: ignore[index, call-overload]
    encoded = unwrap(footer, Kind.FOOTER, "footer")["runs"][0]  # type: ignore[index, call-overload]
    del encoded["chunks"], encoded["position"]
    named.update(name=name, size=len(whole), blake3=root.hex(), runs=[encoded | {"index": 0}])
    store.objects[log_name(1)] = wrap(Kind.COMMIT, value)
    return store, Repository.open(store, now=Clock(), rng=_Dice())


class _Dice:
    def randbytes(self, n: int, /) -> bytes:
        return b"\x07" * n


def test_the_forger_of_these_tests_makes_clean_packs_too() -> None:
    store, _ = rewritten()
    assert verify(store, level="data").findings == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batches", 4),
        ("records", 8),
        ("control_batches", 1),
        ("raw_bytes", 1),
        ("stored_bytes", 1),
        ("min_base_timestamp", 5),
        ("max_timestamp", 5),
        ("log_append_time", True),
        ("create_time", False),
        ("largest_batch", 1),
        ("codecs", (1,)),
        ("holes", True),
        ("old_magic", True),
        ("leader_epochs", ((2, 0),)),
    ],
)
def test_run_facts_that_are_not_those_of_the_batches_are_found(field: str, value: object) -> None:
    store, _ = rewritten(facts={field: value})
    assert verify(store, level="objects").findings == ()
    (finding,) = verify(store, level="data").findings
    assert field in finding.what
    assert (finding.generation, finding.coverage) == (ORDERS, OffsetRange(0, 9))


@pytest.mark.parametrize(
    ("facts", "chunk", "what"),
    [
        ({"blake3": "0" * 64}, {}, "does not match the digests of its chunks"),
        ({}, {"position": 0}, "is said to be at 0"),
    ],
)
def test_a_footer_that_contradicts_itself_is_found(
    facts: dict[str, object], chunk: dict[str, object], what: str
) -> None:
    store, _ = rewritten(facts=facts, chunk=chunk)
    (finding,) = verify(store, level="objects").findings
    assert what in finding.what
    assert (finding.generation, finding.coverage) == (ORDERS, OffsetRange(0, 9))


def test_coverage_shorter_than_its_batches_is_found() -> None:
    store, _ = rewritten(facts={"coverage": OffsetRange(0, 8)})
    store.objects[log_name(1)] = _point_removed(store.objects[log_name(1)])
    (finding,) = verify(store, level="data").findings
    assert "coverage" in finding.what


def _point_removed(data: bytes) -> bytes:
    value = unwrap(data, Kind.COMMIT, "commit 1")
    value["kind"] = "add"  # type: ignore[index, call-overload]
    return wrap(Kind.COMMIT, value)


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": OffsetRange(0, 8)},
        {"offsets": OffsetRange(1, 9)},
        {"max_timestamp": 1},
        {"batches": 2},
        {"records": 3},
        {"raw_length": 99},
        {"codec": 7},
        {"codec": 1},
    ],
)
def test_a_chunk_index_that_is_not_that_of_the_chunk_is_found(change: dict[str, object]) -> None:
    store, _ = rewritten(chunk=change)
    findings = verify(store, level="data").findings
    assert [(found.generation, found.coverage) for found in findings] == [(ORDERS, OffsetRange(0, 9))]


BATCHES = [batch(0), batch(3), batch(6)]


@pytest.mark.parametrize(
    "raw",
    [
        b"".join(BATCHES)[:-1],
        b"".join(BATCHES) + b"\0",
        BATCHES[0] + BATCHES[2] + BATCHES[1],
        BATCHES[0] + BATCHES[0] + BATCHES[1],
        BATCHES[0] + patched(BATCHES[1], crc=5) + BATCHES[2],
        BATCHES[0] + patched(BATCHES[1], base_offset=99) + BATCHES[2],
        b"\0" * 300,
    ],
)
def test_batches_that_are_not_whole_in_order_and_checked_are_found(raw: bytes) -> None:
    store, _ = rewritten(raw=raw)
    assert verify(store, level="objects").findings == ()
    (finding,) = verify(store, level="data").findings
    assert (finding.generation, finding.coverage) == (ORDERS, OffsetRange(0, 9))


def test_batches_before_the_coverage_are_found() -> None:
    store, _ = rewritten(raw=b"".join(BATCHES), facts={"coverage": OffsetRange(3, 9)})
    commit = unwrap(store.objects[log_name(1)], Kind.COMMIT, "commit 1")
    commit["body"]["opened"][0]["start"] = 3  # type: ignore[index, call-overload]
    commit["kind"] = "add"  # type: ignore[index, call-overload]
    store.objects[log_name(1)] = wrap(Kind.COMMIT, commit)
    report = verify(store, level="data")
    assert report.alarms == ()
    assert len(report.findings) == 1


def test_only_what_is_damaged_is_reported() -> None:
    store = MemoryStore()
    repository = Journal(store, compression="none", chunk_bytes=170).create()
    backup(repository, [piece(ORDERS, 0, 5), piece(generation("other"), 0, 5)])
    (entry,) = repository.state.packs
    data = bytearray(store.objects[entry.name])
    data[data.index(batch(6)) + 80] ^= 1
    store.objects[entry.name] = bytes(data)
    for level in ("objects", "data"):
        assert [(found.generation, found.coverage) for found in verify(repository, level=level).findings] == [
            (ORDERS, OffsetRange(6, 9))
        ]


def test_runs_that_lost_a_race_lie_in_a_clean_pack() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    backup(repository, [piece(ORDERS, 0, 1)])
    other = generation("other")
    pack = write_pack(repository, [piece(ORDERS, 0, 1), piece(other, 0, 2)])
    outcome = repository.commit(draft(packs=[pack], open_=opened(other)))
    assert [run.index for run in outcome.accepted_runs] == [1]
    assert verify(repository, level="data").findings == ()


def test_progress_adds_up_to_what_was_planned() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    for number in range(4):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    heard: list[Event] = []
    report = verify(repository, level="data", sink=heard.append)
    (planned,) = [event for event in heard if isinstance(event, WorkPlanned)]
    steps = [event for event in heard if isinstance(event, Progress)]
    assert planned.size_bytes == sum(step.size_bytes for step in steps) == sum(e.size for e in repository.state.packs)
    assert sum(step.records for step in steps) == 12
    assert report.bytes >= (planned.size_bytes or 0)
    assert report.objects == 1 + 5 + 4 + 1


def test_what_is_no_repository_or_not_ours_to_judge_is_said_so() -> None:
    with pytest.raises(RepositoryNotFound):
        verify(MemoryStore())
    store = MemoryStore()
    Journal(store).create()
    value = unwrap(store.objects[REPOSITORY], Kind.REPOSITORY, "document")
    value["features_required"]["verify"] = ["sealed-packs"]  # type: ignore[index, call-overload]
    store.objects[REPOSITORY] = wrap(Kind.REPOSITORY, value)
    with pytest.raises(UnknownFormat, match="sealed-packs"):
        verify(store)


def test_a_damaged_chain_is_a_finding_and_what_lies_before_it_is_still_checked() -> None:
    store = MemoryStore()
    repository = Journal(store).create()
    for number in range(3):
        backup(repository, [piece(ORDERS, number * 3, 1)])
    first = next(iter(repository.state.packs))
    del store.objects[first.name]
    store.objects[log_name(2)] = store.objects[log_name(2)][:-1] + b"\0"
    findings = verify(store, level="objects").findings
    assert [found.object for found in findings] == [log_name(2), first.name]


def test_a_pack_is_read_forward_in_pieces_and_not_kept_whole() -> None:
    store = MemoryStore()
    repository = Journal(store, compression="none", chunk_bytes=1 << 20).create()
    part = Piece(ORDERS, 0, 300, tuple(batch(offset, 3, size=100_000) for offset in range(0, 300, 3)))
    backup(repository, [part])
    assert verify(repository, level="data").findings == ()
    assert isinstance(verify(repository).findings, tuple)
    assert Finding("x", "y").coverage is None
