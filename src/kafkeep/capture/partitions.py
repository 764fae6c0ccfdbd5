"""The task of a backup: read partitions of one broker, batch bytes as they are, into packs.

One connection, at most two Fetch requests under way: while one response is checked and written, the broker prepares the
next. A broker serves partitions in the order of the request until the response is full, so a task works through its
partitions one after the other and runs lie contiguous in the pack without any buffering.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from kafkeep.batch_rows import ends as batch_ends
from kafkeep.capture.pacing import Fetcher
from kafkeep.capture.plan import CaptureTask, PartitionPlan
from kafkeep.capture.publish import PackPublisher
from kafkeep.capture.whole import Decided, Ledger
from kafkeep.errors import CorruptBatch, KafkaError, KafkaProtocolError, KafkaRequestError, KafkaUnreachable
from kafkeep.events import EventSink, PartitionDone, Progress
from kafkeep.kafka.codes import ErrorCode, code_name, retriable
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.wire.batch import LENGTH_END, walk
from kafkeep.kafka.wire.transactions import TransactionTracker
from kafkeep.model import CONTROL_BIT, AbortedTransaction, BatchInfo, PackRef, TopicPartition
from kafkeep.records import dataclass

COMPLETE: Final = "complete"
"""Read up to the cut."""
INTERRUPTED: Final = "interrupted"
"""Stopped by request; what was read is kept."""
MOVED: Final = "moved"
"""The broker no longer serves the partition, or was lost: ask for the leader and go on there."""
OVERTAKEN: Final = "overtaken"
"""The position is outside the log: compare with the log start and end."""
DIVERGED: Final = "diverged"
"""The broker's history differs from what is stored: the log was truncated."""
GONE: Final = "gone"
"""The topic id is not there any more."""
FAILED: Final = "failed"
"""Refused for good, or unreadable."""

STALLED: Final = "STALLED"
"""Reason of a partition that `MOVED` because its leader does not serve up to the cut."""

_LOST: Final = (KafkaUnreachable, KafkaProtocolError, KafkaRequestError)
"""What ends the use of a connection and leaves its partitions to another one."""
_EMPTY_ANSWERS_THAT_PROVE: Final = 2
_EMPTY_ANSWERS_THAT_STALL: Final = 40
_STRIKES: Final = 3
_FEWEST_ASKED: Final = 16


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """How far a partition was read, and why it ended there."""

    plan: PartitionPlan
    reached: int
    status: str
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class _Reader:
    """Where one partition stands while its task runs."""

    plan: PartitionPlan
    next_offset: int
    epoch: int
    empty_answers: int = 0
    strikes: int = 0
    records: int = 0
    size_bytes: int = 0
    tracker: TransactionTracker | None = None
    """Only for a cut at the high watermark: to such a reader brokers tell nothing of transactions."""

    def position(self) -> FetchPosition:
        generation = self.plan.generation
        return FetchPosition(
            generation.topic_partition, generation.topic_id, self.next_offset, self.plan.leader_epoch, self.epoch
        )


@dataclass(slots=True)
class _OpenRun:
    """The run that is open in the pack. Only what was learnt of aborted transactions while this run was read belongs to
    it: an entry from before the run's start then always means that its abort marker is still to come.
    """

    reader: _Reader
    stop: int
    aborted: set[AbortedTransaction]


@dataclass(frozen=True, slots=True)
class _Portion:
    """Whole checked batches of one response, to be written."""

    reader: _Reader
    view: memoryview
    infos: Sequence[BatchInfo]
    start: int
    stop: int
    aborted: tuple[AbortedTransaction, ...]
    completes: bool
    """The partition is at its cut with this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    pack_bytes: int
    """A pack is closed once it holds this much."""
    portion_bytes: int
    """Most that goes into a pack at once; what an answer holds beyond it is asked for again."""
    undecided: bool = False
    """Read beyond the last stable offset: what is aborted or open must be found out from the markers."""


class PartitionCapture:
    """Runs one `CaptureTask`; emits each pack as it becomes durable and returns an outcome per partition."""

    def __init__(
        self,
        task: CaptureTask,
        *,
        fetcher: Fetcher,
        publisher: PackPublisher,
        limits: CaptureLimits,
        is_on_leader: Callable[[TopicPartition, int], bool],
        sink: EventSink,
        stopped: Callable[[], bool],
        ledger: Ledger | None = None,
    ) -> None:
        """`ledger` is told of every transaction; only for a cut at the high watermark."""
        self._ledger = ledger
        self._fetcher = fetcher
        self._is_on_leader = is_on_leader
        self._publisher = publisher
        self._limits = limits
        self._sink = sink
        self._stopped = stopped
        self._active = {
            part.generation.topic_partition: _Reader(
                part,
                part.start,
                part.last_fetched_epoch,
                tracker=TransactionTracker(part.open_transactions) if limits.undecided else None,
            )
            for part in task.partitions
        }
        if ledger is not None:
            for part in task.partitions:
                ledger.begin(part.generation, part.start, part.open_transactions)
        self._asked: list[TopicPartition] = []
        """In the request under way, in order: an answer for the first that is empty says that there is nothing."""
        self._window = _FEWEST_ASKED
        """How many partitions are asked for at once."""
        self._outcomes: list[PartitionOutcome] = []
        self._run: _OpenRun | None = None

    def run(self) -> tuple[PartitionOutcome, ...]:
        try:
            self._read_all()
        except _LOST as error:
            self._end_everyone(MOVED, error.slug, str(error))
        self._close_run()
        self._publisher.finish()
        return tuple(self._outcomes)

    def _read_all(self) -> None:
        self._request()
        while self._active:
            if self._stopped():
                self._end_everyone(INTERRUPTED)
                return
            self._align()
            answers = self._fetcher.receive()
            self._window = _next_window(self._window, self._asked, answers)
            ready = [found for answer in answers if (found := self._examine(answer)) is not None]
            lost: KafkaError | None = None
            try:
                self._request()
            except _LOST as error:
                lost = error
            self._publisher.settle()  # the next answer comes to lie where the one before this lies
            for portion in ready:
                self._store(portion)
            if lost is not None:
                raise lost

    def _align(self) -> None:
        """Has the next answer received so that what it most likely begins with lies as its pack wants it."""
        reader = self._active.get(self._asked[0])
        if reader is not None:
            self._fetcher.align(self._publisher.place_in(reader.plan.generation, reader.next_offset))

    def _request(self) -> None:
        if self._active:
            self._asked = list(islice(self._active, self._window))
            self._fetcher.send([self._active[partition].position() for partition in self._asked])

    def _examine(self, answer: FetchedPartition) -> _Portion | None:
        """Moves the reader on by headers alone, so that the next request can leave before the bytes are written."""
        reader = self._active.get(answer.topic_partition)
        if reader is None:
            return None
        if answer.diverging is not None:
            epoch, end = answer.diverging
            self._end(reader, DIVERGED, "truncation", f"the broker's history of epoch {epoch} ends at {end}")
            return None
        if answer.error != ErrorCode.NONE:
            self._end_by_error(reader, answer.error)
            return None
        infos, damage = _sound_batches(answer.records)
        first, stop = _wanted(infos, reader)
        if damage is not None and first == stop:
            self._strike(reader, damage)
            return None
        if first < stop:
            return self._advance(reader, answer, infos, first, stop)
        if reader.next_offset >= reader.plan.stop:
            self._end(reader, COMPLETE)
            self._sink(PartitionDone("backup", answer.topic_partition, reader.records, reader.size_bytes))
            return None
        beyond = bool(infos) and infos[-1].base_offset >= reader.plan.stop
        return self._cover_without_data(reader) if beyond or self._proves_absence(reader, answer) else None

    def _advance(
        self, reader: _Reader, answer: FetchedPartition, infos: Sequence[BatchInfo], first: int, wanted: int
    ) -> _Portion:
        """Takes the batches from number `first` up to number `wanted`, as far as a portion goes; one at least."""
        ends = batch_ends(infos)
        skipped = ends[first - 1] if first else 0
        stop = max(first + 1, bisect_right(ends, skipped + self._limits.portion_bytes, first, wanted))
        start, last = reader.next_offset, infos[stop - 1]
        reader.next_offset = last.next_offset
        reader.epoch = last.leader_epoch
        reader.empty_answers = reader.strikes = 0
        beyond = stop == wanted < len(infos)
        completes = beyond or reader.next_offset >= reader.plan.stop
        if completes:
            reader.next_offset = max(reader.next_offset, reader.plan.stop)
            self._end(reader, COMPLETE)
        view, taken = answer.records[skipped : ends[stop - 1]], infos[first:stop]
        return _Portion(reader, view, taken, start, reader.next_offset, answer.aborted, completes)

    def _proves_absence(self, reader: _Reader, answer: FetchedPartition) -> bool:
        """No whole batch. Behind others in the response that says nothing; asked first, and twice, while the broker
        could serve up to the cut from its own disk, it means that compaction took the last batches before it.
        """
        if answer.topic_partition != self._asked[0]:
            return False
        reader.empty_answers += 1
        readable = answer.high_watermark if self._limits.undecided else answer.last_stable_offset
        absent = readable >= reader.plan.stop and not len(answer.records)
        if absent and reader.empty_answers >= _EMPTY_ANSWERS_THAT_PROVE:
            if self._is_on_leader(answer.topic_partition, reader.next_offset):
                return True
            absent = False
        if not absent and reader.empty_answers >= _EMPTY_ANSWERS_THAT_STALL:
            where = f"from {reader.next_offset} on, {reader.plan.stop} expected"
            self._end(reader, MOVED, STALLED, f"the broker serves nothing {where}; it is at {readable}")
        return False

    def _cover_without_data(self, reader: _Reader) -> _Portion:
        start, reader.next_offset = reader.next_offset, reader.plan.stop
        self._end(reader, COMPLETE)
        return _Portion(reader, memoryview(b""), (), start, reader.next_offset, (), completes=True)

    def _store(self, portion: _Portion) -> None:
        reader = portion.reader
        if self._run is not None and self._run.reader is not reader:
            self._close_run()
        if not self._publisher.writer.fits(len(portion.view)):
            self._close_run()
            self._publisher.publish()
        if self._run is None:
            self._open_run(reader, portion.start)
        run = self._run
        if run is None:
            raise RuntimeError("a run was opened just above")
        records = self._publisher.writer.append(portion.view, portion.infos, lent=True)
        run.stop = portion.stop
        run.aborted.update(portion.aborted)
        if reader.tracker is not None:
            run.aborted.update(_aborted_by_markers(reader.tracker, portion, self._ledger))
        self._count(portion, records)
        if self._publisher.writer.size >= self._limits.pack_bytes:
            self._close_run()
            self._publisher.publish()

    def _count(self, portion: _Portion, records: int) -> None:
        reader = portion.reader
        reader.size_bytes += len(portion.view)
        reader.records += records
        self._sink(Progress("backup", records, len(portion.view)))
        if portion.completes:
            self._sink(
                PartitionDone("backup", reader.plan.generation.topic_partition, reader.records, reader.size_bytes)
            )

    def _open_run(self, reader: _Reader, start: int) -> None:
        self._publisher.writer.begin_run(reader.plan.generation, start)
        self._run = _OpenRun(reader, start, set())

    def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            tracker = run.reader.tracker
            self._publisher.writer.end_run(
                run.stop,
                aborted=sorted(entry for entry in run.aborted if entry.first_offset < run.stop),
                open_transactions=() if tracker is None else tracker.open_transactions,
            )

    def _end_by_error(self, reader: _Reader, code: int) -> None:
        """Sorts a partition's error code into what the coordinator must do next."""
        name = code_name(code)
        message = (
            f"fetch of {reader.plan.generation.topic_partition} at offset {reader.next_offset} was refused: {name}"
        )
        if code == ErrorCode.OFFSET_OUT_OF_RANGE:
            self._end(reader, OVERTAKEN, name, message)
        elif code in _TOPIC_IS_GONE:
            self._end(reader, GONE, name, message)
        elif retriable(code):
            self._end(reader, MOVED, name, message)
        else:
            self._end(reader, FAILED, name, message)

    def _strike(self, reader: _Reader, error: CorruptBatch) -> None:
        """A bad batch may be the connection's fault: it is read again, and the partition given up after three times."""
        reader.strikes += 1
        if reader.strikes >= _STRIKES:
            self._end(reader, FAILED, error.slug, str(error))

    def _end(self, reader: _Reader, status: str, reason: str = "", message: str = "") -> None:
        del self._active[reader.plan.generation.topic_partition]
        self._outcomes.append(PartitionOutcome(reader.plan, reader.next_offset, status, reason, message))

    def _end_everyone(self, status: str, reason: str = "", message: str = "") -> None:
        for reader in list(self._active.values()):
            self._end(reader, status, reason, message)


_TOPIC_IS_GONE: Final = frozenset(
    {ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INCONSISTENT_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
)


def _next_window(window: int, asked: Sequence[TopicPartition], answers: Sequence[FetchedPartition]) -> int:
    """How many partitions to ask for next: twice as many as the response had room for, so that of a thousand partitions
    not all are named and looked through for every few megabytes; more, while there was room for all or nothing came.
    """
    served = {answer.topic_partition for answer in answers if len(answer.records)}
    last = max((number for number, partition in enumerate(asked, 1) if partition in served), default=0)
    if last in (0, len(asked)):
        return max(window, min(2 * window, 2 * len(asked)))
    return max(_FEWEST_ASKED, 2 * last)


def _sound_batches(records: memoryview) -> tuple[Sequence[BatchInfo], CorruptBatch | None]:
    """The whole batches of an answer; when one of them is damaged, those in front of it and what is wrong."""
    try:
        return walk(records)[0], None
    except CorruptBatch as error:
        return _in_front_of_damage(records), error


def _in_front_of_damage(records: memoryview) -> list[BatchInfo]:
    infos: list[BatchInfo] = []
    position = 0
    while position + LENGTH_END <= len(records):
        length = int.from_bytes(records[position + 8 : position + LENGTH_END], "big", signed=True)
        try:
            found, used = walk(records[position : position + LENGTH_END + max(length, 0)])
        except CorruptBatch:
            break
        if not used or (infos and found[0].base_offset < infos[-1].next_offset):
            break
        infos += found
        position += used
    return infos


def _wanted(infos: Sequence[BatchInfo], reader: _Reader) -> tuple[int, int]:
    """Number of the first batch between the position and the cut, and of the first behind these; a first batch that only
    ends behind the position is kept whole.
    """
    position, cut = reader.next_offset, reader.plan.stop
    if infos and infos[0].base_offset >= position and infos[-1].base_offset < cut:
        return 0, len(infos)
    first = bisect_left(infos, position, key=_LAST_OFFSET)
    return first, bisect_left(infos, cut, first, key=_BASE_OFFSET)


_LAST_OFFSET: Final = attrgetter("last_offset")
_BASE_OFFSET: Final = attrgetter("base_offset")


def _aborted_by_markers(
    tracker: TransactionTracker, portion: _Portion, ledger: Ledger | None
) -> list[AbortedTransaction]:
    found: list[AbortedTransaction] = []
    partition = portion.reader.plan.generation.topic_partition
    position = 0
    for info in portion.infos:
        first = tracker.first_offset(info.producer_id) if info.attributes & CONTROL_BIT else None
        aborted = tracker.take(info, portion.view[position : position + info.size])
        position += info.size
        if aborted is not None:
            found.append(aborted)
        if ledger is not None and first is not None and tracker.first_offset(info.producer_id) is None:
            ledger.decide(partition, Decided(info.producer_id, first, info.base_offset))
    if ledger is not None:
        ledger.reach(partition, portion.stop, tracker.open_transactions)
    return found


def capture_partitions(
    task: CaptureTask,
    emit: Callable[[PackRef], None],
    cancelled: threading.Event,
    *,
    open_fetcher: Callable[[int], Fetcher],
    open_publisher: Callable[[Callable[[PackRef], None]], PackPublisher],
    limits: CaptureLimits,
    is_on_leader: Callable[[TopicPartition, int], bool],
    sink: EventSink,
    stop: threading.Event,
    ledger: Ledger | None = None,
) -> tuple[PartitionOutcome, ...]:
    """Runs the task to its end, or until `stop` (keep what was read) or `cancelled` (another task failed) is set."""
    try:
        fetcher = open_fetcher(task.broker)
    except _LOST as error:
        return tuple(PartitionOutcome(part, part.start, MOVED, error.slug, str(error)) for part in task.partitions)
    with open_publisher(emit) as publisher:
        try:
            capture = PartitionCapture(
                task,
                fetcher=fetcher,
                publisher=publisher,
                limits=limits,
                is_on_leader=is_on_leader,
                sink=sink,
                stopped=lambda: stop.is_set() or cancelled.is_set(),
                ledger=ledger,
            )
            return capture.run()
        finally:
            fetcher.close()
