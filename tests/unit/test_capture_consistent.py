"""Backups of a simulated cluster that are to hold every transaction whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.operations import back_up, new_repository, put_back, values
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, record

from kafkeep.capture import whole
from kafkeep.capture.result import BackupResult
from kafkeep.capture.whole import Decided, Ledger, make_whole
from kafkeep.errors import KafkaAccessDenied, KafkaRequestError, KafkaUnreachable, KafkaUnsupported
from kafkeep.kafka.transaction_values import TransactionDescription
from kafkeep.model import AbortedTransaction, Generation, HeldBack, PartitionCut, TopicPartition
from kafkeep.repository.repository import Repository

ZERO, ONE = TopicPartition("orders", 0), TopicPartition("orders", 1)
PAYER = 7


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2)
    return cluster


@pytest.fixture
def repository() -> Repository:
    return new_repository()


def says(source: SimulatedCluster, state: str, *, start: int = 1, producer: int = PAYER, node: int = 0) -> None:
    source.admin.transactions["payer"] = (node, TransactionDescription(state, producer, 0, start))


def pay(source: SimulatedCluster, text: str, producer: int = PAYER) -> None:
    """One record into each partition, undecided."""
    for partition in (ZERO, ONE):
        source.log(partition).append([record(text.encode())], producer_id=producer, transactional=True)


def decide(
    source: SimulatedCluster, *partitions: TopicPartition, decision: int = COMMIT, producer: int = PAYER
) -> None:
    for partition in partitions:
        source.log(partition).decide(producer, decision)


def consistent(source: SimulatedCluster, repository: Repository, **options: Any) -> BackupResult:
    return back_up(source, repository, consistent="transactions", **({"consistent_wait_seconds": 0.0} | options))


def kind(result: BackupResult) -> str:
    assert result.point is not None
    return result.point.consistency


def held(result: BackupResult) -> dict[int, tuple[HeldBack, ...]]:
    assert result.point is not None
    return {cut.generation.partition: cut.held_back for cut in result.point.cuts if cut.held_back}


def doubt(result: BackupResult) -> str:
    (failure,) = result.failures
    assert (failure.subject, failure.reason) == ("transactions", "NOT_CONSISTENT")
    assert result.point is not None and not result.point.complete and result.point.failures == result.failures
    assert kind(result) == "partition" and not held(result)
    return failure.message


def after(source: SimulatedCluster, requests: int, action: Any) -> None:
    """Does something before the request of that number is answered: a look is list, describe, describe, list."""
    count = 0

    def hook(request: str) -> None:
        nonlocal count
        count += 1
        if count == requests:
            action()

    source.admin.before_transactions = hook


def test_a_cluster_without_transactions_is_consistent(source: SimulatedCluster, repository: Repository) -> None:
    source.log(ZERO).append([record(b"plain")])
    result = consistent(source, repository)
    assert (kind(result), result.failures) == ("transaction", ())


def test_decided_and_open_transactions(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    decide(source, ZERO, ONE)
    pay(source, "two")
    says(source, "Ongoing")
    result = consistent(source, repository)
    assert kind(result) == "transaction"
    assert held(result) == {0: (HeldBack(PAYER, 2, 3),), 1: (HeldBack(PAYER, 2, 3),)}
    assert values(repository, result.point) == {0: [b"one"], 1: [b"one"]}
    decide(source, ZERO, ONE)
    says(source, "CompleteCommit")
    later = consistent(source, repository)
    assert held(later) == {} and values(repository, later.point) == {0: [b"one", b"two"], 1: [b"one", b"two"]}
    assert values(repository, result.point) == {0: [b"one"], 1: [b"one"]}


def test_a_transaction_decided_behind_the_moment_is_held_back_where_its_marker_is_in(
    source: SimulatedCluster, repository: Repository
) -> None:
    pay(source, "one")
    says(source, "Ongoing")
    after(source, 4, lambda: decide(source, ZERO))
    result = consistent(source, repository)
    assert kind(result) == "transaction"
    assert held(result) == {0: (HeldBack(PAYER, 0, 2),), 1: (HeldBack(PAYER, 0, 1),)}
    assert values(repository, result.point) == {0: [], 1: []}
    target = SimulatedCluster("target")
    put_back(target, repository, result.point)
    assert [log.visible(0, 99) for log in target.topics["orders"].logs] == [[], []]


def test_without_the_rule_that_transaction_is_torn(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    decide(source, ZERO)
    result = back_up(source, repository, cut="high-watermark")
    assert values(repository, result.point) == {0: [b"one"], 1: []}


def test_what_other_producers_write_stays_in(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "held")
    source.log(ZERO).append([record(b"plain")])
    source.log(ZERO).append([record(b"other")], producer_id=8, transactional=True)
    source.log(ZERO).decide(8, COMMIT)
    says(source, "Ongoing")
    source.admin.transactions["other"] = (1, TransactionDescription("CompleteCommit", 8, 0, 1))
    result = consistent(source, repository)
    assert kind(result) == "transaction"
    assert values(repository, result.point) == {0: [b"plain", b"other"], 1: []}


def test_an_aborted_transaction_stays_away(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "void")
    decide(source, ZERO, ONE, decision=ABORT)
    says(source, "CompleteAbort")
    result = consistent(source, repository)
    assert kind(result) == "transaction" and values(repository, result.point) == {0: [], 1: []}


@pytest.mark.parametrize("state", ["PrepareCommit", "PrepareAbort", "PrepareEpochFence", "Dead", "PreparedTransaction"])
def test_a_producer_that_is_never_at_rest(source: SimulatedCluster, repository: Repository, state: str) -> None:
    pay(source, "one")
    decide(source, ZERO)
    says(source, state)
    assert "payer" in doubt(consistent(source, repository))


def test_looking_goes_on_until_the_producer_is_at_rest(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    decide(source, ZERO)
    says(source, "PrepareCommit")

    def finish() -> None:
        decide(source, ONE)
        says(source, "CompleteCommit")

    after(source, 11, finish)
    result = consistent(source, repository, consistent_wait_seconds=30.0)
    assert kind(result) == "transaction" and values(repository, result.point) == {0: [b"one"], 1: [b"one"]}


@pytest.mark.parametrize(
    "change",
    [{"start": 2}, {"node": 1}, {"producer": 9}, {"state": "CompleteCommit"}],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_between_two_descriptions_is_no_moment(
    source: SimulatedCluster, repository: Repository, change: dict[str, Any]
) -> None:
    says(source, "Ongoing")
    after(source, 3, lambda: says(source, **({"state": "Ongoing"} | change)))
    doubt(consistent(source, repository))


def test_two_brokers_that_claim_one_id_are_not_believed(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(source, "Ongoing")
    listed = source.admin.list_transactions
    monkeypatch.setattr(
        source.admin, "list_transactions", lambda: (*listed(), *(replace(item, node=2) for item in listed()))
    )
    doubt(consistent(source, repository))


def test_an_id_that_is_no_more_has_decided_everything(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    decide(source, ZERO, ONE)
    says(source, "CompleteCommit")
    after(source, 2, source.admin.transactions.clear)
    result = consistent(source, repository, consistent_wait_seconds=30.0)
    assert kind(result) == "transaction" and values(repository, result.point) == {0: [b"one"], 1: [b"one"]}


def test_a_producer_that_no_coordinator_tells_of(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    after(source, 2, lambda: decide(source, ZERO, ONE))
    assert str(PAYER) in doubt(consistent(source, repository))


def test_old_transactions_of_producers_long_gone_are_whole(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    decide(source, ZERO, ONE)
    result = consistent(source, repository)
    assert kind(result) == "transaction" and values(repository, result.point) == {0: [b"one"], 1: [b"one"]}


@pytest.mark.parametrize(
    "error", [KafkaUnsupported("too old for this"), KafkaAccessDenied("not for you"), KafkaUnreachable("gone away")]
)
def test_brokers_that_do_not_tell(source: SimulatedCluster, repository: Repository, error: Exception) -> None:
    def refuse(request: str) -> None:
        raise error

    source.admin.before_transactions = refuse
    source.log(ZERO).append([record(b"plain")])
    result = consistent(source, repository)
    assert str(error) in doubt(result) and result.records == 1


def test_a_coordinator_that_is_still_reading_its_log_is_asked_again(
    source: SimulatedCluster, repository: Repository
) -> None:
    says(source, "Empty")

    def load() -> None:
        raise KafkaRequestError("loading", code=14, name="COORDINATOR_LOAD_IN_PROGRESS", retryable=True)

    after(source, 1, load)
    assert kind(consistent(source, repository, consistent_wait_seconds=30.0)) == "transaction"


def test_a_leader_that_moves_meanwhile_makes_it_begin_anew(source: SimulatedCluster, repository: Repository) -> None:
    says(source, "Empty")
    pay(source, "one")
    requests: list[str] = []

    def hook(request: str) -> None:
        requests.append(request)
        if len(requests) == 4:
            source.move(ZERO)

    source.admin.before_transactions = hook
    assert "leader" in doubt(consistent(source, repository))
    requests.clear()
    assert kind(consistent(source, repository, consistent_wait_seconds=30.0)) == "transaction"
    assert len(requests) == 8


def test_a_partition_that_cannot_be_read_leaves_doubt(source: SimulatedCluster, repository: Repository) -> None:
    source.log(ZERO).append([record(b"plain")])
    source.fetch_faults.extend(["refused once"] * 20)
    result = consistent(source, repository)
    assert kind(result) == "partition"
    assert "not every partition" in next(f.message for f in result.failures if f.reason == "NOT_CONSISTENT")


def test_nothing_new_makes_no_point_and_another_consistency_does(
    source: SimulatedCluster, repository: Repository
) -> None:
    source.log(ZERO).append([record(b"plain")])
    assert back_up(source, repository).point is not None
    assert kind(consistent(source, repository)) == "transaction"
    assert consistent(source, repository).nothing_new
    assert kind(back_up(source, repository)) == "partition"


def test_a_point_that_holds_back_less_is_something_new(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    says(source, "Ongoing")
    after(source, 4, lambda: decide(source, ZERO, ONE))
    first = consistent(source, repository)
    source.admin.before_transactions = lambda request: None
    says(source, "CompleteCommit")
    second = consistent(source, repository)
    assert second.records == 0 and held(first) and kind(second) == "transaction" and not held(second)
    assert values(repository, second.point) == {0: [b"one"], 1: [b"one"]}


def test_the_next_backup_knows_what_was_open(source: SimulatedCluster, repository: Repository) -> None:
    pay(source, "one")
    says(source, "Ongoing")
    consistent(source, repository)
    source.log(ZERO).append([record(b"plain")])
    pay(source, "two")
    after(source, 4, lambda: decide(source, ZERO))
    second = consistent(source, repository)
    assert held(second) == {0: (HeldBack(PAYER, 0, 4),), 1: (HeldBack(PAYER, 0, 2),)}
    assert values(repository, second.point) == {0: [b"plain"], 1: []}


# --- the ledger


ORDERS = Generation("orders", "I" * 22, 0)


def ledger_of(*decided: Decided, start: int = 0, stop: int = 100, floor: int = 50) -> Ledger:
    ledger = Ledger({ZERO: floor})
    ledger.begin(ORDERS, start, ())
    for item in decided:
        ledger.decide(ZERO, item)
    ledger.reach(ZERO, stop, (AbortedTransaction(9, 90),))
    return ledger


def doubts(ledger: Ledger, *, stop: int = 100, moment: int = 60, generation: Generation = ORDERS) -> tuple[str, ...]:
    cut = PartitionCut(generation, stop, 0, stop, stop, 0)
    return make_whole([cut], ledger, {9: {ZERO: moment}}).doubts


def test_what_was_noted_from_end_to_end_is_in_no_doubt() -> None:
    assert doubts(ledger_of()) == ()
    assert doubts(ledger_of(start=50)) == ()


@pytest.mark.parametrize(
    ("ledger", "more", "words"),
    [
        (ledger_of(start=51), {}, "end to end"),
        (ledger_of(stop=99), {}, "end to end"),
        (ledger_of(), {"generation": ORDERS.successor}, "end to end"),
        (Ledger({ZERO: 50}), {}, "end to end"),
        (ledger_of(), {"moment": 101}, "before where it ended"),
        (ledger_of(floor=101, stop=101), {}, "before where it ended"),
        (ledger_of(Decided(8, 40, 70)), {}, "ids 8"),
    ],
)
def test_what_leaves_doubt(ledger: Ledger, more: dict[str, Any], words: str) -> None:
    assert any(words in found for found in doubts(ledger, **more)), doubts(ledger, **more)


def test_reading_that_goes_on_is_noted_on_and_a_hole_is_not_forgotten() -> None:
    ledger = ledger_of(stop=80)
    ledger.begin(ORDERS, 80, ())
    ledger.reach(ZERO, 100, ())
    assert doubts(ledger) == ()
    ledger.begin(ORDERS, 101, ())
    ledger.reach(ZERO, 110, ())
    assert doubts(ledger, stop=110)


def test_a_history_that_changed_stays_in_doubt() -> None:
    ledger = ledger_of()
    successor = ORDERS.successor
    ledger.begin(successor, 0, ())
    ledger.reach(ZERO, 100, ())
    assert doubts(ledger, generation=successor)


def test_a_partition_that_came_to_be_meanwhile() -> None:
    ledger = Ledger({})
    ledger.begin(ORDERS, 0, ())
    ledger.decide(ZERO, Decided(9, 0, 5))
    ledger.reach(ZERO, 100, ())
    cut = PartitionCut(ORDERS, 100, 0, 100, 100, 0)
    assert any("came to be" in found for found in make_whole([cut], ledger, {9: {}}).doubts)


def test_more_than_a_commit_can_name_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts(ledger_of()) == ()
    monkeypatch.setattr(whole, "MOST_HELD_BACK", 0)
    assert any("would have to be held back" in found for found in doubts(ledger_of()))


def test_markers_below_the_floor_need_no_moment() -> None:
    assert doubts(ledger_of(Decided(8, 10, 49))) == ()


def test_all_from_the_first_late_transaction_on_is_held_back() -> None:
    ledger = ledger_of(Decided(9, 40, 55), Decided(9, 56, 60), Decided(9, 62, 70))
    (cut,) = make_whole([PartitionCut(ORDERS, 100, 0, 100, 100, 0)], ledger, {9: {ZERO: 60}}).cuts
    assert cut.held_back == (HeldBack(9, 56, 100),)
    (shorter,) = make_whole([PartitionCut(ORDERS, 65, 0, 65, 65, 0)], ledger, {9: {ZERO: 65}}).cuts
    assert shorter.held_back == (HeldBack(9, 62, 65),), "its marker lies beyond the cut"
