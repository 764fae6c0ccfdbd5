"""I1 to I5: every bit, every cut, every loss and every swap of the objects of a small repository. Verify names the object and
what it covered; restores refuse before they produce anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
from tests.support.faults import Figures
from tests.support.faults_archive import Archive, make_archive, open_repository, refusal
from tests.support.operations import without_pauses

from kafkeep.errors import CorruptionError, RepositoryNotFound
from kafkeep.model import Generation, OffsetRange
from kafkeep.repository import layout
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.names import HINT_HEAD, log_name
from kafkeep.repository.reader import chunk_coverage, read_footer
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.report import Finding
from kafkeep.verify.run import verify

Range = tuple[Generation, OffsetRange]


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with without_pauses():
        yield make_archive()


def findings(store: MemoryStore, level: str = "objects") -> tuple[Finding, ...]:
    return verify(store, level=level, workers=1).findings


def named(store: MemoryStore, level: str = "objects") -> set[str]:
    return {finding.object for finding in findings(store, level)}


def ranges_of(found: tuple[Finding, ...], name: str) -> set[Range]:
    """AssertionError when a finding about the object does not tell what it covered."""
    told = set()
    for finding in found:
        if finding.object == name:
            assert finding.generation is not None and finding.coverage is not None
            told.add((finding.generation, finding.coverage))
    return told


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def needed(archive: Archive) -> list[str]:
    """Objects that a restore of the newest point reads."""
    repository = open_repository(archive.store)
    point = repository.point("latest")
    documents = [f"doc/{digest[:2]}/{digest}" for kind, digest in point.documents if kind == "metadata"]
    packs = {slice_.run.pack for part in repository.view(point).partitions for slice_ in part.slices}
    return ["kafkeep.json", *archive.names("log"), *documents, *sorted(packs)]


def assert_refused(store: MemoryStore, what: str) -> None:
    error, target = refusal(store)
    assert isinstance(error, CorruptionError), f"{what}: {error!r}"
    assert error.exit_code == 20
    assert target.topics == {}, "nothing was made"


def answers(archive: Archive, entry: PackEntry) -> list[tuple[int, int, Range]]:
    """Where each chunk lies, and what is lost with it."""
    footer = read_footer(archive.store, entry, open_repository(archive.store).id)
    return [
        (
            chunk.position,
            chunk.position + chunk.stored_length,
            (run.facts.generation, OffsetRange(*chunk_coverage(run, place))),
        )
        for run in footer.runs
        for place, chunk in enumerate(run.chunks)
    ]


def whole_pack(entry: PackEntry) -> set[Range]:
    return {(run.generation, run.coverage) for run in entry.runs}


@pytest.mark.fault("I1")
def test_i1_any_bit_of_the_repository_document_and_the_commits(archive: Archive, fault: Figures) -> None:
    tried = 0
    for name in [*archive.names("kafkeep.json"), *archive.names("log")]:
        data = archive.store.objects[name]
        for place in range(0, 8 * len(data), fault.count(quick=211, full=1)):
            changed = flipped(data, place // 8, place % 8)
            assert name in named(archive.with_changes({name: changed}), "chain"), f"{name}: bit {place}"
            tried += 1
    fault.figures(mutations=tried, found=tried)


@pytest.mark.fault("I1")
def test_i1_any_bit_of_packs_documents_and_reports(archive: Archive, fault: Figures) -> None:
    """One bit in each of them at once: each is named, packs with what the place answered for."""
    names = [name for kind in ("pack", "doc", "audit") for name in archive.names(kind)]
    entries = {entry.name: entry for entry in open_repository(archive.store).state.packs}
    places = {name: answers(archive, entry) for name, entry in entries.items()}
    tried = 0
    for place in range(0, 8 * max(len(archive.store.objects[name]) for name in names), fault.count(quick=397, full=1)):
        at = place // 8
        hit = {name: data for name in names if at < len(data := archive.store.objects[name])}
        found = findings(
            archive.with_changes({name: flipped(data, at, place % 8) for name, data in hit.items()}), "objects"
        )
        assert {finding.object for finding in found} == set(hit), f"bit {place}"
        for name in hit.keys() & entries.keys():
            told = ranges_of(found, name)
            lost = {range_ for start, stop, range_ in places[name] if start <= at < stop}
            assert told == lost if lost else told <= whole_pack(entries[name]), f"{name}: bit {place}"
        tried += len(hit)
    fault.figures(mutations=tried, found=tried)


@pytest.mark.fault("I1")
def test_i1_restores_refuse_any_bit_that_they_rest_on(archive: Archive, fault: Figures) -> None:
    dice = random.Random(1)
    names = needed(archive)
    count = fault.count(quick=len(names) * 8, full=len(names) * 400)
    for number in range(count):
        name = names[number % len(names)]
        data = archive.store.objects[name]
        place = dice.randrange(8 * len(data))
        changed = flipped(data, place // 8, place % 8)
        assert_refused(archive.with_changes({name: changed}), f"{name}: bit {place}")
    fault.figures(restores_refused=count)


def cut_or_longer(data: bytes) -> Iterator[bytes]:
    yield from (data[: len(data) * part // 64] for part in range(64))
    yield from (data + extra for extra in (b"\0", b"\xff" * 100, data))


@pytest.mark.fault("I2")
def test_i2_any_object_cut_at_any_64th_or_longer(archive: Archive, fault: Figures) -> None:
    tried = 0
    for name in [*archive.names("kafkeep.json"), *archive.names("log")]:
        for changed in cut_or_longer(archive.store.objects[name]):
            assert name in named(archive.with_changes({name: changed}), "chain"), f"{name}: {len(changed)} bytes"
            tried += 1
    names = [name for kind in ("pack", "doc", "audit") for name in archive.names(kind)]
    for changes in zip(*(cut_or_longer(archive.store.objects[name]) for name in names), strict=True):
        assert named(archive.with_changes(dict(zip(names, changes, strict=True)))) == set(names)
        tried += len(names)
    fault.figures(mutations=tried, found=tried)


@pytest.mark.fault("I2")
def test_i2_packs_of_another_size_are_found_without_reading_them(archive: Archive, fault: Figures) -> None:
    tried = 0
    for entry in open_repository(archive.store).state.packs:
        data = archive.store.objects[entry.name]
        for changed in cut_or_longer(data):
            told = ranges_of(findings(archive.with_changes({entry.name: changed}), "exist"), entry.name)
            assert told == whole_pack(entry)
            tried += 1
    fault.figures(mutations=tried, found=tried)


@pytest.mark.fault("I2")
def test_i2_restores_refuse_what_is_cut_or_longer(archive: Archive, fault: Figures) -> None:
    """Of commits that are cut nothing is known, so even the last one stops a reader."""
    dice = random.Random(2)
    refused = 0
    for name in needed(archive):
        whole = list(cut_or_longer(archive.store.objects[name]))
        for changed in dice.sample(whole, fault.count(quick=6, full=len(whole))):
            assert_refused(archive.with_changes({name: changed}), f"{name}: {len(changed)} bytes")
            refused += 1
    fault.figures(restores_refused=refused)


@pytest.mark.fault("I3")
def test_i3_any_object_is_gone(archive: Archive, fault: Figures) -> None:
    """Found without reading a pack, with exactly what it covered."""
    repository = open_repository(archive.store)
    entries = {entry.name: entry for entry in repository.state.packs}
    documents = {f"doc/{digest[:2]}/{digest}" for point in repository.points() for _, digest in point.documents}
    names = [*archive.names("log"), *entries, *sorted(documents)]
    for name in names:
        store = archive.with_changes({name: None})
        found = findings(store, "exist")
        assert name in {finding.object for finding in found}
        if name in entries:
            assert ranges_of(found, name) == whole_pack(entries[name])
        if name in needed(archive) and name != archive.names("log")[-1]:
            assert_refused(store, name)
    with pytest.raises(RepositoryNotFound):
        verify(archive.with_changes({"kafkeep.json": None}), level="exist")
    fault.figures(deletions=len(names) + 1, found=len(names) + 1)


@pytest.mark.fault("I4")
def test_i4_objects_in_each_others_places(archive: Archive, fault: Figures) -> None:
    """Any two, of one kind or two kinds; each is whole and none is where it belongs."""
    rests_on = set(needed(archive))
    swaps = 0
    for one, other in combinations(archive.lasting, 2):
        objects = archive.store.objects
        if objects[one] == objects[other]:
            continue
        store = archive.with_changes({one: objects[other], other: objects[one]})
        assert named(store) & {one, other}, f"{one} and {other}"
        if rests_on & {one, other}:
            assert_refused(store, f"{one} and {other}")
        swaps += 1
    assert swaps >= 40
    fault.figures(swaps=swaps, found=swaps)


@pytest.mark.fault("I4")
def test_i4_objects_of_another_repository(archive: Archive, fault: Figures) -> None:
    """Made by the same operations on the same source; a foreign first commit shows in the one that follows."""
    other = make_archive(seed=77)
    assert open_repository(archive.store).id != open_repository(other.store).id
    rests_on = set(needed(archive))
    swaps = 0
    for kind in ("kafkeep.json", "log", "pack", "audit"):
        for name in archive.names(kind):
            for strange in other.names(kind):
                store = archive.with_changes({name: other.store.objects[strange]})
                expected = {name, log_name(1)} if name == log_name(0) else {name}
                assert named(store) & expected, f"{strange} in the place of {name}"
                if name in rests_on:
                    assert_refused(store, name)
                swaps += 1
    fault.figures(objects_of_others=swaps, found=swaps)


@pytest.mark.fault("I4")
def test_i4_runs_and_chunks_in_each_others_places(archive: Archive, fault: Figures) -> None:
    """Any two chunks of any packs, each of which keeps its length by filling up; all runs of a pack in another order."""
    entries = list(open_repository(archive.store).state.packs)
    chunks = [(entry.name, start, stop) for entry in entries for start, stop, _ in answers(archive, entry)]
    swaps = 0
    for (one, a, b), (other, c, d) in combinations(chunks, 2):
        left, right = archive.store.objects[one][a:b], archive.store.objects[other][c:d]
        if left == right:
            continue
        changes = {one: bytearray(archive.store.objects[one])}
        changes.setdefault(other, bytearray(archive.store.objects[other]))
        changes[one][a:b] = right.ljust(b - a, b"\0")[: b - a]
        changes[other][c:d] = left.ljust(d - c, b"\0")[: d - c]
        store = archive.with_changes({name: bytes(data) for name, data in changes.items()})
        assert named(store) == {one, other}
        assert_refused(store, f"{one} and {other}")
        swaps += 1
    assert swaps >= 40
    fault.figures(chunk_swaps=swaps, found=swaps)


def without_last(archive: Archive, entry: PackEntry, what: str) -> bytes | None:
    """The pack without its last run, or without the last chunk of that, in its bytes and its footer: whole by itself."""
    data = archive.store.objects[entry.name]
    footer = read_footer(archive.store, entry, open_repository(archive.store).id)
    last = footer.runs[-1]
    if what == "run":
        if len(footer.runs) == 1:
            return None
        runs, end = footer.runs[:-1], last.position
    else:
        if len(last.chunks) < 2:
            return None
        runs, end = (*footer.runs[:-1], replace(last, chunks=last.chunks[:-1])), last.chunks[-1].position
    told = layout.encode_footer(runs)
    root = layout.pack_root(data[: layout.HEADER_SIZE], told)
    return data[:end] + told + layout.encode_trailer(end, len(told), root)


@pytest.mark.fault("I5")
@pytest.mark.parametrize("what", ["run", "chunk"])
def test_i5_last_run_or_chunk_of_a_pack_is_gone(archive: Archive, what: str, fault: Figures) -> None:
    """The pack agrees with itself; it is not the one that its commit names."""
    cut = 0
    for entry in open_repository(archive.store).state.packs:
        data = without_last(archive, entry, what)
        if data is None:
            continue
        store = archive.with_changes({entry.name: data})
        assert ranges_of(findings(store), entry.name) == whole_pack(entry)
        assert named(store, "exist") == {entry.name}
        assert_refused(store, entry.name)
        cut += 1
    fault.figures(**{f"{what}s_taken_out": cut})


@pytest.mark.fault("I5")
def test_i5_last_commits_are_gone(archive: Archive, fault: Figures) -> None:
    """The hint tells of them; without it, a reader that has seen them."""
    logs = archive.names("log")
    memory = open_repository(archive.store)
    for count in range(1, len(logs)):
        gone: dict[str, bytes | None] = dict.fromkeys(logs[-count:])
        following = log_name(len(logs) - count)
        assert named(archive.with_changes(gone), "chain") == {following}
        silent = archive.with_changes({**gone, HINT_HEAD: None})
        memory.store = silent
        assert {finding.object for finding in verify(memory, level="chain").findings} == {following}
    fault.figures(rollbacks_noticed=2 * (len(logs) - 1))
