"""How much of a partition the target holds already: its log end against the archive's batches, proven by the last batch.

A batch carries the sequence of its first record, which counts the records of the job before it, and the id of the
producer that wrote it. Sequence, producer and content of the last batch together tell that the log holds what the job
had sent up to there and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from kafkeep.errors import CorruptBatch, KafkaError, KafkaUnreachable
from kafkeep.kafka.cluster import LATEST, Cluster, OffsetAnswer
from kafkeep.kafka.codes import ErrorCode, code_name, request_error, retriable
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.topology import NO_NODE, Topology
from kafkeep.kafka.wire.batch import HEADER_SIZE, walk
from kafkeep.kafka.wire.records import decode
from kafkeep.model import BatchInfo, TopicPartition
from kafkeep.offset_map import OffsetMapBuilder
from kafkeep.records import dataclass
from kafkeep.restore.batches import ReadyBatch
from kafkeep.restore.plan import ProducerIdentity
from kafkeep.restore.produce import FAILED, UNCLEAR, WORKING, BatchSource, PartitionProgress, sequence_after
from kafkeep.work.messages import Finished
from kafkeep.work.threads import run_on_threads

FOREIGN: Final = "FOREIGN_RECORDS"
_THREADS: Final = 4
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 2.0
"""How long one look at log ends goes on asking: the caller looks again."""
_ANSWER_BYTES: Final = 64 * 1024
"""A first batch that is larger comes whole nevertheless."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as it lies on the target."""

    info: BatchInfo
    data: bytes


Tail = Callable[[], StoredBatch]
"""Reads the batch that ends at a log end."""


class ReadingBack:
    """Finds the place from which to go on, for partitions whose place is not known."""

    def __init__(
        self, cluster: Cluster, batches: BatchSource, identity: ProducerIdentity, *, stop: threading.Event
    ) -> None:
        self._cluster = cluster
        self._batches = batches
        self._identity = identity
        self._stop = stop

    def find(self, unclear: Sequence[PartitionProgress]) -> list[PartitionProgress]:
        """The same partitions: working from where the target ends, failed, or still unclear where it cannot be asked."""
        if not unclear:
            return []
        topology = self._cluster.topology(sorted({state.part.target.topic for state in unclear}))
        ends = self._cluster.offsets([state.part.target for state in unclear], LATEST, topology=topology)

        def worker(
            state: PartitionProgress, emit: Callable[[None], None], cancelled: threading.Event
        ) -> PartitionProgress:
            return self._find(state, ends, topology, cancelled)

        messages = run_on_threads(unclear, worker, threads=_THREADS)
        return [message.result for message in messages if isinstance(message, Finished)]

    def check(self, working: Sequence[PartitionProgress]) -> tuple[list[PartitionProgress], list[PartitionProgress]]:
        """Those that may go on, unclear where the log has become shorter than what it had acknowledged; and those whose
        log end cannot be seen at the moment, which must wait.
        """
        known = [state.part.target for state in working if state.records]
        try:
            ends = self._cluster.offsets(known, LATEST, retry_seconds=_LOOK_SECONDS) if known else {}
        except KafkaUnreachable as error:
            waiting = [replace(state, reason=error.slug, message=str(error)) for state in working if state.records]
            return [state for state in working if not state.records], waiting
        seen = [state for state in working if not state.records or not ends[state.part.target].error]
        unseen = [state for state in working if state.records and ends[state.part.target].error]
        return (
            [_shrunk(state, ends.get(state.part.target)) for state in seen],
            [_end_unknown(state, ends[state.part.target].error) for state in unseen],
        )

    def _find(
        self,
        state: PartitionProgress,
        ends: Mapping[TopicPartition, OffsetAnswer],
        topology: Topology,
        cancelled: threading.Event,
    ) -> PartitionProgress:
        partition = state.part.target
        end = ends[partition]
        if end.error:
            return _end_unknown(state, end.error)
        tail = partial(read_last_batch, self._cluster, partition, state.target_id, end.offset, topology)
        try:
            return measure(
                state,
                self._batches,
                end.offset,
                tail,
                self._identity,
                stopped=lambda: self._stop.is_set() or cancelled.is_set(),
            )
        except KafkaUnreachable as error:
            return replace(state, reason=error.slug, message=str(error))
        except (KafkaError, CorruptBatch) as error:
            return replace(state, status=FAILED, reason=error.slug, message=str(error))


def _end_unknown(state: PartitionProgress, error: int) -> PartitionProgress:
    name = code_name(error)
    return replace(state, reason=name, message=f"the log end of {state.part.target} could not be read: {name}")


def _shrunk(state: PartitionProgress, end: OffsetAnswer | None) -> PartitionProgress:
    if end is None or end.offset >= state.rows[-1].target + state.rows[-1].records:
        return state
    message = f"{state.part.target} has become shorter than what it had acknowledged"
    return replace(state, status=UNCLEAR, reason="LOG_SHRUNK", message=message)


def measure(
    state: PartitionProgress,
    batches: BatchSource,
    log_end: int,
    tail: Tail,
    identity: ProducerIdentity,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> PartitionProgress:
    """Where a partition stands whose log ends at `log_end`: working behind that many records of the archive, or failed
    when the log holds anything else. As it was when stopped.

    Raises what reading the archive and the tail raise.
    """
    here = replace(
        state,
        source_next=state.part.start,
        sequence=sequence_after(0),
        rows=(),
        size_bytes=0,
        readings=state.readings + 1,
        status=WORKING,
        reason="",
        message="",
    )
    held = log_end - state.opened
    if held < 0:
        return _foreign(here, f"its log ends at {log_end}, before offset {state.opened} where the restore began")
    rows = OffsetMapBuilder()
    counted = size = 0
    last: ReadyBatch | None = None
    for batch in batches(here) if held else ():
        if stopped():
            return replace(state, reason="interrupted", message="stopped before its end")
        target = state.opened + counted
        for source, count in batch.pieces:
            rows.add(source, target, count)
            target += count
        counted += batch.records
        size += batch.size
        last = batch
        if counted >= held:
            break
    if counted != held:
        return _foreign(here, f"it holds {held} records since the restore began, which no batches of ours add up to")
    if last is None:
        return here
    if (problem := _difference(tail(), last, identity)) is not None:
        return _foreign(here, f"the batch at its end is not ours: {problem}")
    return replace(here, source_next=last.next_source, sequence=sequence_after(held), rows=rows.rows(), size_bytes=size)


def _foreign(state: PartitionProgress, why: str) -> PartitionProgress:
    message = f"{state.part.target} does not hold what this restore wrote, and nothing more is written to it: {why}"
    return replace(state, status=FAILED, reason=FOREIGN, message=message)


def _difference(found: StoredBatch, ours: ReadyBatch, identity: ProducerIdentity) -> str | None:
    """What tells a stored batch from one of ours; None when it is ours."""
    info = found.info
    if (info.producer_id, info.producer_epoch) != (identity.producer_id, identity.epoch):
        return f"producer {info.producer_id} wrote it, we are {identity.producer_id}"
    if (info.base_sequence, info.record_count) != (ours.sequence, ours.records):
        return (
            f"sequence {info.base_sequence} with {info.record_count} records, "
            f"expected {ours.sequence} with {ours.records}"
        )
    data = b"".join(ours.parts)
    (sent,), _ = walk(memoryview(data), verify=False)
    told = (info.codec, info.base_timestamp, info.max_timestamp)
    if told == (sent.codec, sent.base_timestamp, sent.max_timestamp) and found.data[HEADER_SIZE:] == data[HEADER_SIZE:]:
        return None
    # A broker that compresses for itself stores other bytes for the same records.
    return None if _records(found.data, info) == _records(data, sent) else "its records are others"


def _records(data: bytes, info: BatchInfo) -> list[tuple[object, ...]]:
    return [(record.offset - info.base_offset, *tuple(record)[1:]) for record in decode(memoryview(data), info)]


def read_last_batch(
    cluster: Cluster, partition: TopicPartition, topic_id: str, log_end: int, topology: Topology
) -> StoredBatch:
    """The batch that holds the record in front of a partition's log end.

    Raises `KafkaUnreachable` when its leader does not serve it after some tries, other `KafkaError`s when the broker
    refuses, `CorruptBatch` when what arrives is damaged.
    """
    known: Topology | None = topology
    reason = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS * 2**attempt)
        try:
            known = cluster.topology([partition.topic]) if known is None else known
            answer = _fetch(cluster, partition, topic_id, log_end - 1, known)
        except KafkaUnreachable as error:
            reason, known = str(error), None
            continue
        if answer is None:
            continue
        if answer.error != ErrorCode.NONE:
            if not retriable(answer.error):
                raise request_error(answer.error, f"read the end of {partition} at offset {log_end - 1}")
            reason, known = code_name(answer.error), None
            continue
        if (found := _at(answer.records, log_end)) is not None:
            return found
        reason = f"no batch ends at offset {log_end}"
    raise KafkaUnreachable(f"the end of {partition} could not be read: {reason or 'no answer'}")


def _fetch(
    cluster: Cluster, partition: TopicPartition, topic_id: str, offset: int, topology: Topology
) -> FetchedPartition | None:
    placed = topology.partition(partition)
    broker = None if placed is None or placed.leader == NO_NODE else topology.brokers.get(placed.leader)
    if placed is None or broker is None:
        raise KafkaUnreachable(f"{partition} has no leader that can be reached")
    fetcher = cluster.fetcher(broker, read_committed=False, response_bytes=_ANSWER_BYTES)
    try:
        answers = fetcher.fetch([FetchPosition(partition, topic_id, offset, placed.leader_epoch)])
        answer = next((found for found in answers if found.topic_partition == partition), None)
        # The views belong to the connection, which ends here.
        return None if answer is None else replace(answer, records=memoryview(bytes(answer.records)))
    finally:
        fetcher.close()


def _at(records: memoryview, log_end: int) -> StoredBatch | None:
    infos, _ = walk(records)
    position = 0
    for info in infos:
        if info.next_offset == log_end:
            return StoredBatch(info, bytes(records[position : position + info.size]))
        position += info.size
    return None
