"""Small neighbours put together: Kafka takes one batch of a partition per request, so a stored batch of 1 KB would mean
a request of 1 KB.

Which batches go together depends on nothing but themselves and those between the last border and them. So the same
batches come out from whatever border one begins at, and whether or not the C helper is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from kafkeep import native
from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE, LENGTH_END
from kafkeep.kafka.wire.codecs import GZIP, LZ4, NONE, SNAPPY, ZSTD, decompress
from kafkeep.kafka.wire.growing import HEAD_GROWTH, Growing
from kafkeep.kafka.wire.repack import LARGEST_HEAD, Slices, cut_out, ranges_of
from kafkeep.model import CODEC_MASK, CONTROL_BIT, LOG_APPEND_TIME_BIT, BatchInfo
from kafkeep.playback import Stretch
from kafkeep.records import dataclass
from kafkeep.restore.guard import MAX_MESSAGE_BYTES
from kafkeep.restore.options import LARGEST_REPACK, UP_TO_FULL

SEGMENT_BYTES: Final = "segment.bytes"
MOST_RECORDS: Final = 24
"""A batch of more records goes out as it is: moving them costs more than the request it saves."""
MOST_BYTES: Final = 16 * 1024
"""The same for bytes, which are copied."""
_MOST_PACKED: Final = {GZIP: (16, 1024), SNAPPY: (16, 8 * 1024), LZ4: (16, 8 * 1024), ZSTD: (16, 1024)}
"""The same for records and stored bytes of compressed batches, which are unpacked and packed anew."""
MOST_JOINING: Final = 128 * 1024
"""By the rule `UP_TO_FULL` a larger batch goes out as it is: a broker takes larger ones no faster."""
_MOST_JOINING_PACKED: Final = {GZIP: 1024, SNAPPY: 8 * 1024, LZ4: 8 * 1024, ZSTD: 4 * 1024}
"""The same for stored bytes of compressed batches: packing anew costs more than what is sent less often."""
LARGEST_JOINING: Final = (
    MOST_JOINING,
    _MOST_JOINING_PACKED[GZIP],
    _MOST_JOINING_PACKED[SNAPPY],
    _MOST_JOINING_PACKED[LZ4],
    _MOST_JOINING_PACKED[ZSTD],
)
"""Both by the number of the codec."""
_ATTRIBUTES_AT: Final = 22
"""Where a batch has the lower byte of them."""
_NOT_PLAIN: Final = CODEC_MASK | LOG_APPEND_TIME_BIT | CONTROL_BIT
_INFLATION: Final = 6
_INFLATION_BYTES: Final = 256
"""What no codec can pack takes at most a sixth and some bytes more (Snappy's own bound, the worst of them)."""


def repack_limit(asked: int, configs: Iterable[tuple[str, str]], rule: int) -> int:
    """Most bytes of a batch that is put together for a topic that has these overrides in the end: `asked`, and never more
    than the topic itself allows its producers. By the rule `UP_TO_FULL` no more than a log segment may have either: a
    broker refuses what is larger (storage/internals/log/UnifiedLog.java).
    """
    overrides = dict(configs)
    names = (MAX_MESSAGE_BYTES, SEGMENT_BYTES) if rule == UP_TO_FULL else (MAX_MESSAGE_BYTES,)
    return min(asked, LARGEST_REPACK, *(int(overrides[name]) for name in names if name in overrides))


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
    growing: Growing | None = None
    """The records, where they were put together already."""
    pieces: Sequence[tuple[int, int]] = ()
    """Source offsets of those: (first, records)."""
    alone: Stretch | None = None
    """Nothing else then: whoever gets this takes from it, before it asks for more, as many as it wants of the batches that
    join no others, each by itself."""


def gathered(batches: Iterable[Stored], most_bytes: int) -> Iterator[Together]:
    """The batches in their order, neighbours of few records together in up to `most_bytes`, header included.

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


@dataclass(frozen=True, slots=True, eq=False)
class StoredStretch:
    """Stored batches of a chunk, one behind the other."""

    stretch: Stretch
    take: Callable[[], Stored | None]
    """The next of them; None for one that holds nothing to send."""


def gathered_up_to_full(found: Iterable[Stored | StoredStretch], most_bytes: int) -> Iterator[Together]:
    """As `gathered`, by the rule that all go together of which several fit into `most_bytes`."""
    group = _Full(most_bytes)
    for each in found:
        while True:
            if isinstance(each, StoredStretch) and not group.is_open:
                if (ended := group.end()) is not None:
                    yield ended
                group = _Full(most_bytes)
                yield Together((), NONE, 0, alone=each.stretch)
            if (left := group.takes_all_of(each)) is None:
                break
            if (ended := group.end()) is not None:
                yield ended
            if isinstance(left, Stored):
                group = _Full(most_bytes)
                group.begin(left)
            else:
                group = left
            if isinstance(each, Stored):
                break
    if (ended := group.end()) is not None:
        yield ended


class _Full:
    """Batches that become one by the rule `UP_TO_FULL`. The first is only opened when a second one could join it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._most = most_bytes - HEADER_SIZE
        self._first: Stored | None = None
        self._closed = False
        self._codec = NONE
        self._growing: Growing | None = None
        self._batches = 0
        self._bound = 0
        """Bytes that the records may take at most, before they are packed."""
        self._pieces: list[tuple[int, int]] = []
        self._next_source = 0

    @property
    def is_open(self) -> bool:
        """Whether something could still join what is there."""
        return (self._first is not None or self._batches > 0) and not self._closed

    def begin(self, batch: Stored) -> None:
        self._first = batch
        self._codec = batch.info.codec
        self._next_source = batch.next_source
        self._closed = not _joins(batch)

    def begins_in(self, stretch: Stretch) -> bool:
        """True when the next batches of the stretch are the first of this group, at least two of them, none of which had to
        be looked at. Else nothing has changed.
        """
        at, next_offset = stretch.position, stretch.next_offset
        if not _may_be_plain(stretch.chunk, at):
            return False
        self._growing = Growing(self._most)
        if self._takes_of(stretch) and stretch.position > at + _size_at(stretch.chunk, at):
            self._batches = 2  # or more
            return True
        stretch.position, stretch.next_offset = at, next_offset
        return False

    def takes_all_of(self, found: Stored | StoredStretch) -> Stored | _Full | None:
        """The first batch that does not join, or the group that it is the first of; None when all have joined."""
        if isinstance(found, Stored):
            return None if self.takes(found) else found
        stretch = found.stretch
        while not stretch.is_over:
            if self._takes_of(stretch) and stretch.position == len(stretch.chunk):
                break
            # What the helper leaves here and takes as another group's first is too much for this group.
            if not self.is_open or self._growing is not None:
                following = _Full(self._most_bytes)
                if following.begins_in(stretch):
                    return following
            batch = found.take()
            if batch is not None and not self.takes(batch):
                return batch
        return None

    def _takes_of(self, stretch: Stretch) -> bool:
        """True when at least one batch of the stretch has joined."""
        growing = self._opened()
        if growing is None:
            return False
        joined = growing.add_batches(
            stretch.chunk,
            stretch.position,
            stretch.next_offset,
            start=stretch.start,
            stop=stretch.stop,
            largest=MOST_JOINING,
            most=_most_plain(self._codec, self._most),
            bound=self._bound,
        )
        if joined is None:
            return False
        self._batches += 1  # or more: what matters is whether the first is alone
        self._bound = joined.bound
        self._add_pieces(joined.pieces)
        self._next_source = stretch.next_offset = joined.next_offset
        stretch.position = joined.position
        return True

    def takes(self, batch: Stored) -> bool:
        """True when the batch has joined."""
        if not self.is_open or not _joins(batch):
            return False
        if self._codec != batch.info.codec and NONE not in (self._codec, batch.info.codec):
            return False
        growing = self._opened()
        if growing is None or not self._add(growing, batch):
            return False
        self._next_source = batch.next_source
        return True

    def _opened(self) -> Growing | None:
        """What others can be added to; None where nothing joins the first."""
        if self._growing is None and self._first is not None and not self._closed:
            growing = Growing(self._most)
            if self._add(growing, self._first):
                self._growing = growing
            else:
                self._closed = True
        return self._growing

    def _add(self, growing: Growing, batch: Stored) -> bool:
        info, left = batch.info, self._most - self._bound
        codec = info.codec if self._codec == NONE else self._codec
        records, payload = batch.records, memoryview(b"")
        if records is None:
            try:
                payload = batch.batch[HEADER_SIZE : info.size]
                if info.codec != NONE:
                    payload = memoryview(decompress(info.codec, payload, left))
            except CorruptBatch:
                return False
            bound = self._bound + len(payload) + HEAD_GROWTH * info.record_count
        else:
            bound = self._bound + records.size + LARGEST_HEAD * len(records.bodies)
        if _packed(codec, bound) > self._most:
            return False
        if records is None and growing.add_payload(payload, info.record_count, info.base_timestamp):
            pieces = [(info.base_offset, info.record_count)]
        else:
            try:
                records = cut_out(batch.batch, info, max_bytes=left) if records is None else records
            except CorruptBatch:
                return False
            growing.add(records)
            pieces = ranges_of([records])
        self._codec, self._bound = codec, bound
        self._batches += 1
        self._add_pieces(pieces)
        return True

    def _add_pieces(self, pieces: Sequence[tuple[int, int]]) -> None:
        known = self._pieces
        if known and known[-1][0] + known[-1][1] == pieces[0][0]:
            first, count = known.pop()
            known.append((first, count + pieces[0][1]))
            known += pieces[1:]
        else:
            known += pieces

    def end(self) -> Together | None:
        first = self._first
        if self._batches > 1:
            return Together((), self._codec, self._next_source, growing=self._growing, pieces=self._pieces)
        if first is None:
            return None
        if first.records is None:
            return Together((), first.info.codec, first.next_source, first)
        return Together((first.records,), first.info.codec, first.next_source)


def _may_be_plain(chunk: memoryview, position: int) -> bool:
    """Whether the C helper is there and the batch at this place may be one that it takes."""
    return (
        native.append_batches is not None
        and len(chunk) - position >= HEADER_SIZE
        and not chunk[position + _ATTRIBUTES_AT] & _NOT_PLAIN
    )


def _size_at(chunk: memoryview, position: int) -> int:
    """Of the batch there, by its length field."""
    return LENGTH_END + int.from_bytes(chunk[position + LENGTH_END - 4 : position + LENGTH_END])


def _joins(batch: Stored) -> bool:
    """Whether it may become a part of a larger one, by what is known without opening it."""
    if batch.records is not None:
        return batch.records.size <= MOST_JOINING
    return batch.info.size <= _MOST_JOINING_PACKED.get(batch.info.codec, MOST_JOINING)


def _most_plain(codec: int, most: int) -> int:
    """The most bytes of records that take at most `most` when packed."""
    if codec == NONE:
        return most
    plain = max(0, (most - _INFLATION_BYTES) * _INFLATION // (_INFLATION + 1))
    while _packed(codec, plain + 1) <= most:
        plain += 1
    return plain
