"""What a recovery point must hold back so that no transaction is in it in part: pure, after docs/transactions.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import NamedTuple

from kafkeep.capture.moments import Ends
from kafkeep.model import AbortedTransaction, Generation, HeldBack, PartitionCut, TopicPartition
from kafkeep.records import dataclass

NOT_CONSISTENT = "NOT_CONSISTENT"
"""Reason of the failure of a point that was to be consistent by transaction and is not."""

MOST_HELD_BACK = 100_000
"""Entries of one point: a commit has a limit (docs/format.md)."""


class Decided(NamedTuple):
    """The data of a transaction in one partition, and the marker that ends it there."""

    producer_id: int
    first_offset: int
    marker_offset: int


@dataclass(slots=True)
class PartitionLedger:
    """The transactions of one partition as they were met while it was read."""

    generation: Generation
    start: int
    """Where reading began."""
    stop: int
    """How far it came."""
    open: tuple[AbortedTransaction, ...]
    """Those undecided at `stop`."""
    decided: set[Decided] = field(default_factory=set)
    """Those whose marker lies at or beyond the floor."""
    changed: bool = False
    """History changed while it was read: offsets from before say nothing of it."""


class Ledger:
    """Notes the transactions of all partitions from the floor on. Each partition is read by one thread at a time."""

    def __init__(self, floor: Ends) -> None:
        self.floor = floor
        self.partitions: dict[TopicPartition, PartitionLedger] = {}

    def begin(self, generation: Generation, start: int, undecided: tuple[AbortedTransaction, ...]) -> None:
        """Reading of a partition begins, or goes on; with a hole between, what was noted before is void."""
        known = self.partitions.get(generation.topic_partition)
        if known is None or known.generation != generation or not known.start <= start <= known.stop:
            changed = known is not None and (known.changed or known.generation != generation)
            self.partitions[generation.topic_partition] = PartitionLedger(
                generation, start, start, undecided, changed=changed
            )

    def decide(self, partition: TopicPartition, decided: Decided) -> None:
        """A marker was met that ends data."""
        if decided.marker_offset >= self.floor.get(partition, 0):
            self.partitions[partition].decided.add(decided)

    def reach(self, partition: TopicPartition, stop: int, undecided: tuple[AbortedTransaction, ...]) -> None:
        """Everything up to `stop` was noted."""
        known = self.partitions[partition]
        known.stop, known.open = stop, undecided


@dataclass(frozen=True, slots=True)
class Whole:
    """Cuts with what they hold back; `doubts` says why transactions may still be torn, empty when none is."""

    cuts: tuple[PartitionCut, ...]
    doubts: tuple[str, ...]


def make_whole(cuts: Iterable[PartitionCut], ledger: Ledger, moments: Mapping[int, Ends]) -> Whole:
    """Holds back all data of transactions whose markers do not lie below their producer's moment."""
    doubts: list[str] = []
    strangers: set[int] = set()
    ends = list({id(each): each for each in (ledger.floor, *moments.values())}.values())
    found: list[PartitionCut] = []
    for cut in cuts:
        partition = cut.generation.topic_partition
        noted = ledger.partitions.get(partition)
        if noted is None or not _is_complete(noted, cut, ledger.floor.get(partition, 0)):
            doubts.append(f"{partition} was not read from end to end")
            found.append(cut)
            continue
        if any(each.get(partition, 0) > cut.stop for each in ends):
            doubts.append(f"{partition} ends at {cut.stop}, before where it ended a moment earlier")
        touched = _undecided_or_late(noted, cut.stop)
        if touched and not all(partition in each for each in ends):
            doubts.append(f"{partition} came to be while transactions were looked at")
        strangers |= {item.producer_id for item in touched if item.producer_id not in moments}
        found.append(replace(cut, held_back=_held_back(touched, partition, cut.stop, moments)))
    if sum(len(cut.held_back) for cut in found) > MOST_HELD_BACK:
        doubts.append(f"more than {MOST_HELD_BACK} pieces of transactions would have to be held back")
    if strangers:
        named = ", ".join(map(str, sorted(strangers)[:10])) + (" and more" if len(strangers) > 10 else "")
        doubts.append(
            f"no coordinator told of the producers with the ids {named}, which have transactions near the cut"
        )
    return Whole(tuple(found), tuple(doubts))


def _is_complete(noted: PartitionLedger, cut: PartitionCut, floor: int) -> bool:
    """True when no transaction near the cut can have escaped notice."""
    same = noted.generation == cut.generation and not noted.changed
    return same and noted.start <= max(floor, cut.start) and noted.stop >= cut.stop


def _undecided_or_late(noted: PartitionLedger, stop: int) -> list[Decided]:
    """Transactions with data below the cut whose marker lies beyond the floor, or beyond the cut, or is still to come."""
    late = [item for item in noted.decided if item.first_offset < stop]
    return late + [
        Decided(item.producer_id, item.first_offset, stop) for item in noted.open if item.first_offset < stop
    ]


def _held_back(
    touched: Iterable[Decided], partition: TopicPartition, stop: int, moments: Mapping[int, Ends]
) -> tuple[HeldBack, ...]:
    first: dict[int, int] = {}
    for item in touched:
        moment = moments.get(item.producer_id)
        if moment is not None and item.marker_offset >= moment.get(partition, 0):
            first[item.producer_id] = min(item.first_offset, first.get(item.producer_id, item.first_offset))
    # From there on to the cut everything of this producer is later than its moment.
    return tuple(HeldBack(producer, start, stop) for producer, start in sorted(first.items()))
