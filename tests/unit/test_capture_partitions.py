"""The task that reads partitions of one broker into packs, against a scripted broker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from tests.support.operations import Heard, as_cluster, new_repository, now
from tests.support.simulated_cluster import SimulatedCluster, SimulatedFetcher
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, record

from kafkeep.capture.inspect import survey_cluster
from kafkeep.capture.partitions import (
    COMPLETE,
    DIVERGED,
    FAILED,
    GONE,
    INTERRUPTED,
    MOVED,
    OVERTAKEN,
    STALLED,
    CaptureLimits,
    PartitionCapture,
    PartitionOutcome,
)
from kafkeep.capture.plan import CaptureTask, PartitionPlan, plan_capture
from kafkeep.capture.publish import PackPublisher
from kafkeep.errors import StoreFull
from kafkeep.events import PackStored, PartitionDone, Progress
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import AbortedTransaction, OffsetRange, PackRef, RunFacts, TopicPartition
from kafkeep.repository.packing import PackOutput
from kafkeep.repository.repository import Repository
from kafkeep.selection import Selection

pytestmark = pytest.mark.usefixtures("quick", "either_way")


class Run:
    """One task over all partitions of the topic `orders`, which all have broker 0 for a leader."""

    def __init__(self, partitions: int = 1, *, cut: str = "last-stable-offset", response_bytes: int = 1 << 20) -> None:
        self.cluster = SimulatedCluster("source", nodes=1)
        self.logs = self.cluster.add_topic("orders", partitions).logs
        self.repository: Repository = new_repository(compression="none")
        self.cut = cut
        self.response_bytes = response_bytes
        self.packs: list[PackRef] = []
        self.heard = Heard()
        self.stop_after: int | None = None
        self.edit: Any = None

    def plans(self) -> tuple[PartitionPlan, ...]:
        survey = survey_cluster(as_cluster(self.cluster), Selection(), known=frozenset())
        return plan_capture(
            self.repository.state, survey, cut=self.cut, deletes_by_retention={}, delete_retention_ms={}, now=now()
        ).partitions

    def __call__(
        self, *, plans: tuple[PartitionPlan, ...] | None = None, pack_bytes: int = 1 << 20, portion_bytes: int = 1 << 20
    ) -> dict[int, PartitionOutcome]:
        plans = self.plans() if plans is None else plans
        undecided = self.cut == "high-watermark"
        fetcher = SimulatedFetcher(self.cluster, 0, read_committed=not undecided, response_bytes=self.response_bytes)
        receive = fetcher.receive

        def edited() -> tuple[FetchedPartition, ...]:
            answers = receive()
            return answers if self.edit is None else self.edit(answers)

        fetcher.receive = edited  # type: ignore[method-assign]
        with PackPublisher(self.repository, self.packs.append, self.heard) as publisher:
            outcomes = PartitionCapture(
                CaptureTask(0, plans),
                fetcher=fetcher,  # type: ignore[arg-type]
                publisher=publisher,
                limits=CaptureLimits(pack_bytes=pack_bytes, portion_bytes=portion_bytes, undecided=undecided),
                is_on_leader=lambda partition, offset: offset >= self.cluster.log(partition).local_start,
                sink=self.heard,
                stopped=lambda: self.stop_after is not None and self.cluster.requests >= self.stop_after,
            ).run()
        return {outcome.plan.generation.partition: outcome for outcome in outcomes}

    @property
    def runs(self) -> list[RunFacts]:
        return [facts for pack in self.packs for facts in pack.runs]

    def coverage(self, partition: int = 0) -> list[OffsetRange]:
        return [facts.coverage for facts in self.runs if facts.generation.partition == partition]


def fill(log: SimulatedLog, batches: int, *, records: int = 2, size: int = 10) -> None:
    for number in range(batches):
        log.append([record(b"%d" % number + b"x" * size) for _ in range(records)])


def ends(outcomes: dict[int, PartitionOutcome]) -> dict[int, tuple[str, int]]:
    return {partition: (outcome.status, outcome.reached) for partition, outcome in outcomes.items()}


def test_partitions_lie_one_behind_the_other_in_the_pack() -> None:
    run = Run(3)
    for log in run.logs:
        fill(log, 5)
    assert ends(run()) == {0: (COMPLETE, 10), 1: (COMPLETE, 10), 2: (COMPLETE, 10)}
    assert len(run.packs) == 1
    assert [facts.generation.partition for facts in run.runs] == [0, 1, 2]
    assert all(facts.coverage == OffsetRange(0, 10) and facts.records == 10 for facts in run.runs)


def test_small_answers_come_to_the_same_runs() -> None:
    run = Run(2, response_bytes=1)
    for log in run.logs:
        fill(log, 6)
        log.roll()
        fill(log, 6)
    assert ends(run()) == {0: (COMPLETE, 24), 1: (COMPLETE, 24)}
    assert run.coverage(0) == run.coverage(1) == [OffsetRange(0, 24)]
    assert run.cluster.requests >= 24


def test_an_answer_that_holds_two_partitions_makes_two_runs_that_join() -> None:
    run = Run(2, response_bytes=400)
    for log in run.logs:
        fill(log, 12)
    run()
    for partition in (0, 1):
        ranges = run.coverage(partition)
        assert ranges[0].start == 0 and ranges[-1].stop == 24
        assert all(before.stop == after.start for before, after in pairwise(ranges))


def test_events_tell_every_record_and_byte_once() -> None:
    run = Run(2, response_bytes=300)
    for log in run.logs:
        fill(log, 7)
    run()
    size = sum(len(entry.data) for log in run.logs for entry in log.entries)
    assert sum(event.records for event in run.heard.of(Progress)) == 28
    assert sum(event.size_bytes for event in run.heard.of(Progress)) == size
    done = run.heard.of(PartitionDone)
    assert sorted((event.topic_partition.partition, event.records) for event in done) == [(0, 14), (1, 14)]
    assert sum(event.size_bytes for event in done) == size
    assert len(run.heard.of(PackStored)) == len(run.packs)


def test_packs_are_closed_at_their_size_and_runs_go_on_in_the_next() -> None:
    run = Run(response_bytes=200)
    fill(run.logs[0], 20)
    run(pack_bytes=500)
    assert len(run.packs) > 3
    ranges = run.coverage()
    assert (ranges[0].start, ranges[-1].stop) == (0, 40)
    assert all(before.stop == after.start for before, after in pairwise(ranges))


def test_an_answer_larger_than_a_pack_may_be_is_taken_in_parts() -> None:
    run = Run()
    run.repository = new_repository(compression="none", pack_bytes=9000)
    fill(run.logs[0], 60, size=400)
    assert ends(run(portion_bytes=9000)) == {0: (COMPLETE, 120)}
    assert len(run.packs) > 5
    assert sum(facts.records for facts in run.runs) == 120


def test_a_batch_larger_than_a_pack_may_be_gets_one_of_its_own() -> None:
    run = Run(response_bytes=2000)
    run.repository = new_repository(compression="none", pack_bytes=9000)
    fill(run.logs[0], 3, size=400)
    fill(run.logs[0], 1, size=20_000)
    fill(run.logs[0], 3, size=400)
    assert ends(run(portion_bytes=9000)) == {0: (COMPLETE, 14)}
    assert max(pack.size for pack in run.packs) > 40_000


def test_a_throttled_broker_is_asked_again() -> None:
    run = Run()
    fill(run.logs[0], 2)
    run.cluster.fetch_faults.extend(["throttled"] * 50)
    assert ends(run()) == {0: (COMPLETE, 4)}


def test_offsets_that_compaction_took_up_to_the_cut_are_covered() -> None:
    run = Run()
    log = run.logs[0]
    fill(log, 3)
    log.append([record(None, key=b"t")], codec=0)
    log.compact(lambda item: item.offset < 4, below=log.end)
    assert log.end == 7 and log.entries[-1].following == 4
    assert ends(run()) == {0: (COMPLETE, 7)}
    assert run.coverage() == [OffsetRange(0, 7)]


def test_a_log_that_compaction_emptied_is_covered_by_a_run_without_batches() -> None:
    run = Run()
    fill(run.logs[0], 3)
    run.logs[0].compact(lambda item: False, below=6)
    assert run.logs[0].entries == []
    assert ends(run()) == {0: (COMPLETE, 6)}
    assert [(facts.coverage, facts.batches) for facts in run.runs] == [(OffsetRange(0, 6), 0)]


def test_the_next_batch_behind_the_cut_proves_that_there_is_nothing_before_it() -> None:
    run = Run(response_bytes=1)
    log = run.logs[0]
    fill(log, 2)
    plans = run.plans()
    log.compact(lambda item: item.offset < 2, below=4)
    fill(log, 2)
    assert ends(run(plans=plans)) == {0: (COMPLETE, 4)}
    assert run.coverage() == [OffsetRange(0, 4)]
    assert run.cluster.requests == 2


def test_empty_answers_out_of_a_remote_tier_prove_nothing() -> None:
    run = Run()
    fill(run.logs[0], 3)
    run.logs[0].local_start = 4
    run.cluster.fetch_faults.extend(["too late"] * 30)
    assert ends(run()) == {0: (COMPLETE, 6)}
    assert sum(facts.records for facts in run.runs) == 6


def test_a_broker_that_stays_below_the_cut_is_left() -> None:
    run = Run()
    fill(run.logs[0], 2)
    plans = run.plans()
    run.logs[0].entries.pop()
    run.logs[0].end = 2
    outcome = run(plans=plans)[0]
    assert (outcome.status, outcome.reason, outcome.reached) == (MOVED, STALLED, 2)
    assert run.coverage() == [OffsetRange(0, 2)]


@pytest.mark.fault("P2")
def test_answers_that_never_hold_a_whole_batch_do_not_go_on_for_ever() -> None:
    run = Run()
    fill(run.logs[0], 1)
    run.cluster.fetch_faults.extend(["tail"] * 1000)
    assert run()[0].reason == STALLED
    assert run.packs == []


@pytest.mark.parametrize("fault", ["lost after", "refused once"])
def test_a_lost_connection_keeps_what_was_read(fault: str) -> None:
    run = Run(2, response_bytes=150)
    for log in run.logs:
        fill(log, 4)
    run.cluster.fetch_faults.extend(["ok", "ok", fault])
    outcomes = run()
    assert outcomes[0].status == outcomes[1].status == MOVED
    assert outcomes[0].reached > 0 and outcomes[0].reason in ("kafka-unreachable", "kafka-request")
    assert run.coverage(0) == [OffsetRange(0, outcomes[0].reached)]
    assert run.coverage(1) == []


def test_a_stop_ends_it_and_keeps_what_was_read() -> None:
    run = Run(response_bytes=150)
    fill(run.logs[0], 9)
    run.stop_after = 3
    outcome = run()[0]
    assert outcome.status == INTERRUPTED
    assert run.coverage() == [OffsetRange(0, outcome.reached)]


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        (1, OVERTAKEN, "OFFSET_OUT_OF_RANGE"),
        (3, GONE, "UNKNOWN_TOPIC_OR_PARTITION"),
        (100, GONE, "UNKNOWN_TOPIC_ID"),
        (103, GONE, "INCONSISTENT_TOPIC_ID"),
        (6, MOVED, "NOT_LEADER_OR_FOLLOWER"),
        (74, MOVED, "FENCED_LEADER_EPOCH"),
        (56, MOVED, "KAFKA_STORAGE_ERROR"),
        (29, FAILED, "TOPIC_AUTHORIZATION_FAILED"),
        (-1, FAILED, "UNKNOWN_SERVER_ERROR"),
        (9999, FAILED, "ERROR_9999"),
    ],
)
def test_an_error_ends_its_partition_and_no_other(code: int, status: str, name: str) -> None:
    run = Run(2)
    for log in run.logs:
        fill(log, 2)

    def edit(answers: tuple[FetchedPartition, ...]) -> tuple[FetchedPartition, ...]:
        return tuple(
            with_error(answer, code) if answer.topic_partition.partition == 0 else answer for answer in answers
        )

    run.edit = edit
    outcomes = run()
    assert (outcomes[0].status, outcomes[0].reason, outcomes[0].reached) == (status, name, 0)
    assert "orders/0" in outcomes[0].message
    assert ends(outcomes)[1] == (COMPLETE, 4)


def with_error(answer: FetchedPartition, code: int) -> FetchedPartition:
    return FetchedPartition(
        topic_partition=answer.topic_partition,
        error=code,
        high_watermark=-1,
        last_stable_offset=-1,
        log_start_offset=-1,
        aborted=(),
        diverging=None,
        current_leader=None,
        records=memoryview(b""),
    )


def test_a_divergence_is_told_and_nothing_of_the_answer_kept() -> None:
    run = Run()
    fill(run.logs[0], 2)

    def edit(answers: tuple[FetchedPartition, ...]) -> tuple[FetchedPartition, ...]:
        return tuple(
            FetchedPartition(
                topic_partition=answer.topic_partition,
                error=0,
                high_watermark=4,
                last_stable_offset=4,
                log_start_offset=0,
                aborted=(),
                diverging=(0, 2),
                current_leader=None,
                records=answer.records,
            )
            for answer in answers
        )

    run.edit = edit
    outcome = run()[0]
    assert (outcome.status, outcome.reason, outcome.reached) == (DIVERGED, "truncation", 0)
    assert run.packs == []


def test_a_damaged_batch_is_asked_for_again() -> None:
    run = Run()
    fill(run.logs[0], 3)
    run.cluster.fetch_faults.extend(["broken", "broken"])
    assert ends(run()) == {0: (COMPLETE, 6)}


@pytest.mark.fault("P2")
def test_after_three_damaged_answers_the_partition_has_failed_and_others_go_on() -> None:
    run = Run(2)
    for log in run.logs:
        fill(log, 3)
    spoil(run.logs[0], 0)
    outcomes = run()
    assert (outcomes[0].status, outcomes[0].reason) == (FAILED, "corrupt-batch")
    assert ends(outcomes)[1] == (COMPLETE, 6)
    assert run.coverage(0) == []


def test_what_lies_before_a_damaged_batch_is_kept() -> None:
    run = Run()
    fill(run.logs[0], 5)
    spoil(run.logs[0], 3)
    outcome = run()[0]
    assert (outcome.status, outcome.reached) == (FAILED, 6)
    assert run.coverage() == [OffsetRange(0, 6)]
    assert "offset 6" in outcome.message


def spoil(log: SimulatedLog, index: int) -> None:
    data = bytearray(log.entries[index].data)
    data[-3] ^= 1
    log.entries[index].data = bytes(data)


@pytest.mark.fault("P2")
def test_offsets_that_go_back_are_no_batches_to_keep() -> None:
    run = Run()
    fill(run.logs[0], 2)
    run.logs[0].entries.append(run.logs[0].entries[0])
    run()
    assert [(facts.batches, facts.records) for facts in run.runs] == [(2, 4)]


def test_a_position_inside_a_batch_keeps_the_batch_whole() -> None:
    run = Run()
    fill(run.logs[0], 3, records=4)
    run.logs[0].delete_records(6)
    assert ends(run()) == {0: (COMPLETE, 12)}
    (facts,) = run.runs
    assert (facts.coverage, facts.records) == (OffsetRange(6, 12), 8)


def test_each_run_lists_the_aborted_transactions_that_matter_to_it() -> None:
    run = Run(response_bytes=1)
    log = run.logs[0]
    log.append([record(b"a")], producer_id=7, transactional=True)
    log.decide(7, ABORT)
    log.append([record(b"b")], producer_id=7, transactional=True)
    log.append([record(b"c")], producer_id=8, transactional=True)
    log.decide(7, COMMIT)
    log.decide(8, ABORT)
    run(pack_bytes=1)
    found = {facts.coverage.start: facts.aborted for facts in run.runs}
    assert found == {
        0: (AbortedTransaction(7, 0),),
        1: (AbortedTransaction(7, 0),),
        2: (),
        3: (AbortedTransaction(8, 3),),
        4: (AbortedTransaction(8, 3),),
        5: (AbortedTransaction(8, 3),),
    }
    assert all(facts.open_transactions == () for facts in run.runs)


def test_up_to_the_high_watermark_markers_tell_what_is_aborted_and_what_is_open() -> None:
    run = Run(cut="high-watermark", response_bytes=1)
    log = run.logs[0]
    log.append([record(b"a")], producer_id=7, transactional=True)
    log.append([record(b"b")], producer_id=8, transactional=True)
    log.decide(7, ABORT)
    log.append([record(b"c")])
    run(pack_bytes=1)
    found = {facts.coverage.start: (facts.aborted, facts.open_transactions) for facts in run.runs}
    first, second = AbortedTransaction(7, 0), AbortedTransaction(8, 1)
    assert found == {0: ((), (first,)), 1: ((), (first, second)), 2: ((first,), (second,)), 3: ((), (second,))}


def test_a_store_that_is_full_ends_the_task_with_its_error() -> None:
    run = Run(response_bytes=150)
    fill(run.logs[0], 9)
    store = run.repository.store

    def full() -> Any:
        raise StoreFull("no room")

    store.open_new = full  # type: ignore[method-assign]
    with pytest.raises(StoreFull):
        run()


def test_views_are_used_before_their_buffer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is what the log held, although the broker's buffers are overwritten soon."""
    run = Run(3, response_bytes=260)
    for log in run.logs:
        fill(log, 60)
    run(pack_bytes=2000)
    for pack in run.packs:
        data = run.repository.store.get(pack.name)
        for facts in pack.runs:
            assert facts.batches > 0
        assert len(data) == pack.size
    entries = {p: b"".join(entry.data for entry in log.entries) for p, log in enumerate(run.logs)}
    total = b"".join(run.repository.store.get(pack.name) for pack in run.packs)
    for data in entries.values():
        infos, _ = walk(memoryview(data))
        position = 0
        for info in infos:
            assert data[position : position + info.size] in total
            position += info.size


def test_every_position_names_the_epoch_of_the_batch_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the broker can tell when its history differs."""
    run = Run(response_bytes=1)
    log = run.logs[0]
    for _ in range(3):
        fill(log, 1)
        log.new_leader()
    asked: list[tuple[int, int]] = []
    send = SimulatedFetcher.send

    def noted(self: SimulatedFetcher, positions: Sequence[FetchPosition], **more: Any) -> None:
        asked.extend((position.offset, position.last_fetched_epoch) for position in positions)
        send(self, positions, **more)

    monkeypatch.setattr(SimulatedFetcher, "send", noted)
    run()
    assert asked == [(0, -1), (2, 0), (4, 1)]


def test_answers_lie_untouched_until_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the two buffers of a fetcher, over which the broker's answers go in turns."""
    run = Run(response_bytes=200)
    fill(run.logs[0], 40, size=60)
    buffers, turn = (bytearray(4096), bytearray(4096)), 0
    lent: list[memoryview] = []

    def in_buffer(answers: tuple[FetchedPartition, ...]) -> tuple[FetchedPartition, ...]:
        nonlocal turn
        turn = 1 - turn
        (answer,) = answers
        size = len(answer.records)
        assert not any(view.obj is buffers[turn] for view in lent)
        buffers[turn][:size] = answer.records
        object.__setattr__(answer, "records", memoryview(buffers[turn])[:size])
        return answers

    lend, settle = PackOutput.lend, PackOutput.settle
    monkeypatch.setattr(PackOutput, "lend", lambda self, data: (lent.append(data), lend(self, data)))
    monkeypatch.setattr(PackOutput, "settle", lambda self: (lent.clear(), settle(self)))
    run.edit = in_buffer
    assert ends(run(pack_bytes=3000)) == {0: (COMPLETE, 80)}
    assert len(run.packs) > 2 and sum(facts.records for facts in run.runs) == 80


class ScriptedWriter:
    """A pack that is durable, or fails to become so, when told."""

    def __init__(self, result: PackRef | Exception) -> None:
        self._result = result
        self.ended = ""

    def finish(self) -> PackRef:
        self.ended = "finished"
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def discard(self) -> None:
        self.ended = self.ended or "discarded"


def test_packs_become_durable_in_order_and_none_is_left_open_after_an_error() -> None:
    writers = [ScriptedWriter(PackRef("one", 1, "", 0, (run_facts(),))), ScriptedWriter(StoreFull("no room"))]
    writers += [ScriptedWriter(PackRef("three", 1, "", 0, ()))]
    waiting = iter(writers)

    class Source:
        def pack_writer(self) -> Any:
            return next(waiting)

    emitted: list[PackRef] = []
    with pytest.raises(StoreFull), PackPublisher(Source(), emitted.append, Heard()) as publisher:
        for _ in range(3):
            assert publisher.writer is not None
            publisher.publish()
    assert [pack.name for pack in emitted] == ["one"]
    assert [writer.ended for writer in writers] == ["finished", "finished", "discarded"]


def run_facts() -> RunFacts:
    run = Run()
    fill(run.logs[0], 1)
    run()
    return run.runs[0]


@pytest.mark.fault("P2")
def test_a_partition_nobody_asked_for_is_passed_over() -> None:
    run = Run()
    fill(run.logs[0], 2)

    def edit(answers: tuple[FetchedPartition, ...]) -> tuple[FetchedPartition, ...]:
        stranger = with_error(answers[0], 0)
        object.__setattr__(stranger, "topic_partition", TopicPartition("strange", 9))
        return (stranger, *answers)

    run.edit = edit
    assert ends(run()) == {0: (COMPLETE, 4)}


def asked_for(run: Run) -> list[int]:
    """How many partitions each request of the run names; it must read everything."""
    counts: list[int] = []
    receive = SimulatedFetcher.receive

    def counting(fetcher: SimulatedFetcher) -> tuple[FetchedPartition, ...]:
        counts.append(len(fetcher._asked[0][0]))
        return receive(fetcher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedFetcher, "receive", counting)
        outcomes = run()
    assert {outcome.status for outcome in outcomes.values()} == {COMPLETE} and len(outcomes) == len(run.logs)
    return counts


def test_of_many_large_partitions_a_request_names_few() -> None:
    run = Run(100, response_bytes=2000)
    for log in run.logs:
        fill(log, 12, size=100)
    assert max(asked_for(run)) == 16
    assert all(run.coverage(partition)[-1].stop == 24 for partition in range(100))


def test_of_many_small_partitions_more_and_more_are_asked_for_at_once() -> None:
    run = Run(100)
    for log in run.logs:
        fill(log, 1)
    assert asked_for(run) == [16, 32, 52]


def test_of_many_partitions_without_an_answer_more_are_asked_for() -> None:
    """What lies first may be gone; what others hold lets the broker answer at once."""
    run = Run(60)
    for number, log in enumerate(run.logs):
        fill(log, 1)
        if number < 40:
            log.entries.clear()
    assert max(asked_for(run)) > 40
