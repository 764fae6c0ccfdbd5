"""The C helper, where it was built: loops over many batches that cost too much as Python's own.

Each function is None where there is no helper; the code that would call it then takes its own way, which is also the
one place that says what is wrong with an input. Callers look the function up here at each call (`native.walk`), so that
both ways can be tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

Bytes = bytes | bytearray | memoryview
Walk = Callable[[Bytes, bool, int, int], tuple[bytes, int, int]]


class Hasher(Protocol):
    """What the digest of some bytes is made with, as `blake3.blake3` has it."""

    def update(self, data: Bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


API: Final = 7
"""What this code expects; a helper that was built from other sources is left unused."""

crc32c: Callable[[Bytes, int], int] | None = None
"""CRC-32C of the bytes behind others whose CRC is the second argument."""
crc32c_by_table: Callable[[Bytes, int], int] | None = None
"""The same in the way of processors without an instruction for it."""
crc32c_by_instruction: Callable[[Bytes, int], int] | None = None
"""The same by that instruction, where there is something faster too."""
crc32c_way = ""
walk: Walk | None = None
"""(view, verify, position, next offset) → headers of the sound whole batches of magic 2 from the position on, where the
first that is none of these begins, and the least offset it may have."""
ends: Callable[[Bytes], bytes] | None = None
"""Headers → where each batch ends, as machine integers of 64 bits."""
summary: Callable[[Bytes], tuple[int, ...] | None] | None = None
"""Headers → the fields of `kafkeep.batch_rows.Summary`; None when they are Python's to find out."""
pieces: Callable[[Bytes, int, int], list[tuple[int, int, tuple[int, ...]]] | None] | None = None
"""(headers, room, target) → the fields of each `kafkeep.batch_rows.Piece`; None when they are Python's to find out."""
same: Callable[[Bytes, Bytes], bool] | None = None
"""(batches, headers) → whether these are the batches of these headers, all of magic 2, each with its CRC."""
hashed: (
    Callable[[Hasher, Callable[[], Hasher], Bytes, Bytes, list[int], bool], tuple[Hasher, list[str], bool]] | None
) = None
"""(hasher, what makes another, batches, headers, number of the batch behind each piece, begins) → (last hasher, digests of
those that ended, whether `same`): each piece is hashed, by another hasher than the one before it, and then looked at. With
`begins` the first piece takes another one too."""
address: Callable[[Bytes], int] | None = None
"""Where bytes begin in memory."""

append_records: Callable[[bytearray, int, int, int, int, Bytes, int, int], tuple[int, int, int, int] | None] | None = (
    None
)
"""(out, filled, records, base, latest, payload, count, base timestamp) → (filled, records, base, latest) with the payload's
records added, None for a payload that is left to Python."""
uninitialised: Callable[[int], bytearray] | None = None
"""A bytearray of so many bytes, whatever they are."""
append_batches: (
    Callable[
        [bytearray, int, int, int, int, Bytes, int, int, int, int, int, int, int],
        tuple[int, int, int, int, int, int, int, list[tuple[int, int]]],
    ]
    | None
) = None
"""(out, filled, records, base, latest, chunk, position, next offset, start, stop, largest, most, bound) → (filled, records,
base, latest, position, next offset, bound, source ranges) with as many of the chunk's batches added as may be."""
stamped: (
    Callable[
        [Bytes, int, int, int, int, tuple[int, int, int, int, int], int, int, int],
        tuple[list[tuple[bytes, int, int, int, int]], int, int],
    ]
    | None
) = None
"""(chunk, position, next offset, start, stop, bytes up to which batches of each codec are left alone, producer id, epoch,
sequence) → (new header, begin and end of the records, base offset, count) of each batch that needs no more; position, next
offset."""

try:
    from kafkeep.native import _native
except ImportError:
    _api = 0
else:
    _api = _native.API

if _api == API:
    crc32c = _native.crc32c
    crc32c_by_table = _native.crc32c_by_table
    crc32c_by_instruction = _native.crc32c_by_instruction
    crc32c_way = _native.CRC32C_WAY
    walk = _native.walk
    ends = _native.ends
    summary = _native.summary
    pieces = _native.pieces
    same = _native.same
    hashed = _native.hashed
    address = _native.address
    append_records = _native.append_records
    append_batches = _native.append_batches
    uninitialised = _native.uninitialised
    stamped = _native.stamped


def available() -> bool:
    """Whether the helper is in use."""
    return _api == API
