"""Dividing a partition into ranges, and joining what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.facts import run_ref
from tests.support.operations import as_cluster, now
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import SimulatedLog, record

from kafkeep.capture.borders import find_ranges, next_epoch
from kafkeep.capture.inspect import survey_cluster
from kafkeep.capture.joining import CONTINUES, TORN, Joining
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.partitions import COMPLETE, FAILED, INTERRUPTED, MOVED, PartitionOutcome
from kafkeep.capture.plan import PartitionPlan, plan_capture
from kafkeep.capture.ranges import (
    SAMPLES,
    Ranges,
    Sample,
    Wanted,
    divided,
    may_be_large,
    places,
    shares,
    tasks_of,
    wanted,
)
from kafkeep.model import Gap, Generation, GenerationOpened, OffsetRange, PackRef, TopicPartition
from kafkeep.repository.state import State
from kafkeep.selection import Selection

ID = "A" * 21 + "B"
MIB = 1024 * 1024


def a_part(
    start: int = 0, stop: int = 1000, *, partition: int = 0, leader: int = 0, leader_epoch: int = 3, topic: str = "t"
) -> PartitionPlan:
    generation = Generation(topic, ID, partition)
    return PartitionPlan(
        generation=generation,
        start=start,
        stop=stop,
        leader=leader,
        leader_epoch=leader_epoch,
        last_fetched_epoch=1,
        log_start=0,
        high_watermark=stop,
        last_stable_offset=stop,
        opened=GenerationOpened(generation, start, "first-seen"),
    )


def shared(parts: Sequence[PartitionPlan], **given: Any) -> dict[int, int]:
    chosen = {"workers": 1, "connections_per_broker": 2} | given
    return {partition.partition: count for partition, count in shares(parts, **chosen).items()}


# --- which


def test_the_only_partition_is_for_everybody() -> None:
    assert shared([a_part()]) == {0: 2}
    assert shared([a_part()], workers=5) == {0: 5}
    assert shared([a_part()], connections_per_broker=1) == {}


def test_partitions_alike_are_left_whole() -> None:
    assert shared([a_part(partition=number) for number in range(4)], workers=4) == {}


def test_the_one_far_larger_is_divided_among_as_many_as_its_share() -> None:
    parts = [a_part(stop=6000), *(a_part(stop=1000, partition=number) for number in range(1, 5))]
    assert shared(parts, workers=5) == {0: 3}


def test_what_a_broker_would_not_fence_and_what_must_be_read_in_order_is_left_whole() -> None:
    assert shared([a_part(leader_epoch=-1)]) == {}
    assert shared([a_part(topic="compacted")], never={"compacted"}) == {}
    assert shared([a_part(start=7, stop=7)]) == {}
    assert shared([]) == {}


# --- where


def test_ranges_have_the_same_bytes_not_the_same_offsets() -> None:
    """The first half of the offsets is ten times as large."""
    part = a_part(stop=8000)
    samples = [Sample(10, 10_000)] * 4 + [Sample(10, 1000)] * 4
    found = wanted(part, samples, 2, range_bytes=8 * MIB)
    assert found is not None
    assert (found.offsets, found.to_the_cut) == ((2200,), True)


def test_a_partition_larger_than_its_ranges_is_read_in_stretches() -> None:
    part = a_part(stop=1_000_000)
    found = wanted(part, [Sample(1, 1000)] * SAMPLES, 4, range_bytes=10_000_000)
    assert found is not None
    assert (found.offsets, found.to_the_cut) == ((10_000, 20_000, 30_000, 40_000), False)
    assert found.most_bytes == 20_000_000


def test_a_small_partition_and_one_of_which_nothing_is_known_are_left_whole() -> None:
    part = a_part(stop=1000)
    assert wanted(part, [Sample(1, 1000)] * SAMPLES, 4, range_bytes=8_000_000) is None
    assert wanted(part, [None] * SAMPLES, 4, range_bytes=8) is None


def test_many_tasks_have_smaller_ranges_so_that_no_more_has_to_wait() -> None:
    found = wanted(a_part(stop=1_000_000), [Sample(1, 1000)] * SAMPLES, 64, range_bytes=8_000_000)
    assert found is not None
    assert found.offsets[0] == 1000
    assert found.offsets[-1] == 64_000


def test_few_records_and_a_small_beginning_are_not_asked_about() -> None:
    assert may_be_large(a_part(stop=128), 512 * MIB)
    assert not may_be_large(a_part(stop=127), 512 * MIB)
    part = a_part(stop=1_000_000)
    assert may_be_large(part, 512 * MIB, Sample(1000, 17_000))
    assert not may_be_large(part, 512 * MIB, Sample(1000, 16_000)), "an eighth of what two ranges take"
    assert may_be_large(part, 512 * MIB, Sample(0, 0)), "nothing was shown"


def test_a_round_with_little_to_read_asks_nothing_but_for_records() -> None:
    source = Source()
    assert source.ranges(source.part()) == ()
    assert source.cluster.requests == 0


@given(
    start=st.integers(0, 10**6),
    length=st.integers(1, 10**6),
    samples=st.lists(
        st.none() | st.builds(Sample, st.integers(0, 1000), st.integers(1, 10**6)), min_size=SAMPLES, max_size=SAMPLES
    ),
    tasks=st.integers(1, 70),
    range_bytes=st.integers(1, 10**8),
    shift=st.lists(st.none() | st.integers(-50, 50), min_size=70, max_size=70),
)
def test_ranges_cover_exactly(
    start: int,
    length: int,
    samples: list[Sample | None],
    tasks: int,
    range_bytes: int,
    shift: list[int | None],
) -> None:
    """Wherever brokers have batches begin."""
    part = a_part(start, start + length)
    found = places(part)
    assert found[0] == start and found[-1] < part.stop and len(found) <= SAMPLES
    want = wanted(part, samples[: len(found)], tasks, range_bytes=range_bytes)
    if want is None:
        return
    assert len(want.offsets) <= tasks
    assert all(start < offset < part.stop for offset in want.offsets)
    borders = [None if by is None else offset + by for offset, by in zip(want.offsets, shift, strict=False)]
    ranges = divided(part, borders, want)
    if ranges is None:
        return
    assert 2 <= len(ranges.parts) <= tasks + 1
    assert ranges.parts[0].start == start
    assert all(a.stop == b.start for a, b in pairwise(ranges.parts))
    assert all(each.start < each.stop for each in ranges.parts)
    assert ranges.stop == part.stop if want.to_the_cut else ranges.stop < part.stop
    assert {each.start for each in ranges.parts[1:]} <= set(borders)
    assert [ranges.number_of(each.start) for each in ranges.parts] == list(range(len(ranges.parts)))
    assert [ranges.number_of(each.stop - 1) for each in ranges.parts] == list(range(len(ranges.parts)))


def test_only_the_first_range_declares_what_the_partition_does() -> None:
    part = replace(a_part(), gap=Gap(a_part().generation, OffsetRange(0, 1), "retention", "", ""))
    ranges = three(part)
    assert [(each.opened is None, each.gap is None) for each in ranges.parts] == [(False, False)] + 2 * [(True, True)]
    assert [each.last_fetched_epoch for each in ranges.parts] == [1, -1, -1]


def test_ranges_are_begun_in_their_order_and_before_the_others() -> None:
    parts = [a_part(stop=900), *(a_part(stop=100 + number, partition=number) for number in (1, 2, 3))]
    tasks = tasks_of(parts, [three(parts[0])], connections_per_broker=2)
    assert [[(p.generation.partition, p.start) for p in task.partitions] for task in tasks[:3]] == [
        [(0, 0)],
        [(0, 300)],
        [(0, 600)],
    ]
    assert [task.most_bytes for task in tasks] == [None, 77, 77, None, None]
    assert sorted(p.generation.partition for task in tasks[3:] for p in task.partitions) == [1, 2, 3]


# --- joining


def three(part: PartitionPlan | None = None, *, to_the_cut: bool = True) -> Ranges:
    part = a_part(stop=900) if part is None else part
    step = part.stop // 3
    want = Wanted((step, 2 * step) if to_the_cut else (step, 2 * step, part.stop - 1), to_the_cut, 77)
    ranges = divided(part, want.offsets, want)
    assert ranges is not None
    return ranges


def a_pack(start: int, stop: int, *epochs: tuple[int, int]) -> PackRef:
    facts = run_ref(Generation("t", ID, 0), start, stop).facts
    facts = replace(facts, leader_epochs=epochs or ((1, start),), records=stop - start, raw_bytes=10)
    return PackRef(f"pack/{start}-{stop}", 100, "", 0, (facts,))


class Joined:
    """The joining of `three()`, and what the broker says at its borders."""

    def __init__(self, *told: int | None, to_the_cut: bool = True) -> None:
        self.ranges = three(to_the_cut=to_the_cut)
        self.told = list(told)
        self.asked: list[tuple[int, int]] = []
        self.joining = Joining(self.ranges, self._next_epoch)

    def _next_epoch(self, part: PartitionPlan, epoch: int) -> int | None:
        self.asked.append((part.start, epoch))
        return self.told.pop(0)

    def take(self, pack: PackRef) -> list[str]:
        return [each.name for each in self.joining.take(pack)]

    def end(self, number: int, status: str = COMPLETE, reached: int | None = None) -> list[str]:
        part = self.ranges.parts[number]
        outcome = PartitionOutcome(part, part.stop if reached is None else reached, status, "why", "because")
        return [each.name for each in self.joining.end(outcome)]

    @property
    def result(self) -> tuple[str, int]:
        outcome = self.joining.outcome()
        assert outcome.plan == self.ranges.whole
        return outcome.status, outcome.reached


def test_packs_of_later_ranges_wait_for_those_in_front() -> None:
    run = Joined(1, 2)
    assert run.take(a_pack(600, 900, (2, 600))) == []
    assert run.take(a_pack(0, 200)) == ["pack/0-200"]
    assert run.take(a_pack(300, 500)) == []
    assert run.joining.held_bytes == 200
    assert run.end(2) == []
    assert run.take(a_pack(200, 300)) == ["pack/200-300"]
    assert run.end(0) == ["pack/300-500"]
    assert run.take(a_pack(500, 600, (2, 550))) == ["pack/500-600"]
    assert run.joining.held_bytes == 100
    assert run.end(1) == ["pack/600-900"]
    assert run.asked == [(300, 1), (600, 2)], "each with the epoch of the last batch in front"
    assert run.result == (COMPLETE, 900)
    assert (run.joining.records, run.joining.size_bytes, run.joining.held_bytes) == (900, 50, 0)


@pytest.mark.parametrize("status", [MOVED, FAILED, INTERRUPTED, CONTINUES])
def test_what_lies_behind_a_range_that_is_not_complete_does_not_count(status: str) -> None:
    run = Joined(1, 1)
    run.take(a_pack(600, 900))
    run.take(a_pack(0, 300))
    run.end(2)
    assert run.end(0) == []
    assert run.take(a_pack(300, 400)) == ["pack/300-400"]
    assert run.end(1, status, 400) == []
    assert run.result == (status, 400)
    assert run.joining.outcome().message == "because"
    assert run.take(a_pack(700, 800)) == []
    assert run.joining.held_bytes == 0


def test_another_history_behind_a_border_does_not_count() -> None:
    """The broker says that its log does not go on what was read in front of the border."""
    run = Joined(None)
    run.take(a_pack(300, 600))
    run.take(a_pack(0, 300))
    run.end(1)
    assert run.end(0) == []
    assert run.result == (MOVED, 300)
    assert run.joining.outcome().reason == TORN


@pytest.mark.parametrize("epochs", [((2, 300),), ((1, 301),), ((0, 300),)])
def test_a_range_read_from_another_history_does_not_count(epochs: tuple[tuple[int, int], ...]) -> None:
    """It begins with another batch than the broker has there."""
    run = Joined(1)
    run.take(a_pack(300, 600, *epochs))
    run.take(a_pack(0, 300))
    assert run.end(0) == []
    assert run.result == (MOVED, 300)
    assert run.end(1) == []
    assert run.joining.outcome().reason == TORN


def test_a_range_that_ends_behind_its_border_or_has_a_hole_is_the_last_that_counts() -> None:
    beyond = Joined(1)
    assert beyond.take(a_pack(0, 310)) == ["pack/0-310"]
    assert beyond.end(0, reached=310) == []
    assert beyond.result == (MOVED, 310)
    hole = Joined(1)
    hole.take(a_pack(0, 100))
    assert hole.take(a_pack(200, 300)) == []
    hole.end(0)
    assert hole.result == (MOVED, 100)


def test_a_stretch_that_is_read_goes_on() -> None:
    run = Joined(1, 1, to_the_cut=False)
    for number, part in enumerate(run.ranges.parts):
        run.take(a_pack(part.start, part.stop))
        run.end(number)
    assert run.result == (CONTINUES, 899)


@given(order=st.permutations(range(9)), losing=st.sets(st.integers(0, 2)))
def test_whatever_comes_when_and_fails_the_commits_join(order: list[int], losing: set[int]) -> None:
    """Two packs of each range and its end, in any order of the three; a lost range brings its first pack alone."""
    run = Joined(1, 1)
    progress = dict.fromkeys(range(3), 0)
    committed: list[str] = []
    for number in (item // 3 for item in order):
        part, step = run.ranges.parts[number], progress[number]
        progress[number] += 1
        half = part.start + 100
        if step == 0:
            committed += run.take(a_pack(part.start, half))
        elif step == 1 and number not in losing:
            committed += run.take(a_pack(half, part.stop))
        elif step == 2:
            committed += run.end(number, MOVED if number in losing else COMPLETE, half if number in losing else None)
    end = min((300 * number + 100 for number in losing), default=900)
    edges = [tuple(map(int, name.removeprefix("pack/").split("-"))) for name in committed]
    assert edges[0][0] == 0
    assert edges[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert run.result == (MOVED if losing else COMPLETE, end)


# --- asking


class Source:
    """A partition of 20 batches of three records, in epochs 0 and 1."""

    def __init__(self) -> None:
        self.cluster = SimulatedCluster("source", nodes=1)
        self.log: SimulatedLog = self.cluster.add_topic("orders").logs[0]
        for number in range(20):
            if number == 10:
                self.log.new_leader()
            self.log.append([record(b"%d" % number + b"x" * 30) for _ in range(3)])

    def part(self) -> PartitionPlan:
        survey = survey_cluster(as_cluster(self.cluster), Selection(), known=frozenset())
        plan = plan_capture(
            State(), survey, cut="last-stable-offset", deletes_by_retention={}, delete_retention_ms={}, now=now()
        )
        return plan.partitions[0]

    def ranges(self, part: PartitionPlan, **given: Any) -> tuple[Ranges, ...]:
        topology = self.cluster.topology()
        return find_ranges(as_cluster(self.cluster), topology, [part], BackupOptions(**given), workers=4)

    def next_epoch(self, start: int, epoch: int) -> int | None:
        part = replace(self.part(), start=start)
        return next_epoch(as_cluster(self.cluster), self.cluster.topology(), part, epoch)


def test_borders_are_where_batches_begin() -> None:
    source = Source()
    part = source.part()
    size = sum(len(entry.data) for entry in source.log.entries)
    (ranges,) = source.ranges(part, range_bytes=size)
    assert len(ranges.parts) == 4
    assert {each.start for each in ranges.parts} <= {entry.base for entry in source.log.entries}
    assert (ranges.parts[0].start, ranges.stop) == (0, 60)
    assert source.ranges(part, range_bytes=8 * size) == (), "too small"
    assert source.ranges(part, range_bytes=None) == source.ranges(part, range_bytes=size, cut="high-watermark") == ()


@pytest.mark.parametrize("change", ["moved", "fenced", "lost", "gone", "no broker"])
def test_a_partition_whose_broker_does_not_answer_is_left_whole(change: str) -> None:
    source = Source()
    part = source.part()
    size = sum(len(entry.data) for entry in source.log.entries)
    if change == "moved":
        part = replace(part, leader_epoch=7)
    elif change == "fenced":
        source.log.new_leader()
    elif change == "lost":
        source.cluster.fetch_faults.append("lost before")
    elif change == "gone":
        del source.cluster.topics["orders"]
    else:
        part = replace(part, leader=5)
    assert source.ranges(part, range_bytes=size) == ()


def test_the_broker_tells_whether_a_border_is_one() -> None:
    source = Source()
    assert source.next_epoch(15, 0) == 0
    assert source.next_epoch(30, 0) == 1, "where the epoch changes"
    assert source.next_epoch(33, 1) == 1
    assert source.next_epoch(33, 0) is None, "another history: epoch 0 ends at 30"
    assert source.next_epoch(16, 0) is None, "inside a batch"
    assert source.next_epoch(60, 1) is None, "at the end"
    source.log.truncate(27)
    source.log.append([record(b"another history") for _ in range(10)])
    assert source.next_epoch(30, 0) is None
    source.cluster.fetch_faults.append("lost before")
    assert source.next_epoch(15, 0) is None
    assert source.next_epoch(15, 0) == 0


def test_topics_are_named_as_they_are_planned() -> None:
    assert list(shares([a_part()], workers=2, connections_per_broker=2)) == [TopicPartition("t", 0)]
