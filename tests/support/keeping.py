"""A repository that lives: backups, logs that are cut off in front, prunings, pins, time; and what its points must hold."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from tests.support.repositories import (
    Journal,
    closed,
    contents,
    cut,
    draft,
    gap,
    generation,
    opened,
    piece,
    write_pack,
)

from kafkeep.compaction import run as compaction
from kafkeep.compaction.plan import CompactOptions, CompactResult
from kafkeep.model import Generation, OffsetRange, PartitionCut, TopicPartition
from kafkeep.repository.changes import Pin, Retag, Unpin
from kafkeep.repository.drafts import CommitOutcome, Draft
from kafkeep.repository.keeping import PRUNED
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.retention.plan import PruneResult
from kafkeep.retention.rules import KeepRules
from kafkeep.retention.run import prepare, prune, take_back
from kafkeep.times import rfc3339

UNDO_SECONDS = 3 * 24 * 3600.0
RULES = (
    KeepRules(last=2, min_points=1),
    KeepRules(daily=3, min_points=1),
    KeepRules(hourly=2, weekly=2, min_points=2),
    KeepRules(within_seconds=2 * 24 * 3600.0, min_points=1),
    KeepRules(monthly=1, yearly=1, tags=("kind=release",), min_points=1),
)


TARGETS = (6 * 1024, 16 * 1024, 100 * 1024)
"""Of packs that runs of a few kilobytes are gathered in."""

Content = dict[TopicPartition, tuple[bytes, list[OffsetRange]]]
"""Batches and gaps of each partition."""


@dataclass(frozen=True, slots=True)
class _Made:
    draft: Draft
    written: dict[Generation, list[tuple[OffsetRange, bytes | None]]]


@dataclass
class Life:
    """Ages with every step. What a point must hold is remembered from what was written, not read from the repository."""

    dice: random.Random
    store: MemoryStore = field(default_factory=MemoryStore)
    held: dict[int, Content] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)
    written: dict[Generation, list[tuple[OffsetRange, bytes | None]]] = field(default_factory=dict)
    """Runs, and gaps as None."""
    starts: dict[Generation, int] = field(default_factory=dict)
    """Where the source's logs begin."""

    def __post_init__(self) -> None:
        self.journal = Journal(self.store, seed=self.dice.randrange(10**6))
        self.repository: Repository = self.journal.create()

    def backup(self) -> None:
        """Some partitions grow or have gaps, some begin later, one may be made anew. Now and then without the topics of the
        others, without coming to its point, or with prunings by somebody else between its packs and its commit."""
        self.journal.clock.advance(hours=self.dice.choice([0, 1, 7, 24, 24 * 8]))
        made = self._made()
        pruned = self.dice.choice([0, 0, 0, 0, 1, 2])
        for _ in range(pruned):
            self.prune(self.journal.open())
        outcome = self.repository.commit(made.draft)
        self.repository.refresh()  # an empty draft is not even tried
        assert pruned == 2 or outcome.dropped_runs == (), "what was written in time did not count"
        self._remember(made, outcome)
        if outcome.point is None:
            expected = made.draft.point is None or outcome.dropped_runs
            assert expected, "what was retired stands in the way of a point"
            return
        self.live.add(outcome.point.number)
        self.held[outcome.point.number] = {
            c.generation.topic_partition: self._content(c) for c in made.draft.point.cuts
        }

    def _remember(self, made: _Made, outcome: CommitOutcome) -> None:
        runs = {(run.generation, run.coverage) for run in outcome.accepted_runs}
        gaps = {(each.generation, each.offsets) for each in (outcome.commit.gaps if outcome.commit is not None else ())}
        for of, pieces in made.written.items():
            kept = [(at, data) for at, data in pieces if (of, at) in (gaps if data is None else runs)]
            self.written.setdefault(of, []).extend(kept)

    def _content(self, cut: PartitionCut) -> tuple[bytes, list[OffsetRange]]:
        wanted = OffsetRange(cut.start, cut.stop)
        pieces = [each for each in self.written.get(cut.generation, ()) if each[0].intersection(wanted) is not None]
        return b"".join(data for _, data in pieces if data is not None), [at for at, data in pieces if data is None]

    def _made(self) -> _Made:
        state = self.repository.refresh()
        open_, close, pieces, gaps = [], [], [], []
        written: dict[Generation, list[tuple[OffsetRange, bytes | None]]] = {}
        reached = {known.generation: known.next_offset for known in state.generations.values() if known.open}
        for partition in range(3):
            known = state.latest_generation(TopicPartition("orders", partition))
            of = generation("orders", partition, 0 if known is None else known.generation.lineage)
            if known is not None and known.open and self.dice.random() < 0.1:
                close.append(of)
                del reached[of]
            if known is None or not known.open or of in close:
                of = of if known is None else generation("orders", partition, of.lineage + 1)
                open_.append(of)
            start = reached.get(of, 0)
            if self.dice.random() < 0.2:
                gaps.append(gap(of, start, start + 2))
                written.setdefault(of, []).append((OffsetRange(start, start + 2), None))
                start += 2
            if self.dice.random() < 0.7 or of in open_:
                size = self.dice.choice([20, 300])
                part = piece(of, start, self.dice.randint(1, 4), seed=state.head, size=size)
                pieces.append(part)
                written.setdefault(of, []).append((OffsetRange(start, part.stop), b"".join(part.batches)))
                start = part.stop
            reached[of] = start
            if self.dice.random() < 0.5:
                first = self.starts.get(of, 0)
                self.starts[of] = self.dice.randint(first, max(first, start))
        packs = [write_pack(self.repository, some) for some in (pieces[:1], pieces[1:]) if some]
        chosen = sorted(reached) if self.dice.random() < 0.8 else sorted(reached)[:1]
        cuts = [cut(of, reached[of], min(self.starts.get(of, 0), reached[of])) for of in chosen]
        ends = self.dice.random() < 0.85
        made = draft(packs=packs, open_=opened(*open_), close=closed(*close), gaps=gaps, cuts=cuts if ends else None)
        if len(chosen) < len(reached) and made.point is not None:
            made = replace(made, point=replace(made.point, selection=("some",), complete=self.dice.random() < 0.7))
        return _Made(made, written)

    def orphan(self) -> None:
        """A pack whose writer died before its commit."""
        write_pack(self.repository, [piece(generation("lost"), 0, 1, seed=self.dice.randrange(10**6))])

    def wait(self) -> None:
        self.journal.clock.advance(days=self.dice.choice([1, 4, 40]))

    def pin(self) -> None:
        if not self.live:
            return
        number = self.dice.choice(sorted(self.live))
        ends: tuple[str | None, str | None] = self.dice.choice(
            [(None, None), (rfc3339(self.journal.clock()), None), (None, "kind")]
        )
        self.repository.decide(Pin(number, "a reason", *ends), started=rfc3339(self.journal.clock()))

    def unpin(self) -> None:
        if self.repository.state.pins:
            number = self.dice.choice(sorted(self.repository.state.pins))
            self.repository.decide(Unpin(number), started=rfc3339(self.journal.clock()))

    def tag(self) -> None:
        if self.live:
            change = Retag(
                self.dice.choice(sorted(self.live)), (("kind", self.dice.choice(["release", "other"])),), ("old",)
            )
            self.repository.decide(change, started=rfc3339(self.journal.clock()))

    def prune(self, repository: Repository | None = None) -> PruneResult:
        repository = self.repository if repository is None else repository
        clock = self.journal.clock
        rules = self.dice.choice(RULES)
        plan = prepare(repository, rules, undo_seconds=UNDO_SECONDS, confirmed=True, now=clock)
        result = prune(repository, plan, now=clock)
        self.live -= set(plan.retired_points)
        return result

    def compact(self, repository: Repository | None = None) -> CompactResult:
        """Small packs become few; now and then others back up or prune between the plan and its end, or it is stopped."""
        repository = self.repository if repository is None else repository
        plan = compaction.prepare(repository, CompactOptions(target_bytes=self.dice.choice(TARGETS)))
        others = self.dice.choice([None, None, None, self.backup, self.prune, self.undo, self.again])
        stop = self.dice.choice([None, None, None, 1])
        asked = 0

        def is_over() -> bool:
            nonlocal asked
            asked += 1
            if others is not None and asked == 1:
                others()
            return stop is not None and asked > stop

        return compaction.compact(repository, plan, now=self.journal.clock, rng=self.dice, is_over=is_over)

    def again(self) -> None:
        """Another compaction, by somebody else."""
        self.compact(self.journal.open())

    def undo(self) -> None:
        if self.repository.state.retirements:
            _, points = take_back(self.repository, None, now=self.journal.clock)
            self.live |= set(points)

    def check(self, repository: Repository | None = None) -> None:
        """Every point that was not let go holds what it held, byte for byte."""
        repository = self.repository if repository is None else repository
        assert {point.number for point in repository.points()} == self.live
        for point in repository.points():
            found = contents(repository, point)
            gaps = {part.generation.topic_partition: part.gaps for part in repository.view(point).partitions}
            for partition, (data, lost) in self.held[point.number].items():
                assert found[partition] == data, (point.number, partition)
                assert [each.offsets for each in gaps[partition]] == lost
                assert PRUNED not in {each.reason for each in gaps[partition]}

    def step(self) -> None:
        weights = {
            self.backup: 8,
            self.prune: 3,
            self.compact: 2,
            self.wait: 2,
            self.undo: 1,
            self.pin: 1,
            self.unpin: 1,
            self.tag: 1,
            self.orphan: 1,
        }
        self.dice.choices(list(weights), list(weights.values()))[0]()
