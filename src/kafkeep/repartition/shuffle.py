"""Records of several source partitions spread over target partitions. Pure but for the streams it is given.

What comes out depends on nothing but what goes in: the same archive, ranges and count of partitions give the same
batches, in this process and in the next one. That is what a retry, a resumed restore and a comparison lean on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from typing import Final, NamedTuple, Protocol

from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.codecs import NONE
from kafkeep.kafka.wire.repack import LARGEST_HEAD, Slices, put_together
from kafkeep.repartition.marks import Marks
from kafkeep.repartition.partitioner import key_of, partition_of

_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Records that wait for their batches to fill, all target partitions together."""
_LEAST_BATCH_BYTES: Final = 16 * 1024
_INFLATION_BYTES: Final = 256
"""What no codec can pack takes at most a sixth and some bytes more (Snappy's own bound, the worst of them)."""


class SourceBatch(NamedTuple):
    """The wanted records of one stored batch; never empty."""

    records: Slices
    codec: int


class BatchSink(Protocol):
    def __call__(self, target: int, first: int, records: int, batch: bytes) -> None:
        """A batch of a target partition, its base offset 0; its first record is number `first` there."""


def shuffle(
    sources: Mapping[int, Iterator[SourceBatch]],
    targets: int,
    put: BatchSink,
    *,
    most_bytes: int,
    marks: Marks,
    went_by: Callable[[int, int], bool] = lambda records, size: True,
) -> tuple[int, ...]:
    """Hands every record to its target partition, in batches of up to `most_bytes`; records of each target partition.

    A key goes where Java's default partitioner puts it. Records without a key go batch by batch: those of one source
    batch stay together and in order, the next such batch of this source partition goes to the next target partition.
    Source partitions are read side by side, always the one whose next batch begins earliest; the order within a source
    partition stays.

    Args:
        sources: By source partition, its batches in offset order.
        went_by: Told of records and bytes of each batch; false ends the whole early.
    """
    limit = batch_limit(most_bytes, targets)
    waiting = [_Waiting(target, limit, put) for target in range(targets)]
    without_key = dict.fromkeys(sources, 0)
    for partition, (records, codec) in merged(sources):
        watched = marks.of(partition)
        if watched is not None:
            watched.batch(records.offsets)
        spare = (partition + without_key[partition]) % targets
        used = False
        for offset, timestamp, body in zip(*records, strict=True):
            key = key_of(body)
            if key is None:
                used = True
                target = spare
            else:
                target = partition_of(key, targets)
            place = waiting[target]
            if watched is not None:
                watched.see(offset, target, place.records)
            place.add(timestamp, body, codec)
        without_key[partition] += used
        if not went_by(len(records.bodies), records.size):
            break
    for place in waiting:
        place.flush()
    return tuple(place.records for place in waiting)


def merged(sources: Mapping[int, Iterator[SourceBatch]]) -> Iterator[tuple[int, SourceBatch]]:
    """The batches of all partitions: always the one whose first record is the oldest, of equals the lowest partition."""
    heap = []
    for partition, batches in sources.items():
        first = next(batches, None)
        if first is not None:
            heap.append((first.records.timestamps[0], partition, first))
    heapify(heap)
    while heap:
        _, partition, batch = heap[0]
        yield partition, batch
        following = next(sources[partition], None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (following.records.timestamps[0], partition, following))


def batch_limit(most_bytes: int, targets: int) -> int:
    """Bytes of records that become one batch of at most `most_bytes`, whatever its codec makes of them: less where there
    are very many target partitions, because all of them wait at once."""
    share = max(_LEAST_BATCH_BYTES, _MOST_WAITING_BYTES // targets)
    return max(0, min(most_bytes, share) - HEADER_SIZE - _INFLATION_BYTES) * 6 // 7


class _Waiting:
    """Records of one target partition on the way into a batch."""

    def __init__(self, target: int, limit: int, put: BatchSink) -> None:
        self._target = target
        self._limit = limit
        self._put = put
        self._timestamps: list[int] = []
        self._bodies: list[bytes] = []
        self._size = 0
        self._codec = NONE
        self.records = 0
        """Up to here, those that wait included."""

    def add(self, timestamp: int, body: bytes, codec: int) -> None:
        size = len(body) + LARGEST_HEAD
        if self._size + size > self._limit:
            self.flush()
        self._timestamps.append(timestamp)
        self._bodies.append(body)
        self._size += size
        self.records += 1
        if self._codec == NONE:
            # Producers that compress send what does not get smaller uncompressed.
            self._codec = codec

    def flush(self) -> None:
        count = len(self._bodies)
        if not count:
            return
        batch = put_together(
            [Slices(range(count), self._timestamps, self._bodies)],
            codec=self._codec,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
        )
        self._put(self._target, self.records - count, count, batch)
        self._timestamps, self._bodies, self._size, self._codec = [], [], 0, NONE
