"""What stored runs play back, against a model that looks at every single record and knows what became of it.

`test_transactions.py` holds one answer of a broker against one list. Here a log grows, is compacted and loses markers
between captures; each capture is cut into runs at any border; and what `voided` makes of all the runs' lists decides.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.facts import run_ref
from tests.support.operations import new_repository
from tests.support.repositories import draft, generation, opened
from tests.support.simulated_log import ABORT, COMMIT, Entry, SimulatedLog, Transaction, record

from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.records import decode
from kafkeep.kafka.wire.transactions import CommittedFilter, TransactionTracker
from kafkeep.model import AbortedTransaction, RunRef
from kafkeep.playback import play, voided
from kafkeep.repository.repository import Repository

OF = generation()
KINDS = [*["data"] * 5, *["commit"] * 3, *["abort"] * 3, *["capture"] * 2, "plain", "idempotent", "lone abort"]
KINDS += ["compact", "forget"]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from([1, 1, 1, 2, 3]),
        st.integers(1, 3),
        st.booleans(),
        st.integers(0, 2**16),
    ),
    min_size=10,
    max_size=40,
)
Event = tuple[str, int, int, bool, int]


@dataclass
class Captured:
    """A run as a capture stores it, and the truth of every batch in it."""

    start: int
    stop: int
    entries: list[Entry]
    aborted: tuple[AbortedTransaction, ...]
    open_transactions: tuple[AbortedTransaction, ...] = ()

    @property
    def data(self) -> bytes:
        return b"".join(entry.data for entry in self.entries)

    @property
    def ref(self) -> RunRef:
        return run_ref(OF, self.start, self.stop, aborted=self.aborted, open_transactions=self.open_transactions)


@dataclass
class World:
    """A log, and a backup that follows it: up to the last stable offset, or up to the high watermark."""

    stable: bool
    log: SimulatedLog = field(default_factory=SimulatedLog)
    runs: list[Captured] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """Offset of the marker of each decided transaction, by the transaction's id()."""
    decided: list[Transaction] = field(default_factory=list)

    @property
    def reached(self) -> int:
        return self.runs[-1].stop if self.runs else 0

    def happen(self, event: Event) -> None:
        kind, producer, count, flag, dice = event
        log = self.log
        items = [record(b"v", key=b"k") for _ in range(count)]
        if kind == "plain":
            log.append(items, codec=dice % 5)
        elif kind == "idempotent":
            log.append(items, producer_id=producer + 100)
        elif kind == "data":
            log.append(items, producer_id=producer, transactional=True, codec=dice % 5)
        elif kind in ("commit", "abort"):
            self.decide(producer, COMMIT if kind == "commit" else ABORT, raise_epoch=flag)
        elif kind == "lone abort" and producer not in log.ongoing:
            log.decide(producer, ABORT, raise_epoch=flag)
        elif kind == "compact":
            log.compact(lambda item: item.offset % 3 != count % 3, below=log.end)
        elif kind == "forget":
            self.forget_markers(dice)
        elif kind == "capture":
            self.capture(dice)

    def decide(self, producer: int, decision: int, *, raise_epoch: bool) -> None:
        transaction = self.log.ongoing.get(producer)
        if transaction is not None:
            marker = self.log.decide(producer, decision, raise_epoch=raise_epoch)
            self.ends[id(transaction)] = marker.base
            self.decided.append(transaction)

    def forget_markers(self, dice: int) -> None:
        """The cleaner takes markers whose transaction has no data left, with their lines of the index.

        Following the high watermark, a backup must have seen a marker before it goes, or it never learns of it.
        """
        upper = self.log.last_stable if self.stable else min(self.reached, self.log.last_stable)
        gone = {self.ends[id(each)] for each in self.decided if self.ends[id(each)] < upper and not self.left(each)}
        gone = {base for base in gone if (base + dice) % 3}
        self.log.entries = [entry for entry in self.log.entries if entry.base not in gone]
        self.log.index = [line for line in self.log.index if line.last not in gone]

    def left(self, transaction: Transaction) -> bool:
        return any(entry.transaction is transaction and entry.records for entry in self.log.entries)

    def capture(self, dice: int) -> None:
        """Everything readable behind what there is, cut into runs at some of the batch borders."""
        stop = self.log.last_stable if self.stable else self.log.end
        new = [copy.copy(e) for e in self.log.entries if e.base >= self.reached and e.following <= stop]
        # Two of the bits, so that some runs are long and some are short.
        cuts = [
            e.base for n, e in enumerate(new) if (dice >> n % 16) & 1 and (dice >> n % 5) & 1 and e.base > self.reached
        ]
        tracker = TransactionTracker(self.runs[-1].open_transactions if self.runs else ())
        for end in [*cuts, stop]:
            start = self.reached
            if end <= start:
                continue
            entries = [e for e in new if start <= e.base < end]
            if self.stable:
                lines = self.log.aborted_from(start, end + dice % 7)
                told = tuple(AbortedTransaction(line.producer_id, line.first) for line in lines)
                self.runs.append(Captured(start, end, entries, told))
            else:
                taken = [tracker.take(e.info, memoryview(e.data)) for e in entries]
                told = tuple(found for found in taken if found is not None)
                self.runs.append(Captured(start, end, entries, told, tracker.open_transactions))

    def visible(self, start: int = 0, stop: int = 2**62) -> list[int]:
        """Offsets that count: not of a transaction that was aborted, or undecided as far as the backup saw."""
        return [
            item.offset
            for run in self.runs
            for entry in run.entries
            for item in entry.records
            if start <= item.offset < stop and self.counts(entry.transaction)
        ]

    def counts(self, transaction: Transaction | None) -> bool:
        if transaction is None or self.stable:
            return transaction is None or transaction.decision == COMMIT
        return transaction.decision == COMMIT and self.ends[id(transaction)] < self.reached


def world_of(events: list[Event], *, stable: bool) -> World:
    world = World(stable)
    for event in [*events, ("capture", 1, 1, False, events[0][4] if events else 0)]:
        world.happen(event)
    return world


@examples(600)
@given(EVENTS, st.booleans())
def test_the_lists_of_all_runs_leave_what_counts(events: list[Event], stable: bool) -> None:
    world = world_of(events, stable=stable)
    found: list[int] = []
    for run, void in zip(world.runs, voided([run.ref for run in world.runs]), strict=True):
        keep, position = CommittedFilter(void), 0
        view = memoryview(run.data)
        for info in walk(view)[0]:
            whole = view[position : position + info.size]
            position += info.size
            if keep.counts(info, whole):
                found += [item.offset for item in decode(whole, info)]
    assert found == world.visible()


def stored(world: World) -> tuple[Repository, list[RunRef]]:
    repository = new_repository(chunk_bytes=1)  # each batch is a chunk
    with repository.pack_writer() as writer:
        for run in world.runs:
            writer.begin_run(OF, run.start)
            view = memoryview(run.data)
            writer.append(view, walk(view)[0])
            writer.end_run(run.stop, aborted=run.aborted, open_transactions=run.open_transactions)
        pack = writer.finish()
    repository.commit(draft(packs=[pack], open_=opened(OF)))
    return repository, list(repository.state.generations[OF].runs)


@examples(150)
@given(EVENTS, st.booleans(), st.integers(0, 30), st.integers(0, 30))
def test_any_range_plays_what_counts_in_it(events: list[Event], stable: bool, start: int, stop: int) -> None:
    world = world_of(events, stable=stable)
    if not world.runs:
        return
    repository, runs = stored(world)
    for low, high in ((0, 2**62), (start, 2**62), (start, stop)):
        found = [
            item.offset
            for played in play(repository, runs, start=low, stop=high)
            for item in decode(played.batch, played.info)
            if played.start <= item.offset < played.stop
        ]
        assert found == world.visible(low, high)
