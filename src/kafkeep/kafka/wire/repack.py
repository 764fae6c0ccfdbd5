"""Records moved from batch to batch without opening their fields. Pure.

A record is a head (length, attributes, timestamp delta, offset delta) and a body (key, value, headers). A body means
the same in every batch, so it is cut out and put in byte for byte; only heads are written anew. Layout:
clients/common/record/DefaultRecord.java.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice, repeat
from typing import Final, NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire import codecs, legacy
from kafkeep.kafka.wire.batch import HEADER_SIZE
from kafkeep.kafka.wire.records import (
    DEFAULT_BUDGET,
    body_of,
    read_varint,
    read_varlong,
    seal,
    signed,
    zigzag,
)
from kafkeep.model import BatchInfo

LARGEST_HEAD: Final = 21
"""Length, attributes, timestamp delta and offset delta: 5, 1, 10 and 5 bytes."""
_FEW: Final = 64
"""Offset deltas below this take one byte."""
_SMALLEST_RECORD: Final = 7
"""One byte for each field of a record without key, value and headers."""
_TABLE: Final = 1 << 14
"""Timestamp deltas and lengths below this are looked up, not worked out."""
_MIN_I64: Final = -(1 << 63)
_MAX_I64: Final = (1 << 63) - 1


class Slices(NamedTuple):
    """Records in their order, as columns of equal length."""

    offsets: Sequence[int]
    timestamps: Sequence[int]
    """As a consumer is shown them."""
    bodies: Sequence[bytes]
    """Key, value and headers as on the wire of magic 2."""

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum(map(len, self.bodies))

    def part(self, first: int, last: int) -> Slices:
        """Records number `first` to `last - 1`."""
        return Slices(self.offsets[first:last], self.timestamps[first:last], self.bodies[first:last])


NOTHING: Final = Slices(range(0), (), ())


def cut_out(batch: memoryview, info: BatchInfo, *, max_bytes: int = DEFAULT_BUDGET) -> Slices:
    """The records of one whole data batch of any magic (`walk` gives batch and info).

    Raises:
        CorruptBatch: when the payload does not hold exactly the records the header tells of, their offsets do not rise,
            or more than `max_bytes` would be unpacked. The fields inside of bodies are not looked at.
    """
    try:
        if info.magic != 2:
            found = legacy.messages(batch, info, max_bytes)
            offsets = [offset for offset, _, _, _ in found]
            return _rising(
                Slices(offsets, [at for _, at, _, _ in found], [body_of(key, value) for _, _, key, value in found])
            )
        return _rising(_cut_out(codecs.decompress(info.codec, batch[HEADER_SIZE : info.size], max_bytes), info))
    except CorruptBatch as error:
        raise CorruptBatch(f"batch at offset {info.base_offset}: {error.message}") from error
    except IndexError as error:
        raise CorruptBatch(f"batch at offset {info.base_offset}: its records end early") from error


def _cut_out(data: bytes, info: BatchInfo) -> Slices:
    if info.record_count * _SMALLEST_RECORD > len(data):
        raise CorruptBatch(f"{info.record_count} records in {len(data)} bytes")
    found = None
    if info.record_count <= _FEW and not info.has_holes:
        found = _cut_out_dense(data, info)
    offsets, timestamps, bodies = _cut_out_any(data, info) if found is None else found
    return Slices(offsets, _shown(timestamps, info), bodies)


def _cut_out_dense(data: bytes, info: BatchInfo) -> tuple[Sequence[int], list[int], list[bytes]] | None:
    """The same as `_cut_out_any` in half the time, for the few records of a small batch; None unless the offset deltas
    are 0, 1, 2 … in one byte, no length needs three bytes and all adds up: what is wrong then is not for this function
    to say.
    """
    base_timestamp = info.base_timestamp
    timestamps: list[int] = []
    bodies: list[bytes] = []
    position = 0
    for offset_delta in range(0, 2 * info.record_count, 2):
        size = data[position]
        if size < 0x80:
            stop = position + (size >> 1) + 1
            position += 2
        else:
            second = data[position + 1]
            if second >= 0x80:
                return None
            stop = position + (second << 6 | (size & 0x7F) >> 1) + 2
            position += 3
        delta = data[position]
        if delta >= 0x80:
            position += 1
            second = data[position]
            if second < 0x80:
                delta = second << 7 | delta & 0x7F
            else:
                delta, position = read_varlong(data, position - 1)
                delta = delta << 1 if delta >= 0 else ~delta << 1 | 1
                position -= 1
        if data[position + 1] != offset_delta or size & 1:
            return None
        position += 2
        if stop <= position:
            return None
        timestamps.append(base_timestamp + ((delta >> 1) ^ -(delta & 1)))
        bodies.append(data[position:stop])
        position = stop
    return (range(info.base_offset, info.next_offset), timestamps, bodies) if position == len(data) else None


def _cut_out_any(data: bytes, info: BatchInfo) -> tuple[Sequence[int], list[int], list[bytes]]:
    offsets: list[int] = []
    timestamps: list[int] = []
    bodies: list[bytes] = []
    position = 0
    for _ in range(info.record_count):
        size, position = read_varint(data, position)
        stop = position + size
        delta, position = read_varlong(data, position + 1)
        offset, position = read_varint(data, position)
        if stop <= position:
            raise CorruptBatch(f"a record of {size} bytes")
        offsets.append(info.base_offset + offset)
        timestamps.append(info.base_timestamp + delta)
        bodies.append(data[position:stop])
        position = stop
    if position != len(data):
        raise CorruptBatch(f"{info.record_count} records take {position} of {len(data)} bytes")
    return offsets, timestamps, bodies


def _shown(timestamps: list[int], info: BatchInfo) -> Sequence[int]:
    """Append times where the topic kept these; sums beyond 64 bits wrap as Java's do."""
    if info.is_log_append_time:
        return [info.max_timestamp] * len(timestamps)
    if timestamps and (min(timestamps) < _MIN_I64 or max(timestamps) > _MAX_I64):
        return [signed(timestamp) for timestamp in timestamps]
    return timestamps


def _rising(records: Slices) -> Slices:
    """The same, once its offsets are known to rise."""
    before = -1
    if not isinstance(records.offsets, range):
        for offset in records.offsets:
            if offset <= before:
                raise CorruptBatch(f"record offset {offset} does not rise inside its batch")
            before = offset
    return records


def put_together(
    parts: Sequence[Slices], *, codec: int, producer_id: int, producer_epoch: int, base_sequence: int
) -> bytes:
    """The records of all parts, in order, as one plain batch a client may produce: base offset 0, no holes, CreateTime.

    Record attributes are written as 0, as Kafka's own writer does: no bit of them has a meaning.

    Raises:
        ValueError: without records, and for an unknown codec.
    """
    count = sum(len(part.bodies) for part in parts)
    if not count:
        raise ValueError("a batch needs at least one record")
    base = next(part.timestamps[0] for part in parts if part.bodies)
    latest = max(max(part.timestamps) for part in parts if part.bodies)
    pieces: list[bytes] = []
    written = 0
    for part in parts:
        pieces += written_records(part, base, written)
        written += len(part.bodies)
    return seal(
        b"".join(pieces),
        codec=codec,
        records=count,
        base_timestamp=base,
        max_timestamp=latest,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def written_records(records: Slices, base_timestamp: int, first: int) -> list[bytes]:
    """Records as they lie in a batch, in pieces; the first of them is number `first` there."""
    small, heads = _varints(_TABLE), _time_heads()
    offsets = _varints(first + len(records.bodies))
    pieces: list[bytes] = []
    for timestamp, body, offset in zip(records.timestamps, records.bodies, islice(offsets, first, None), strict=False):
        delta = timestamp - base_timestamp
        head = heads[delta] if 0 <= delta < _TABLE else b"\x00" + zigzag(delta)
        size = len(head) + len(offset) + len(body)
        pieces += (small[size] if size < _TABLE else zigzag(size), head, offset, body)
    return pieces


def ranges_of(parts: Iterable[Slices]) -> list[tuple[int, int]]:
    """The records' offsets as (first, records): ranges without holes, in order."""
    pieces: list[tuple[int, int]] = []
    first = following = -1
    for part in parts:
        offsets = part.offsets
        whole = offsets if isinstance(offsets, range) else None
        for start, stop in [(whole.start, whole.stop)] if whole is not None else ((at, at + 1) for at in offsets):
            if start != following:
                if following > first:
                    pieces.append((first, following - first))
                first = start
            following = stop
    pieces.append((first, following - first))
    return pieces


def _varints(count: int) -> tuple[bytes, ...]:
    """The zigzag varints of at least 0 to `count - 1`."""
    return _table(max(count - 1, _TABLE - 1).bit_length())


@cache
def _table(bits: int) -> tuple[bytes, ...]:
    return tuple(zigzag(value) for value in range(1 << bits))


@cache
def _time_heads() -> tuple[bytes, ...]:
    """Attributes and timestamp delta of a record, for small deltas."""
    return tuple(map(bytes.__add__, repeat(b"\x00"), _table(_TABLE.bit_length() - 1)))
