"""A plain batch that whole payloads of records are added to, until it is sealed. Pure.

What comes out is what `repack.put_together` makes of the same records, byte for byte. The C helper moves them where it
was built (`kafkeep.native`); what is unusual, and everything without it, goes through `repack.Slices`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kafkeep import native
from kafkeep.kafka.wire import codecs
from kafkeep.kafka.wire.batch import CHECKED, CRC_START, HEADER_SIZE, LENGTH_END, NO_LEADER_EPOCH, UNCHECKED, crc32c
from kafkeep.kafka.wire.repack import LARGEST_HEAD, Slices, written_records

HEAD_GROWTH: Final = LARGEST_HEAD - 4
"""A record takes at most so much more than before: its head had a byte for each of its four fields at least."""


class Joined(NamedTuple):
    """Stored batches that were added."""

    position: int
    """Where the first that was not lies in the chunk."""
    next_offset: int
    """The least offset that it may have."""
    bound: int
    """What all records of the batch may take at most."""
    pieces: list[tuple[int, int]]
    """(first source offset, records): ranges without holes, in order."""


class Growing:
    """The records of one batch, in the order they are added; timestamps are CreateTime, offsets 0, 1, 2 …"""

    def __init__(self, room: int) -> None:
        """`room`: bytes that all records may take at most."""
        self._out = (bytearray if native.uninitialised is None else native.uninitialised)(HEADER_SIZE + room)
        self._filled = HEADER_SIZE
        self._base = 0
        self._latest = 0
        self.records = 0

    def add_payload(self, payload: bytes | memoryview, count: int, base_timestamp: int) -> bool:
        """Adds the records of an uncompressed payload; False, with nothing changed, where that is for `add` to do.

        The caller knows that `len(payload) + count * HEAD_GROWTH` bytes are left.
        """
        if native.append_records is None:
            return False
        found = native.append_records(
            self._out, self._filled, self.records, self._base, self._latest, payload, count, base_timestamp
        )
        if found is None:
            return False
        self._filled, self.records, self._base, self._latest = found
        return True

    def add(self, records: Slices) -> None:
        """Adds the records, of which there is at least one. The caller knows that there is room for all of them, each with
        the largest head."""
        latest = max(records.timestamps)
        if not self.records:
            self._base = records.timestamps[0]
            self._latest = latest
        data = b"".join(written_records(records, self._base, self.records))
        self._out[self._filled : self._filled + len(data)] = data
        self._filled += len(data)
        self._latest = max(self._latest, latest)
        self.records += len(records.bodies)

    def add_batches(
        self,
        chunk: memoryview,
        position: int,
        next_offset: int,
        *,
        start: int,
        stop: int,
        largest: int,
        most: int,
        bound: int,
    ) -> Joined | None:
        """Adds the chunk's batches from `position` on as long as they are plain and uncompressed, of at most `largest` bytes,
        all their offsets are in `[start, stop)`, and `bound` stays below or at `most`. None where nothing can be added so.
        """
        if native.append_batches is None:
            return None
        self._filled, self.records, self._base, self._latest, position, next_offset, bound, pieces = (
            native.append_batches(
                self._out,
                self._filled,
                self.records,
                self._base,
                self._latest,
                chunk,
                position,
                next_offset,
                start,
                stop,
                largest,
                most,
                bound,
            )
        )
        return Joined(position, next_offset, bound, pieces) if pieces else None

    def seal(self, codec: int, *, producer_id: int, producer_epoch: int, base_sequence: int) -> memoryview:
        """The batch; nothing can be added any more."""
        out = self._out
        if codec != codecs.NONE:
            payload = codecs.compress(codec, bytes(memoryview(out)[HEADER_SIZE : self._filled]))
            out[HEADER_SIZE : HEADER_SIZE + len(payload)] = payload
            self._filled = HEADER_SIZE + len(payload)
        CHECKED.pack_into(
            out,
            CRC_START,
            codec,
            self.records - 1,
            self._base,
            self._latest,
            producer_id,
            producer_epoch,
            base_sequence,
            self.records,
        )
        batch = memoryview(out)[: self._filled]
        UNCHECKED.pack_into(out, 0, 0, self._filled - LENGTH_END, NO_LEADER_EPOCH, 2, crc32c(batch[CRC_START:]))
        return batch.toreadonly()
