"""Batches of the controllers' log and of its snapshots, opened into a fold. Pure."""

from __future__ import annotations

import struct
from typing import Final

from kafkeep.errors import KafkaProtocolError
from kafkeep.kafka.wire.batch import walk
from kafkeep.kafka.wire.metadata_fold import MetadataFold
from kafkeep.kafka.wire.metadata_records import decode_metadata_record
from kafkeep.kafka.wire.primitives import Reader
from kafkeep.kafka.wire.records import Record, decode
from kafkeep.model import BatchInfo

LARGEST_BATCH: Final = 64 * 1024 * 1024
"""Bytes one batch may take, packed or unpacked. Controllers write up to 8 MiB (KafkaRaftClient.MAX_BATCH_SIZE_BYTES)."""
_CONTROL_KEY: Final = struct.Struct(">hh")
# Numbers of clients/common/record/ControlRecordType.java.
_SNAPSHOT_FOOTER: Final = 4
_KRAFT_VERSION: Final = 5


class BatchReader:
    """Puts the records of batches, in the order of their offsets, into a fold."""

    def __init__(self, fold: MetadataFold) -> None:
        self.last: tuple[int, int] | None = None
        """Offset behind the last batch that was read, and its leader epoch; batches in front of it are left out. Offsets
        in a snapshot are its own: the caller puts the log's here when it is read."""
        self.snapshot_ended = False
        """Whether the footer of a snapshot was met."""
        self._fold = fold

    def read(self, data: memoryview, *, below: int | None = None) -> int:
        """Reads the whole batches at the start of `data`, up to the offset `below`; the bytes they take.

        Raises:
            CorruptBatch: a batch that fails its CRC or cannot be opened.
            KafkaProtocolError, KafkaUnsupported: records that are not the controllers', or of an unknown version.
        """
        infos, _ = walk(data)
        taken = 0
        for info in infos:
            if below is not None and info.next_offset > below:
                break
            # An answer may begin with a batch that was read already, in whose middle the asked offset lies.
            if self.last is None or info.next_offset > self.last[0]:
                self._batch(data[taken : taken + info.size], info)
                self.last = (info.next_offset, info.leader_epoch)
            taken += info.size
        if len(data) - taken > LARGEST_BATCH:
            raise KafkaProtocolError(f"a batch of the controllers' log of more than {LARGEST_BATCH} bytes")
        return taken

    def _batch(self, batch: memoryview, info: BatchInfo) -> None:
        for record in decode(batch, info, max_bytes=LARGEST_BATCH):
            if info.is_control:
                self._control(record)
            elif record.value is None:
                raise KafkaProtocolError(f"a record without a value at offset {record.offset} of the controllers' log")
            else:
                self._fold.apply(decode_metadata_record(record.value))

    def _control(self, record: Record) -> None:
        if record.key is None or len(record.key) < _CONTROL_KEY.size:
            raise KafkaProtocolError(
                f"a control record without a type at offset {record.offset} of the controllers' log"
            )
        kind = _CONTROL_KEY.unpack_from(record.key)[1]
        if kind == _SNAPSHOT_FOOTER:
            self.snapshot_ended = True
        elif kind == _KRAFT_VERSION and record.value is not None:
            # raft/src/main/resources/common/message/KRaftVersionRecord.json: its version, then the level.
            reader = Reader(memoryview(record.value), "KRaftVersion record")
            reader.i16()
            self._fold.kraft_version(reader.i16())
