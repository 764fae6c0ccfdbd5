"""Committing, points, views, documents and reports."""

from __future__ import annotations

import random

import pytest
from tests.support.repositories import (
    CLUSTER,
    Clock,
    Journal,
    backup,
    batch,
    closed,
    contents,
    cut,
    draft,
    gap,
    generation,
    open_repository,
    opened,
    piece,
    write_pack,
)

from kafkeep.errors import (
    CorruptObject,
    PointNotFound,
    StoreAccessDenied,
    StoreUnavailable,
    WrongCluster,
)
from kafkeep.events import Committed, Event
from kafkeep.model import OffsetRange
from kafkeep.repository import chain, envelope
from kafkeep.repository.envelope import Kind
from kafkeep.repository.names import HINT_HEAD, log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import CountingStore, FaultyStore

ORDERS, PAYMENTS = generation("orders"), generation("payments", 3)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryStore())


def test_backups_add_up_and_each_point_keeps_what_it_held(journal: Journal) -> None:
    repository = journal.create()
    first = backup(repository, [piece(ORDERS, 0, 4), piece(PAYMENTS, 0, 2, seed=1)], name="first")
    held = contents(repository, repository.point("first"))
    second = backup(repository, [piece(ORDERS, 12, 3)], name="second")
    assert (first.number, second.number) == (1, 2)
    for found in (repository, journal.open()):
        assert [point.number for point in found.points()] == [1, 2]
        assert contents(found, found.point("1")) == held
        both = contents(found, found.point("latest"))
        assert both[ORDERS.topic_partition] == held[ORDERS.topic_partition] + b"".join(piece(ORDERS, 12, 3).batches)
        assert both[PAYMENTS.topic_partition] == held[PAYMENTS.topic_partition]


def test_a_commit_tells_the_sink_and_leaves_a_hint(journal: Journal) -> None:
    journal.create()
    heard: list[Event] = []
    repository = Repository.open(journal.store, now=Clock(), rng=random.Random(1), sink=heard.append)
    outcome = backup(repository, [piece(ORDERS, 0, 2)])
    assert heard == [Committed(1, "recovery-point", 1, 6)]
    assert journal.store.get(HINT_HEAD) == b"1\n"
    assert outcome.point_number == 1
    assert outcome.dropped_runs == ()


def test_an_empty_draft_commits_nothing(journal: Journal) -> None:
    repository = journal.create()
    before = dict(journal.store.objects)  # type: ignore[attr-defined]
    outcome = repository.commit(draft())
    assert (outcome.number, outcome.commit, outcome.point) == (None, None, None)
    assert journal.store.objects == before  # type: ignore[attr-defined]


def test_points_are_found_by_number_name_time_and_latest(journal: Journal) -> None:
    repository = journal.create()
    for name in ("nightly", None, "nightly"):
        backup(repository, [piece(ORDERS, repository.state.head * 3, 1)], name=name)
    one, two, three = repository.points()
    assert repository.point("latest") == three
    assert repository.point("2") == two
    assert repository.point("nightly") == three
    assert repository.point(f"@{two.finished}") == two
    assert repository.point("@2099-01-01T00:00:00Z") == three
    for spec in ("7", "hourly", "@2001-01-01T00:00:00Z", "@yesterday", "", "@", "9" * 5000, "²"):
        with pytest.raises(PointNotFound):
            repository.point(spec)
    assert one.number == 1


def test_gaps_bridge_coverage_and_show_in_the_view(journal: Journal) -> None:
    repository = journal.create()
    backup(repository, [piece(ORDERS, 0, 2)])
    pack = write_pack(repository, [piece(ORDERS, 10, 2)])
    repository.commit(draft(packs=[pack], gaps=[gap(ORDERS, 6, 10)], cuts=[cut(ORDERS, 14, start=3)]))
    view = repository.view(repository.point("latest"))
    (part,) = view.partitions
    assert [piece_.offsets for piece_ in part.slices] == [OffsetRange(3, 6), OffsetRange(10, 14)]
    assert [found.offsets for found in part.gaps] == [OffsetRange(6, 10)]
    assert view.packs() == tuple(sorted(run.pack for run in part.runs))
    assert repository.view(repository.point("1")).partitions[0].gaps == ()


def test_a_recreated_topic_opens_a_new_generation(journal: Journal) -> None:
    repository = journal.create()
    again = generation("orders", topic_id="B" * 22)
    backup(repository, [piece(ORDERS, 0, 2)])
    repository.commit(
        draft(
            packs=[write_pack(repository, [piece(ORDERS, 6, 1), piece(again, 0, 1)])],
            open_=opened(again),
            close=closed(ORDERS),
            cuts=[cut(again, 3)],
        )
    )
    state = repository.state
    latest = state.latest_generation(ORDERS.topic_partition)
    assert latest is not None
    assert latest.generation == again
    assert (state.generations[ORDERS].open, state.generations[ORDERS].closed_why) == (False, "recreated")
    assert state.generations[ORDERS].next_offset == 9
    late = repository.commit(draft(packs=[write_pack(repository, [piece(ORDERS, 9, 1)])]))
    assert (late.number, len(late.dropped_runs)) == (None, 1)


def test_one_repository_holds_one_cluster(journal: Journal) -> None:
    repository = journal.create()
    backup(repository, [piece(ORDERS, 0, 2)])
    assert repository.state.cluster_id == CLUSTER
    with pytest.raises(WrongCluster) as raised:
        repository.commit(draft(open_=opened(PAYMENTS), cluster_id="another"))
    assert raised.value.exit_code == 14
    assert repository.state.head == 1


def test_the_second_of_two_writers_rebases_and_drops_what_overlaps(journal: Journal) -> None:
    journal.create()
    one, two = journal.open(), journal.open()
    mine = [piece(ORDERS, 0, 2), piece(PAYMENTS, 0, 2)]
    pack_one, pack_two = write_pack(one, [piece(ORDERS, 0, 4)]), write_pack(two, mine)
    one.commit(draft(packs=[pack_one], open_=opened(ORDERS)))
    outcome = two.commit(
        draft(packs=[pack_two], open_=opened(ORDERS, PAYMENTS), cuts=[cut(ORDERS, 6), cut(PAYMENTS, 6)])
    )
    assert outcome.number == 2
    assert [run.generation for run in outcome.accepted_runs] == [PAYMENTS]
    assert [run.generation for run in outcome.dropped_runs] == [ORDERS]
    assert outcome.point_number == 2
    assert one.refresh() == two.state == journal.open().state
    assert contents(one, one.point("2"))[ORDERS.topic_partition] == b"".join(piece(ORDERS, 0, 4).batches)
    run = outcome.accepted_runs[0]
    assert (run.index, run.pack) == (1, pack_two.name)
    assert b"".join(bytes(chunk) for chunk in one.read_run(run)) == b"".join(mine[1].batches)


def test_a_point_whose_cut_is_not_covered_is_not_committed(journal: Journal) -> None:
    repository = journal.create()
    pack = write_pack(repository, [piece(ORDERS, 0, 2)])
    outcome = repository.commit(draft(packs=[pack], open_=opened(ORDERS), cuts=[cut(ORDERS, 7)]))
    assert (outcome.number, outcome.point_number, repository.points()) == (1, None, ())
    assert outcome.commit is not None
    assert outcome.commit.kind == "add"


def test_a_gap_covered_in_part_keeps_its_rest(journal: Journal) -> None:
    repository = journal.create()
    backup(repository, [piece(ORDERS, 0, 2)])
    pack = write_pack(repository, [piece(ORDERS, 10, 1)])
    outcome = repository.commit(draft(packs=[pack], gaps=[gap(ORDERS, 3, 10)]))
    assert outcome.commit is not None
    assert [found.offsets for found in outcome.commit.gaps] == [OffsetRange(6, 10)]
    assert repository.state.generations[ORDERS].next_offset == 13


def test_a_draft_too_large_for_one_commit_becomes_several(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = journal.create()
    monkeypatch.setitem(envelope.BODY_LIMITS, Kind.COMMIT, 3000)
    packs = [write_pack(repository, [piece(ORDERS, number * 4, 1)]) for number in range(8)]
    gaps = [gap(ORDERS, number * 4 + 3, number * 4 + 4) for number in range(7)]
    outcome = repository.commit(draft(packs=packs, gaps=gaps, open_=opened(ORDERS), cuts=[cut(ORDERS, 31)]))
    assert outcome.number is not None
    assert outcome.number > 2
    assert outcome.point_number == outcome.number
    assert [run.pack for run in outcome.accepted_runs] == [pack.name for pack in packs]
    assert outcome.dropped_runs == ()
    (part,) = repository.view(repository.point("latest")).partitions
    assert (len(part.runs), len(part.gaps)) == (8, 7)
    assert journal.open().state == repository.state
    with pytest.raises(ValueError, match="over the limit"):
        repository.commit(draft(open_=[one for n in range(50) for one in opened(generation("t", n))]))


def test_a_draft_that_can_never_be_committed_is_a_value_error(journal: Journal) -> None:
    repository = journal.create()
    with pytest.raises(ValueError, match="can never be committed: two cuts"):
        repository.commit(draft(open_=opened(ORDERS), cuts=[cut(ORDERS, 0), cut(ORDERS, 0)]))
    with pytest.raises(ValueError, match="no cluster id"):
        repository.commit(draft(open_=opened(ORDERS), cluster_id=""))
    with pytest.raises(ValueError, match="cannot be stored"):
        repository.commit(draft(open_=opened(ORDERS), gaps=[gap(ORDERS, 0, 4, "No Slug")]))
    assert repository.state.head == 0


@pytest.mark.parametrize("applied", [True, False])
def test_unclear_answers_to_a_commit_are_settled_by_reading(applied: bool) -> None:
    inner = MemoryStore()
    Journal(inner).create()
    unclear: list[str] = []

    def fail(index: int, call: str, name: str) -> None:
        if call == "put_new" and name.startswith("log/") and len(unclear) % 2 == 0:
            unclear.append(name)
            raise StoreUnavailable("no answer")
        if call == "put_new" and name.startswith("log/"):
            unclear.append("")

    store = FaultyStore(inner, after=fail) if applied else FaultyStore(inner, before=fail)
    repository = open_repository(store)
    for number in range(1, 6):
        assert backup(repository, [piece(ORDERS, (number - 1) * 3, 1)]).number == number
    assert unclear
    assert [point.number for point in open_repository(inner).points()] == [1, 2, 3, 4, 5]


def test_a_commit_that_lands_late_wins_its_number_and_ours_moves_on() -> None:
    inner = MemoryStore()
    Journal(inner).create()
    rival = open_repository(inner, seed=50)
    pack = write_pack(rival, [piece(ORDERS, 0, 1, seed=5)])

    def land(index: int, call: str, name: str) -> None:
        if name == log_name(1) and call == "put_new" and rival.state.head == 0:
            rival.commit(draft(packs=[pack], open_=opened(ORDERS)))

    repository = open_repository(FaultyStore(inner, before=land))
    outcome = backup(repository, [piece(ORDERS, 0, 1), piece(PAYMENTS, 0, 1)])
    assert outcome.number == 2
    assert [run.generation for run in outcome.dropped_runs] == [ORDERS]
    assert repository.state == open_repository(inner).state


def test_errors_that_are_clear_are_raised_at_once() -> None:
    inner = MemoryStore()
    Journal(inner).create()

    def deny(index: int, call: str, name: str) -> None:
        if call == "put_new" and name.startswith("log/"):
            raise StoreAccessDenied("no right to create")

    repository = open_repository(FaultyStore(inner, before=deny))
    with pytest.raises(StoreAccessDenied):
        backup(repository, [piece(ORDERS, 0, 1)])
    assert (repository.state.head, open_repository(inner).state.head) == (0, 0)


def test_a_store_that_never_answers_leaves_the_outcome_open_and_says_so() -> None:
    inner = MemoryStore()
    Journal(inner).create()
    waits: list[float] = []

    def silent(index: int, call: str, name: str) -> None:
        if name == log_name(1):
            raise StoreUnavailable("no answer")

    store = FaultyStore(inner)
    repository = Repository.open(store, now=Clock(), rng=random.Random(1), pause=waits.append)
    store._before = silent
    with pytest.raises(StoreUnavailable) as raised:
        repository.commit(draft(open_=opened(ORDERS)))
    assert raised.value.retryable
    assert len(waits) == chain.TRIES - 1
    assert waits == sorted(waits)


def test_documents_are_stored_once_and_checked_on_the_way_back(journal: Journal) -> None:
    repository = journal.create()
    value = {"topics": ["orders", "zahlungen-ä"], "empty": None}
    reference = repository.put_document("metadata", value)
    assert repository.put_document("metadata", value) == reference
    assert repository.document("metadata", reference) == value
    assert repository.put_document("offset-map", value) != reference
    with pytest.raises(CorruptObject, match="kind 16 where kind 18"):
        repository.document("offset-map", reference)
    with pytest.raises(CorruptObject, match="missing"):
        repository.document("metadata", "0" * 64)
    with pytest.raises(ValueError, match="digest of a document"):
        repository.document("metadata", "../../kafkeep.json")
    with pytest.raises(ValueError, match="unknown kind"):
        repository.put_document("diary", value)
    with pytest.raises(ValueError, match="float"):
        repository.put_document("metadata", {"a": 1.5})
    name = f"doc/{reference[:2]}/{reference}"
    objects = journal.store.objects  # type: ignore[attr-defined]
    objects[name] = objects[name][:-1] + b"\0"
    with pytest.raises(CorruptObject, match="does not match"):
        repository.document("metadata", reference)
    with pytest.raises(CorruptObject, match="does not hold"):
        repository.put_document("metadata", value)


def test_reports_are_listed_oldest_first_and_by_kind(journal: Journal) -> None:
    repository = journal.create()
    names = [repository.put_audit(kind, {"n": n}) for n, kind in enumerate(("verify", "restore", "verify"))]
    assert all(name.startswith("audit/2026-11-20/") for name in names)
    assert list(repository.audits()) == [(name, {"n": n}) for n, name in enumerate(names)]
    assert [value for _, value in repository.audits("verify")] == [{"n": 0}, {"n": 2}]
    with pytest.raises(ValueError, match="kind of a report"):
        repository.put_audit("No Slug", {})


def test_a_run_that_no_commit_named_is_not_read(journal: Journal) -> None:
    repository = journal.create()
    pack = write_pack(repository, [piece(ORDERS, 0, 2)])
    with pytest.raises(CorruptObject, match="named by no commit"):
        repository.read_run(pack.run_refs()[0])


def test_a_full_backup_needs_neither_list_nor_delete(journal: Journal) -> None:
    journal.create()
    store = CountingStore(journal.store)
    repository = open_repository(store)
    backup(repository, [piece(ORDERS, 0, 2)])
    backup(repository, [piece(ORDERS, 6, 2)])
    assert store.calls["list"] == store.calls["delete"] == 0


def test_old_states_stay_true_while_new_commits_come(journal: Journal) -> None:
    repository = journal.create()
    states = []
    for number in range(4):
        backup(repository, [piece(ORDERS, number * 3, 1), piece(generation("t", number), 0, 1)])
        states.append(repository.state)
    for number, state in enumerate(states, start=1):
        assert (state.head, len(state.points), len(state.packs)) == (number, number, number)
        assert state.generations[ORDERS].next_offset == number * 3
        assert len(state.generations[ORDERS].runs) == number
        assert len(state.generations) == number + 1
        assert state == repository_at(journal, number).state


def repository_at(journal: Journal, number: int) -> Repository:
    """The repository as it was when commit `number` was the newest."""
    store = MemoryStore()
    for info in journal.store.list(""):
        if not info.name.startswith(("log/", "hint/")) or info.name <= log_name(number):
            store.objects[info.name] = journal.store.get(info.name)
    store.objects.pop(HINT_HEAD, None)
    return open_repository(store)


def test_reading_a_range_of_a_run_through_the_facade(journal: Journal) -> None:
    repository = journal.create()
    backup(repository, [piece(ORDERS, 0, 40)])
    (run,) = repository.view(repository.point("latest")).partitions[0].runs
    everything = b"".join(bytes(chunk) for chunk in repository.read_run(run))
    assert everything == b"".join(batch(offset) for offset in range(0, 120, 3))
    part = b"".join(bytes(chunk) for chunk in repository.read_run(run, start=50, stop=60, verify=False))
    assert part in everything
    assert batch(48) + batch(51) + batch(54) + batch(57) in part
    assert len(part) < len(everything) / 3


def test_what_later_commits_brought_is_not_seen_at_an_earlier_number(journal: Journal) -> None:
    repository = journal.create()
    backup(repository, [piece(ORDERS, 0, 2)])
    repository.commit(draft(gaps=[gap(ORDERS, 6, 10)]))
    backup(repository, [piece(ORDERS, 10, 1)])
    repository.commit(draft(gaps=[gap(ORDERS, 13, 20)]))
    known = repository.state.generations[ORDERS]
    everything = OffsetRange(0, 100)
    for number, runs, gaps in ((0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2)):
        assert len(known.runs_at(number, everything)) == runs
        assert len(known.gaps_at(number, everything)) == gaps
    assert [run.coverage.start for run in known.runs_at(4, OffsetRange(6, 11))] == [10]
    assert [run.coverage.start for run in known.runs_at(4, OffsetRange(5, 10))] == [0]
    assert known.runs_at(4, OffsetRange(6, 10)) == known.runs_at(4, OffsetRange(3, 3)) == ()
    assert [one.offsets.start for one in known.gaps_at(4, OffsetRange(9, 14))] == [6, 13]
    assert known.gaps_at(4, OffsetRange(10, 13)) == ()
