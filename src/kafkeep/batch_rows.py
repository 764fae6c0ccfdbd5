"""Headers of many batches in a row, without an object for each, and what is known from them together. Pure.

Where the C helper walks the batches, the headers come as `BatchRows`: small batches then cost nothing in Python. Every
function here takes any sequence of `BatchInfo` and gives the same for both.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from operator import add, gt, sub
from typing import Final, NamedTuple, overload

from kafkeep import native
from kafkeep.model import CONTROL_BIT, DELETE_HORIZON_BIT, BatchInfo

ROW: Final = struct.Struct(">qiibIhiqqqhii")
"""The header of a batch of magic 2 as it is on the wire, which is also a row."""
BATCH_OVERHEAD: Final = 12
"""Bytes of a batch before the part that its length field counts."""
_KIND_MASK: Final = 0x0F
"""Of the attributes: codec and kind of time."""


class BatchRows(Sequence[BatchInfo]):
    """The headers, one behind the other as they stand in the batches; those of magic 0 and 1 in the same layout.

    An info is made when it is asked for. Slices share the bytes.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: bytes | memoryview) -> None:
        """`rows` must not change any more."""
        self.rows = memoryview(rows)

    @classmethod
    def of(cls, infos: Iterable[BatchInfo]) -> BatchRows:
        return cls(b"".join(ROW.pack(*info) for info in infos))

    def __len__(self) -> int:
        return len(self.rows) // ROW.size

    def __iter__(self) -> Iterator[BatchInfo]:
        return map(BatchInfo._make, ROW.iter_unpack(self.rows))

    @overload
    def __getitem__(self, index: int) -> BatchInfo: ...

    @overload
    def __getitem__(self, index: slice) -> BatchRows: ...

    def __getitem__(self, index: int | slice) -> BatchInfo | BatchRows:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return BatchRows.of(self[each] for each in range(start, stop, step))
            return BatchRows(self.rows[start * ROW.size : max(start, stop) * ROW.size])
        place = index if index >= 0 else index + len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"no batch {index} among {len(self)}")
        return BatchInfo._make(ROW.unpack_from(self.rows, place * ROW.size))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BatchRows):
            return self.rows == other.rows
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"BatchRows.of({list(self)!r})"


def _same(one: object, other: object) -> bool:
    return one == other


class Summary(NamedTuple):
    """What the headers of one or more batches tell together."""

    first: int
    """Base offset of the first."""
    stop: int
    """One past the last offset of the last."""
    rises: bool
    """No offset is negative, and each batch begins behind the last offset of the one before it."""
    batches: int
    raw_bytes: int
    largest: int
    """Bytes of the largest batch."""
    epoch: int
    """Leader epoch of the first."""
    one_epoch: bool
    """All have that epoch."""
    attributes: int
    """Bits that any of them has."""
    old_magic: bool
    """At least one has magic 0 or 1."""
    data_batches: int
    """Those that are not control batches; what follows is of these alone."""
    records: int
    """Where the header tells: that of a compressed message set of magic 0 or 1 does not."""
    oldest: int
    """Least base timestamp; means nothing without data batches, as the next."""
    newest: int
    """Highest max timestamp."""
    kinds: int
    """Bit n is set when there is a batch whose lowest four attribute bits (codec, append time) are n."""
    holes: bool
    """There is a batch with fewer records than offsets, or with a delete horizon."""


def summary(infos: Sequence[BatchInfo]) -> Summary:
    """What at least one batch's headers tell."""
    if native.summary is not None and isinstance(infos, BatchRows):
        told = native.summary(infos.rows)
        if told is not None:
            return Summary._make(told)
    columns = tuple(zip(*infos, strict=True))
    bases, lengths, epochs, magics, _, attributes, deltas = columns[:7]
    stops = tuple(map(add, map(add, bases, deltas), repeat(1)))
    kinds = set(attributes)
    data = columns
    if any(kind & CONTROL_BIT for kind in kinds):
        data = tuple(zip(*[info for info in infos if not info.attributes & CONTROL_BIT], strict=True))
    counts, data_kinds = (data[12], set(data[5])) if data else ((), set[int]())
    return Summary(
        first=bases[0],
        stop=stops[-1],
        rises=bases[0] >= 0 and min(deltas) >= 0 and not any(map(gt, stops, bases[1:])),
        batches=len(bases),
        raw_bytes=sum(lengths) + BATCH_OVERHEAD * len(lengths),
        largest=max(lengths) + BATCH_OVERHEAD,
        epoch=epochs[0],
        one_epoch=len(set(epochs)) == 1,
        attributes=_any_bits(kinds),
        old_magic=set(magics) != {2},
        data_batches=len(counts),
        records=sum(count for count in counts if count > 0),
        oldest=min(data[7]) if data else -1,
        newest=max(data[8]) if data else -1,
        kinds=_any_bits(1 << (kind & _KIND_MASK) for kind in data_kinds),
        holes=bool(data)
        and (set(map(sub, counts, data[6])) != {1} or any(kind & DELETE_HORIZON_BIT for kind in data_kinds)),
    )


def _any_bits(values: Iterable[int]) -> int:
    found = 0
    for value in values:
        found |= value
    return found


def kinds_of(mask: int) -> set[int]:
    """The kinds (codec, append time) that `Summary.kinds` stands for."""
    return {kind for kind in range(_KIND_MASK + 1) if mask >> kind & 1}


def ends(infos: Sequence[BatchInfo]) -> Sequence[int]:
    """Where each batch ends, in bytes from the beginning of the first."""
    if native.ends is not None and isinstance(infos, BatchRows):
        return memoryview(native.ends(infos.rows)).cast("q")
    return list(accumulate([info[1] + BATCH_OVERHEAD for info in infos]))


class Piece(NamedTuple):
    """Batches in a row that go into one chunk together."""

    stop: int
    """Number of the batch behind its last."""
    end: int
    """Where its last batch ends, in bytes from the beginning of the first batch of all."""
    told: Summary


def pieces(infos: Sequence[BatchInfo], room: int, target: int) -> list[Piece]:
    """Cuts the batches for chunks of at most `target` bytes, of which the one at hand still has `room`.

    The first piece is what fits into that room, every other one, and the first when nothing fits, what fits into a chunk
    of its own; a batch larger than a chunk is a piece alone.
    """
    if native.pieces is not None and isinstance(infos, BatchRows):
        found = native.pieces(infos.rows, room, target)
        if found is not None:
            return [Piece(stop, end, Summary._make(told)) for stop, end, told in found]
    stops = ends(infos)
    made: list[Piece] = []
    index = position = 0
    while index < len(infos):
        stop = bisect_right(stops, position + room, index)
        if stop == index:
            stop = max(index + 1, bisect_right(stops, position + target, index))
        made.append(Piece(stop, stops[stop - 1], summary(infos[index:stop])))
        index, position, room = stop, stops[stop - 1], target
    return made
