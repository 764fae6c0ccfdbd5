"""Damage of every kind to every kind of object: verify finds it and names it, reading refuses it."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from tests.support.repositories import (
    CODEC_LZ4,
    Journal,
    backup,
    draft,
    gap,
    generation,
    open_repository,
    piece,
    write_pack,
)
from tests.support.sealed import IDENTITY

from kafkeep.errors import CorruptionError, CorruptObject, KeyRefused, ObjectNotFound
from kafkeep.model import OffsetRange, RunRef
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.keyring import Access
from kafkeep.repository.names import HINT_HEAD, REPOSITORY, log_name
from kafkeep.repository.reader import chunk_coverage, read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.verify.report import LEVELS, Finding
from kafkeep.verify.run import verify

ORDERS, PAYMENTS = generation("orders"), generation("payments", 2)


_KEYS: dict[int, Access] = {}
"""What opens an encrypted repository although its key objects are damaged."""


def remembered(store: MemoryStore, repository: Repository) -> tuple[MemoryStore, Repository]:
    if repository.keyring is not None:
        _KEYS[id(store)] = Access((IDENTITY,), writer_key=repository.keyring.writer_key)
    return store, repository


def small(compression: str = "zstd") -> tuple[MemoryStore, Repository]:
    """Every kind of object, each as small as it gets."""
    store = MemoryStore()
    repository = Journal(store, compression=compression, chunk_bytes=300).create()
    backup(repository, [piece(ORDERS, 0, 2, size=40), piece(PAYMENTS, 0, 1, size=30)], name="first")
    pack = write_pack(repository, [piece(ORDERS, 8, 1, size=30, codec=CODEC_LZ4)])
    repository.commit(draft(packs=[pack], gaps=[gap(ORDERS, 6, 8)]))
    repository.put_audit("verify", {"clean": True})
    repository.put_audit("verify", {"clean": True})
    repository.put_document("offset-map", {"end": 1, "rows": []})
    return remembered(store, repository)


def large() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    repository = Journal(store, chunk_bytes=4000).create()
    pieces = [
        piece(ORDERS, 0, 60, size=700),
        piece(PAYMENTS, 0, 40, size=900, codec=CODEC_LZ4),
        piece(generation("idle"), 5, 0),
        piece(generation("tail"), 0, 30, size=300),
    ]
    backup(repository, [part for part in pieces if part.stop > part.start])
    return remembered(store, repository)


def found_in(store: MemoryStore, level: str = "objects") -> tuple[Finding, ...]:
    return verify(store, level=level, workers=1, access=_KEYS.get(id(store))).findings


def lasting(store: MemoryStore) -> list[str]:
    """Names of all objects that count."""
    return [info.name for info in store.list("") if not info.name.startswith("hint/")]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_single_byte_flip_in_every_object_is_found(compression: str) -> None:
    flip_bytes(compression, every=1)


def flip_bytes(compression: str, *, every: int) -> None:
    store, _ = small(compression)
    assert found_in(store, "data") == ()
    flips = 0
    dice = random.Random(1)
    for name in lasting(store):
        whole = store.objects[name]
        for place in range(0, len(whole), every):
            damaged = bytearray(whole)
            damaged[place] ^= dice.randrange(1, 256)
            store.objects[name] = bytes(damaged)
            findings = found_in(store)
            flips += 1
            assert findings, f"{name} at {place}"
            assert name in {finding.object for finding in findings}, f"{name} at {place}"
        store.objects[name] = whole
    assert flips == sum(-(-len(store.objects[name]) // every) for name in lasting(store))
    assert found_in(store, "data") == ()


def parts_of(
    entry: PackEntry, store: MemoryStore, repository: Repository
) -> list[tuple[int, int, RunRef, OffsetRange]]:
    """Where each chunk lies in the pack, and what it answers for."""
    footer = read_footer(store, entry, repository.id, repository.seal)
    return [
        (
            chunk.position,
            chunk.position + chunk.stored_length,
            entry.runs[index],
            OffsetRange(*chunk_coverage(run, place)),
        )
        for index, run in enumerate(footer.runs)
        for place, chunk in enumerate(run.chunks)
    ]


def test_random_flips_in_packs_are_found_and_named_to_the_chunk() -> None:
    store, repository = large()
    (entry,) = repository.state.packs
    places = parts_of(entry, store, repository)
    whole = store.objects[entry.name]
    dice = random.Random(2)
    for _ in range(1000):
        place = dice.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        store.objects[entry.name] = bytes(damaged)
        findings = found_in(store)
        hit = [(run, coverage) for start, stop, run, coverage in places if start <= place < stop]
        if hit:
            ((run, coverage),) = hit
            assert [(found.object, found.generation, found.coverage) for found in findings] == [
                (entry.name, run.generation, coverage)
            ]
        else:
            assert {found.object for found in findings} == {entry.name}


def test_flips_are_never_handed_to_a_restore() -> None:
    store, repository = large()
    (entry,) = repository.state.packs
    places = parts_of(entry, store, repository)
    intact = {run.index: [bytes(chunk) for chunk in repository.read_run(run)] for run in entry.runs}
    whole = store.objects[entry.name]
    dice = random.Random(3)
    for _ in range(300):
        place = dice.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        store.objects[entry.name] = bytes(damaged)
        hit = [run.index for start, stop, run, _ in places if start <= place < stop]
        fresh = open_repository(store)
        for run in entry.runs:
            handed: list[bytes] = []
            try:
                handed.extend(bytes(chunk) for chunk in fresh.read_run(run))
            except CorruptObject as error:
                assert entry.name in error.message
                assert not hit or run.index in hit
            else:
                assert run.index not in hit
                assert handed == intact[run.index]
            assert handed == intact[run.index][: len(handed)]


def test_truncated_and_lengthened_objects_are_found() -> None:
    store, _ = large()
    small_store, _ = small()
    tried = 0
    for kept in (store, small_store):
        for name in lasting(kept):
            whole = kept.objects[name]
            for part in range(64):
                kept.objects[name] = whole[: len(whole) * part // 64]
                assert name in {finding.object for finding in found_in(kept)}, f"{name} cut at {part}/64"
                tried += 1
            for extra in (b"\0", b"\xff" * 100, whole):
                kept.objects[name] = whole + extra
                assert name in {finding.object for finding in found_in(kept)}, f"{name} and {len(extra)} more bytes"
            kept.objects[name] = whole
    dice = random.Random(4)
    (name,) = [name for name in lasting(store) if name.startswith("pack/")]
    whole = store.objects[name]
    for _ in range(300):
        store.objects[name] = whole[: dice.randrange(len(whole))]
        assert found_in(store)
    assert tried == 64 * (len(lasting(store)) + len(lasting(small_store)))


def test_a_pack_of_another_size_is_found_without_reading_it() -> None:
    store, repository = small()
    for entry in repository.state.packs:
        whole = store.objects[entry.name]
        store.objects[entry.name] = whole[:-1]
        findings = found_in(store, "exist")
        assert [(found.generation, found.coverage) for found in findings] == [
            (run.generation, run.coverage) for run in entry.runs
        ]
        store.objects[entry.name] = whole


@pytest.mark.parametrize("level", LEVELS[1:])
def test_any_missing_object_is_found_with_the_coverage_it_held(level: str) -> None:
    store, repository = small()
    orphan = [name for name in lasting(store) if name.startswith("audit/")]
    referenced = {f"doc/{digest[:2]}/{digest}" for point in repository.points() for _, digest in point.documents}
    for name in lasting(store):
        if name in orphan or (name.startswith("doc/") and name not in referenced):
            continue
        whole = store.objects.pop(name)
        if name == REPOSITORY:
            with pytest.raises(Exception, match="no repository"):
                found_in(store, level)
        else:
            findings = found_in(store, level)
            assert name in {finding.object for finding in findings}
            if (entry := repository.state.packs.get(name)) is not None:
                assert {(found.generation, found.coverage) for found in findings} == {
                    (run.generation, run.coverage) for run in entry.runs
                }
        store.objects[name] = whole


def test_a_log_cut_short_is_noticed_by_what_else_is_known() -> None:
    store, repository = small()
    last = repository.state.head
    kept = store.objects.pop(log_name(last))
    assert [found.object for found in found_in(store, "chain")] == [log_name(last)], "the hint names it"
    del store.objects[HINT_HEAD]
    assert [found.object for found in verify(repository, level="chain").findings] == [log_name(last)], "we read it"
    store.objects[log_name(last + 1)] = kept
    assert [found.object for found in found_in(store, "chain")] == [log_name(last)], "the next one is there"


def test_objects_in_one_anothers_place_are_found() -> None:
    store, _ = small()
    swaps = 0
    for one, other in combinations(lasting(store), 2):
        store.objects[one], store.objects[other] = store.objects[other], store.objects[one]
        assert {finding.object for finding in found_in(store)} & {one, other}, f"{one} and {other}"
        store.objects[one], store.objects[other] = store.objects[other], store.objects[one]
        swaps += 1
    assert swaps >= 40


def test_objects_of_another_repository_are_found() -> None:
    store, _ = small()
    other = MemoryStore()
    strange = Journal(other, seed=1234, chunk_bytes=300).create()
    backup(strange, [piece(ORDERS, 0, 2, size=40), piece(PAYMENTS, 0, 1, size=30)], name="first")
    backup(strange, [piece(ORDERS, 6, 1, size=30)])
    strange.put_audit("verify", {"clean": True})
    theirs = {name.split("/")[0]: other.objects[name] for name in lasting(other)}
    for name in lasting(store):
        kind = name.split("/")[0]
        if kind == "doc":
            continue
        whole = store.objects[name]
        store.objects[name] = theirs[kind]
        try:
            assert found_in(store), name
        except KeyRefused:
            assert name == REPOSITORY, "the keys belong to another repository"
        store.objects[name] = whole


def test_chunks_swapped_within_a_pack_are_found() -> None:
    store, repository = large()
    (entry,) = repository.state.packs
    places = parts_of(entry, store, repository)
    whole = store.objects[entry.name]
    for (a, b, *_), (c, d, *_) in combinations(places, 2):
        if b - a != d - c or whole[a:b] == whole[c:d]:
            continue
        store.objects[entry.name] = whole[:a] + whole[c:d] + whole[b:c] + whole[a:b] + whole[d:]
        assert len(found_in(store)) == 2
        break
    else:
        pytest.fail("no two chunks of one length")


def test_damage_on_the_way_is_not_reported() -> None:
    """Each object is damaged in transit once: the second look is clean."""
    store, repository = large()
    seen: set[tuple[str, int]] = set()
    dice = random.Random(5)

    def once(name: str, data: bytes) -> bytes:
        if (name, len(data)) in seen or not data:
            return data
        seen.add((name, len(data)))
        damaged = bytearray(data)
        damaged[dice.randrange(len(damaged))] ^= 0x10
        return bytes(damaged)

    assert verify(FaultyStore(store, damage=once), level="data", workers=1).findings == ()
    assert len(seen) > 5
    run = repository.view(repository.point("latest")).partitions[0].runs[0]
    for damaged_read in range(1, 5):
        reads: list[str] = []
        flaky = FaultyStore(store)
        fresh = open_repository(flaky)

        def one(name: str, data: bytes, reads: list[str] = reads, which: int = damaged_read) -> bytes:
            reads.append(name)
            return data if len(reads) != which else data[:30] + bytes([data[30] ^ 1]) + data[31:]

        flaky._damage = one
        assert [bytes(chunk) for chunk in fresh.read_run(run)] == [bytes(chunk) for chunk in repository.read_run(run)]


def test_every_level_reports_a_clean_repository_as_clean() -> None:
    for make in (small, large):
        store, repository = make()
        for level in LEVELS:
            for what in (store, repository):
                report = verify(what, level=level)
                assert (report.level, report.findings, report.alarms) == (level, (), ())
                assert report.objects > 0
        with pytest.raises(ValueError, match="unknown level"):
            verify(store, level="everything")


def test_an_unreadable_object_is_damage_and_an_absent_store_is_not() -> None:
    from kafkeep.errors import StoreError, StoreUnavailable

    store, repository = large()
    (entry,) = repository.state.packs

    def bad_sector(index: int, call: str, name: str) -> None:
        if name == entry.name and call == "get":
            raise StoreError("input/output error")

    def gone(index: int, call: str, name: str) -> None:
        if name == entry.name and call == "get":
            raise StoreUnavailable("no answer")

    findings = verify(FaultyStore(store, before=bad_sector), level="objects").findings
    assert {found.coverage for found in findings} == {run.coverage for run in entry.runs}
    with pytest.raises(StoreUnavailable):
        verify(FaultyStore(store, before=gone), level="objects")


def test_reading_a_damaged_chain_refuses_with_the_status_of_corruption() -> None:
    store, _ = small()
    dice = random.Random(6)
    for name in [REPOSITORY, *(name for name in lasting(store) if name.startswith("log/"))]:
        whole = store.objects[name]
        for _ in range(50):
            damaged = bytearray(whole)
            damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
            store.objects[name] = bytes(damaged)
            with pytest.raises(CorruptionError) as raised:
                open_repository(store)
            assert raised.value.exit_code == 20
        store.objects[name] = whole
    with pytest.raises(ObjectNotFound):
        store.get(log_name(99))
