"""The task of a restore by produce: batches of several partitions to one broker, over one connection.

Up to five requests are under way, each with at most one batch of a partition: a broker keeps the last five batches of
an idempotent producer per partition and answers a repetition with the first one's offset (KIP-98,
storage/internals/log/ProducerStateEntry.java). So whatever is unclear is simply sent again, in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from kafkeep.errors import KafkaProtocolError, KafkaUnreachable
from kafkeep.events import EventSink, PartitionDone, Progress, Retried
from kafkeep.kafka.codes import ErrorCode, code_name, retriable
from kafkeep.kafka.produce import BrokerProducer, ProduceBatch, ProducedBatch
from kafkeep.model import TopicPartition
from kafkeep.offset_map import MapRow, OffsetMapBuilder
from kafkeep.records import dataclass
from kafkeep.restore.batches import ReadyBatch
from kafkeep.restore.plan import PartitionRestore

MOST_IN_FLIGHT: Final = 5
MOST_OPEN: Final = 64
"""Partitions of a task that are read at the same time: each holds a chunk or two of the repository in memory."""
_REQUESTS_READY: Final = 2
"""No more partitions are opened while those that are open have enough for so many requests."""
_TRIES_IN_PLACE: Final = 3
_FIRST_SEQUENCE = 0
_SEQUENCES: Final = 2**31
_PAUSE_SECONDS: Final = 0.2

WORKING: Final = "working"
UNCLEAR: Final = "unclear"
"""How much of it the target holds must be read there before anything is sent."""
DONE: Final = "done"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """How far a partition is restored: enough to go on from, over any connection."""

    part: PartitionRestore
    target_id: str
    leader: int
    opened: int
    """Target offset where the first record goes."""
    source_next: int
    sequence: int
    rows: tuple[MapRow, ...] = ()
    size_bytes: int = 0
    """Of the batches that the target has acknowledged."""
    readings: int = 0
    """How often its end on the target was read back."""
    ended_at: int | None = None
    """Log end at which an earlier process of the job found it whole."""
    status: str = WORKING
    reason: str = ""
    message: str = ""

    @property
    def records(self) -> int:
        return sum(row.records for row in self.rows)


def sequence_after(records: int) -> int:
    """The sequence of the next batch of a partition that holds so many records of the job. Sequences start again at 0
    behind 2^31 - 1 (clients/common/record/DefaultRecordBatch.java)."""
    return (_FIRST_SEQUENCE + records) % _SEQUENCES


BatchSource = Callable[[PartitionProgress], Iterator[ReadyBatch]]
"""What is left of a partition to produce."""


@dataclass(frozen=True, slots=True)
class ProduceTask:
    broker: int
    partitions: tuple[PartitionProgress, ...]


class _Stream:
    """One partition while its task runs."""

    def __init__(self, progress: PartitionProgress, batches: BatchSource) -> None:
        self.progress = progress
        self._open = batches
        self._batches = batches(progress)
        self._next: ReadyBatch | None = None
        self._map = OffsetMapBuilder(progress.rows)
        self._target = progress.part.target
        self._target_id = progress.target_id
        self.in_flight: deque[ReadyBatch] = deque()
        """Sent and not acknowledged, oldest first; without their bytes, which are read again if need be."""
        self.unanswered = 0
        """Sent over this connection and not answered at all."""
        self.rewinding = False
        self.retry_at = 0.0
        self.tries = 0
        self._acknowledged = False
        self._target_next = progress.rows[-1].target + progress.rows[-1].records if progress.rows else progress.opened
        self._source_next = progress.source_next
        self._sequence = progress.sequence
        self._size_bytes = progress.size_bytes

    @property
    def most_in_flight(self) -> int:
        """One until a batch is in over this connection. A broker that knows nothing of a producer takes whatever sequence
        comes first (storage/internals/log/ProducerAppendInfo.java), and it may have forgotten ours since the last
        connection: the second batch could get in where the first was turned away.
        """
        return MOST_IN_FLIGHT if self._acknowledged else 1

    def is_behind(self, base_offset: int) -> bool:
        """True when a batch went where the log was known to hold others: it has lost what it had acknowledged."""
        return base_offset < self._target_next

    def peek(self) -> ReadyBatch | None:
        if self._next is None:
            self._next = next(self._batches, None)
        return self._next

    def ready_bytes(self, now: float) -> int:
        """Of the batch that comes next; 0 while none may be sent."""
        batch = None if self.rewinding or self.retry_at > now else self.peek()
        return 0 if batch is None else batch.size

    def next_size(self, now: float) -> int:
        """Bytes of the batch that may be sent next; 0 where none may."""
        return 0 if len(self.in_flight) >= self.most_in_flight else self.ready_bytes(now)

    def take(self) -> ProduceBatch:
        """The next batch, which `peek` has shown to be there."""
        batch, self._next = self._next, None
        if batch is None:
            raise RuntimeError("take() without a batch: peek() tells whether there is one")
        parts, size, records, pieces, next_source, sequence = batch
        self.in_flight.append(ReadyBatch((), size, records, pieces, next_source, sequence))
        self.unanswered += 1
        return ProduceBatch(self._target, self._target_id, parts)

    def acknowledge(self, base_offset: int) -> ReadyBatch:
        """The oldest batch under way is in, its first record at `base_offset`."""
        batch = self.in_flight.popleft()
        target = base_offset
        for source, count in batch.pieces:
            self._map.add(source, target, count)
            target += count
        self.tries = 0
        self._acknowledged = True
        self._target_next = target
        self._source_next = batch.next_source
        self._sequence = batch.sequence + batch.records
        self._size_bytes += batch.size
        return batch

    def rewind(self) -> None:
        """Everything that is not acknowledged will be read and sent again."""
        self.in_flight.clear()
        self._next = None
        self._batches = self._open(self.current())
        self.rewinding = False

    def current(self) -> PartitionProgress:
        return replace(
            self.progress,
            source_next=self._source_next,
            sequence=self._sequence % _SEQUENCES,
            size_bytes=self._size_bytes,
            rows=self._map.rows(),
        )

    def end(self, status: str, reason: str = "", message: str = "") -> PartitionProgress:
        return replace(self.current(), status=status, reason=reason, message=message)


class PartitionProducer:
    """Runs one `ProduceTask`; returns where each partition stands at the end."""

    def __init__(
        self,
        task: ProduceTask,
        *,
        producer: BrokerProducer,
        batches: BatchSource,
        request_bytes: int,
        sink: EventSink,
        stopped: Callable[[], bool],
    ) -> None:
        self._producer = producer
        self._request_bytes = request_bytes
        self._sink = sink
        self._stopped = stopped
        self._batches = batches
        self._waiting = deque(task.partitions)
        self._streams: dict[TopicPartition, _Stream] = {}
        self._order: deque[_Stream] = deque()
        self._ended: list[PartitionProgress] = []

    def run(self) -> tuple[PartitionProgress, ...]:
        try:
            while (self._streams or self._waiting) and not self._stopped():
                self._open_more()
                self._fill()
                if self._producer.outstanding:
                    self._take_all(self._producer.receive())
                elif self._streams:
                    self._pause()
                self._settle()
        except (KafkaUnreachable, KafkaProtocolError) as error:
            self._hand_back(error.slug, str(error))
        self._hand_back("interrupted", "stopped before its end")
        return tuple(self._ended)

    def _open_more(self) -> None:
        if not self._waiting or len(self._streams) >= MOST_OPEN:
            return
        enough = _REQUESTS_READY * self._request_bytes
        now = time.monotonic()
        ready = sum(stream.ready_bytes(now) for stream in self._streams.values())
        while self._waiting and len(self._streams) < MOST_OPEN and ready < enough:
            progress = self._waiting.popleft()
            stream = self._streams[progress.part.target] = _Stream(progress, self._batches)
            self._order.append(stream)
            ready += stream.ready_bytes(now)

    def _fill(self) -> None:
        while self._producer.outstanding < MOST_IN_FLIGHT:
            request = self._next_request()
            if not request:
                return
            self._producer.send(request)

    def _next_request(self) -> list[ProduceBatch]:
        request: list[ProduceBatch] = []
        size = 0
        now = time.monotonic()
        for stream in self._order:
            if not (more := stream.next_size(now)):
                continue
            if request and size + more > self._request_bytes:
                break
            request.append(stream.take())
            size += more
        self._order.rotate(-len(request))
        return request

    def _take_all(self, answers: Sequence[ProducedBatch]) -> None:
        taken = [batch for answer in answers if (batch := self._take(answer)) is not None]
        if taken:
            self._sink(Progress("restore", sum(batch.records for batch in taken), sum(batch.size for batch in taken)))

    def _take(self, answer: ProducedBatch) -> ReadyBatch | None:
        """The batch that the broker has now; None when the answer says anything else."""
        stream = self._streams.get(answer.topic_partition)
        if stream is None:
            return None
        stream.unanswered -= 1
        if stream.rewinding:
            return None
        if answer.error == ErrorCode.NONE and stream.is_behind(answer.base_offset):
            message = f"{answer.topic_partition} has lost records that it had acknowledged"
            self._end(stream, FAILED, "ACKNOWLEDGED_LOST", message)
        elif answer.error == ErrorCode.NONE:
            return stream.acknowledge(answer.base_offset)
        elif answer.error in _SEQUENCE_NOT_AS_EXPECTED:
            name = code_name(answer.error)
            self._end(stream, UNCLEAR, name, f"{answer.topic_partition} answered {name}")
        elif retriable(answer.error) or answer.error in _SENT_TO_AN_OLD_LEADER:
            stream.rewinding = True
            stream.tries += 1
            self._note_retry(stream, answer)
        else:
            self._fail(stream, answer)
        return None

    def _note_retry(self, stream: _Stream, answer: ProducedBatch) -> None:
        name = code_name(answer.error)
        delay = _PAUSE_SECONDS * 2 ** (stream.tries - 1)
        stream.retry_at = time.monotonic() + delay
        self._sink(Retried(str(answer.topic_partition), name, stream.tries, delay))
        if stream.tries > _TRIES_IN_PLACE or answer.current_leader is not None:
            self._end(stream, WORKING, name, f"{answer.topic_partition} answered {name}")

    def _fail(self, stream: _Stream, answer: ProducedBatch) -> None:
        name = code_name(answer.error)
        said = f": {answer.message}" if answer.message else ""
        source = stream.in_flight[0].pieces[0][0]
        message = f"produce to {answer.topic_partition} (source offset {source}) was refused: {name}{said}"
        self._end(stream, FAILED, name, message)

    def _settle(self) -> None:
        """Ends what is finished; what failed goes back once none of its batches is on this connection any more."""
        over: list[_Stream] = []
        for stream in self._order:
            if stream.rewinding:
                if stream.unanswered == 0:
                    stream.rewind()
            elif not stream.in_flight and stream.peek() is None:
                over.append(stream)
        for stream in over:
            self._end(stream, DONE)

    def _pause(self) -> None:
        """Nothing is under way: every partition that is left waits for its next try."""
        earliest = min(stream.retry_at for stream in self._streams.values())
        time.sleep(min(_PAUSE_SECONDS, max(0.0, earliest - time.monotonic())))

    def _end(self, stream: _Stream, status: str, reason: str = "", message: str = "") -> None:
        ended = stream.end(status, reason, message)
        del self._streams[ended.part.target]
        self._order.remove(stream)
        self._ended.append(ended)
        if status == DONE:
            self._sink(PartitionDone("restore", ended.part.target, ended.records, ended.size_bytes))

    def _hand_back(self, reason: str, message: str) -> None:
        for stream in list(self._streams.values()):
            self._end(stream, WORKING, reason, message)
        self._ended += [replace(progress, reason=reason, message=message) for progress in self._waiting]
        self._waiting.clear()


_SENT_TO_AN_OLD_LEADER: Final = frozenset({ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INCONSISTENT_TOPIC_ID})
"""Right after creation a broker may not know the new topic's id yet."""

_SEQUENCE_NOT_AS_EXPECTED: Final = frozenset(
    {
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
        ErrorCode.UNKNOWN_PRODUCER_ID,
    }
)
"""The log does not end where we think: it lost its tail, its memory of us, or a process of this job is ahead of us."""


def produce_partitions(
    task: ProduceTask,
    emit: Callable[[TopicPartition], None],
    cancelled: threading.Event,
    *,
    batches: BatchSource,
    open_producer: Callable[[int], BrokerProducer],
    request_bytes: int,
    sink: EventSink,
    stop: threading.Event,
) -> tuple[PartitionProgress, ...]:
    """Runs the task until its partitions are done, failed, or must go on over another connection."""
    try:
        producer = open_producer(task.broker)
    except (KafkaUnreachable, KafkaProtocolError) as error:
        return tuple(replace(progress, reason=error.slug, message=str(error)) for progress in task.partitions)

    try:
        return PartitionProducer(
            task,
            producer=producer,
            batches=batches,
            request_bytes=request_bytes,
            sink=sink,
            stopped=lambda: stop.is_set() or cancelled.is_set(),
        ).run()
    finally:
        producer.close()
