"""Small neighbours put together: Kafka takes one batch of a partition per request, so a stored batch of 1 KB would mean
a request of 1 KB.

Which batches go together depends on nothing but themselves and those between the last border and them. So the same
batches come out from whatever border one begins at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.codecs import GZIP, LZ4, NONE, SNAPPY, ZSTD
from kafkeep.kafka.wire.repack import LARGEST_HEAD, Slices, cut_out
from kafkeep.model import BatchInfo
from kafkeep.restore.guard import MAX_MESSAGE_BYTES
from kafkeep.restore.options import LARGEST_REPACK

MOST_RECORDS: Final = 24
"""A batch of more records goes out as it is: moving them costs more than the request it saves."""
MOST_BYTES: Final = 16 * 1024
"""The same for bytes, which are copied."""
_MOST_PACKED: Final = {GZIP: (16, 1024), SNAPPY: (16, 8 * 1024), LZ4: (16, 8 * 1024), ZSTD: (16, 1024)}
"""The same for records and stored bytes of compressed batches, which are unpacked and packed anew."""
_INFLATION: Final = 6
_INFLATION_BYTES: Final = 256
"""What no codec can pack takes at most a sixth and some bytes more (Snappy's own bound, the worst of them)."""


def repack_limit(asked: int, configs: Iterable[tuple[str, str]]) -> int:
    """Most bytes of a batch that is put together for a topic that has these overrides in the end: `asked`, and never more
    than the topic itself allows its producers.
    """
    own = dict(configs).get(MAX_MESSAGE_BYTES)
    return min(asked, LARGEST_REPACK if own is None else min(int(own), LARGEST_REPACK))


@dataclass(slots=True, eq=False)
class Stored:
    """A stored batch, or some of its records, on the way to the target."""

    info: BatchInfo
    batch: memoryview
    next_source: int
    """Source offset from which to go on behind it."""
    records: Slices | None = None
    """Those to be sent, where they are not all, or where a new header is not enough; None for a batch that may go out as
    it is.
    """

    def opened(self, most: int) -> Slices | None:
        """Its records; None when they do not open to something of `most` bytes that adds up, which is no reason not to
        send it as it is.
        """
        if self.records is not None:
            return self.records
        try:
            return cut_out(self.batch, self.info, max_bytes=most)
        except CorruptBatch:
            return None

    def seems_small(self) -> bool:
        """By what is known without opening it."""
        if self.records is not None:
            return self.records.size <= MOST_BYTES
        records, size = _MOST_PACKED.get(self.info.codec, (MOST_RECORDS, MOST_BYTES))
        return self.info.record_count <= records and self.info.size <= size


@dataclass(frozen=True, slots=True)
class Together:
    """What becomes one batch: `records`, or the `only` stored one, which needs but a new header."""

    records: tuple[Slices, ...]
    codec: int
    next_source: int
    only: Stored | None = None


def gathered(batches: Iterable[Stored], most_bytes: int) -> Iterator[Together]:
    """The batches in their order, small neighbours together in up to `most_bytes`, header included.

    Never two codecs; but uncompressed ones join those of any codec, because a producer that compresses sends what does
    not get smaller uncompressed (librdkafka does), which among small batches is every other one.
    """
    group = _Group(most_bytes)
    for batch in batches:
        if group.takes(batch):
            continue
        if (ended := group.end()) is not None:
            yield ended
        group = _Group(most_bytes)
        group.begin(batch)
    if (ended := group.end()) is not None:
        yield ended


class _Group:
    """Batches that become one. The first is only opened when a second one could join it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes - HEADER_SIZE
        self._first: Stored | None = None
        self._closed = False
        self._codec = NONE
        self._records: list[Slices] = []
        self._size = 0
        self._next_source = 0

    def begin(self, batch: Stored) -> None:
        self._first = batch
        self._codec = batch.info.codec
        self._next_source = batch.next_source
        self._closed = self._most <= 0 or not batch.seems_small()

    def takes(self, batch: Stored) -> bool:
        """True when the batch has joined."""
        first = self._first
        if first is None or self._closed or not batch.seems_small():
            return False
        if self._codec != batch.info.codec and NONE not in (self._codec, batch.info.codec):
            return False
        if not self._records:
            self._closed = not self._add(first)
        if self._closed or not self._add(batch):
            return False
        self._next_source = batch.next_source
        return True

    def _add(self, batch: Stored) -> bool:
        records = batch.opened(self._most - self._size)
        if records is None:
            return False
        size = self._size + records.size + LARGEST_HEAD * len(records.bodies)
        codec = batch.info.codec if self._codec == NONE else self._codec
        if _packed(codec, size) > self._most:
            return False
        self._codec = codec
        self._records.append(records)
        self._size = size
        return True

    def end(self) -> Together | None:
        first = self._first
        if first is None:
            return None
        if len(self._records) > 1:
            return Together(tuple(self._records), self._codec, self._next_source)
        if first.records is None:
            return Together((), first.info.codec, first.next_source, first)
        return Together((first.records,), first.info.codec, first.next_source)


def _packed(codec: int, size: int) -> int:
    """Bytes that records of `size` bytes take at most."""
    return size if codec == NONE else size + size // _INFLATION + _INFLATION_BYTES
