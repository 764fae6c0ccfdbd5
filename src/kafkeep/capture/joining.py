"""Putting the ranges of a divided partition together again: what of them may be committed, and when.

The commit log takes a partition's runs in the order of their offsets only. Packs of a later range are held until all ranges
in front of it are complete, and a range counts only if it goes on the history that the one in front of it ends with: a log
that was truncated and written anew between two readings would otherwise be stored as one that never was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafkeep.capture.partitions import COMPLETE, MOVED, PartitionOutcome
from kafkeep.capture.plan import PartitionPlan
from kafkeep.capture.ranges import Ranges
from kafkeep.model import PackRef, RunFacts

CONTINUES: Final = "continues"
"""Read as far as this round goes: the next one goes on there."""
TORN: Final = "TORN"
"""Reason of a partition that `MOVED` because a range does not go on the history in front of it."""

NextEpoch = Callable[[PartitionPlan, int], int | None]
"""Asks the broker for the leader epoch of the batch that begins where a range does, in a log that has the given epoch in
front of it; None where there is no such batch, or the log's history is another one."""


class Joining:
    """The ranges of one partition, while tasks read them side by side. Used by one thread."""

    def __init__(self, ranges: Ranges, next_epoch: NextEpoch) -> None:
        self._ranges = ranges
        self._next_epoch = next_epoch
        self._held: dict[int, list[PackRef]] = {}
        self._ended: dict[int, PartitionOutcome] = {}
        self._turn = 0
        """The range whose packs may be committed."""
        self._expected: int | None = None
        """The leader epoch that this range must begin with; None for the first, which goes on what is stored."""
        self._over: PartitionOutcome | None = None
        self._reached = ranges.whole.start
        self._epoch = ranges.whole.last_fetched_epoch
        self.records = 0
        """Of what may be committed; likewise `size_bytes`."""
        self.size_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Size of the packs that wait."""
        return sum(pack.size for packs in self._held.values() for pack in packs)

    def take(self, pack: PackRef) -> tuple[PackRef, ...]:
        """A pack of one of the ranges is durable. Returns what may be committed of it: all, or nothing for now."""
        number = self._ranges.number_of(pack.runs[0].coverage.start)
        if self._over is not None or number < self._turn:
            return ()
        if number > self._turn:
            self._held.setdefault(number, []).append(pack)
            return ()
        return self._join(pack)

    def end(self, outcome: PartitionOutcome) -> tuple[PackRef, ...]:
        """A range was read, or was not. Returns the packs that waited for it and may be committed."""
        self._ended[self._ranges.number_of(outcome.plan.start)] = outcome
        released: list[PackRef] = []
        while self._over is None and (ended := self._ended.get(self._turn)) is not None:
            if not self._goes_on(ended):
                break
            for pack in self._held.pop(self._turn, []):
                released += self._join(pack)
        if self._over is not None:
            self._held.clear()
        return tuple(released)

    def outcome(self) -> PartitionOutcome:
        """How far the partition was read as a whole, and why it ended there."""
        over = self._over
        whole = self._ranges.whole
        if over is None:
            return PartitionOutcome(whole, self._reached, MOVED, TORN, "not all of its ranges were read")
        return PartitionOutcome(whole, self._reached, over.status, over.reason, over.message)

    def _goes_on(self, ended: PartitionOutcome) -> bool:
        """Whether the next range has its turn now. If it has not, this one was the last that counts."""
        part = ended.plan
        last = self._turn == len(self._ranges.parts) - 1
        if ended.status != COMPLETE:
            self._over = ended
        elif self._reached != ended.reached or (self._reached != part.stop and not last):
            self._tear(part.stop, f"what was read ends at {self._reached}")
        elif last:
            status = COMPLETE if self._ranges.to_the_cut else CONTINUES
            self._over = PartitionOutcome(part, self._reached, status)
        else:
            following = self._ranges.parts[self._turn + 1]
            self._expected = self._next_epoch(following, self._epoch)
            if self._expected is None:
                self._tear(following.start, f"no batch begins there behind epoch {self._epoch}")
            self._turn += 1
        return self._over is None

    def _join(self, pack: PackRef) -> tuple[PackRef, ...]:
        first = pack.runs[0]
        if self._over is not None:
            return ()
        if not self._fits(first):
            self._tear(first.coverage.start, f"the range begins with the epochs {first.leader_epochs[:1]}")
            return ()
        self._expected = None
        for run in pack.runs:
            self._reached = run.coverage.stop
            self._epoch = run.leader_epochs[-1][0] if run.leader_epochs else self._epoch
            self.records += run.records
            self.size_bytes += run.raw_bytes
        return (pack,)

    def _fits(self, first: RunFacts) -> bool:
        """Whether a run goes on what is joined. The batch at a border is told by its epoch and its offset: two logs that
        have the same there are the same up to there (KIP-101)."""
        if first.coverage.start != self._reached:
            return False
        return self._expected is None or first.leader_epochs[:1] == ((self._expected, self._reached),)

    def _tear(self, offset: int, why: str) -> None:
        self._over = PartitionOutcome(
            self._ranges.whole, self._reached, MOVED, TORN, f"the ranges do not join at offset {offset}: {why}"
        )
