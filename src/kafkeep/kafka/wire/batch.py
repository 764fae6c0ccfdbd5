"""Record batches by their headers: walk, check, rewrite. No record is opened, nothing is copied. Pure.

Layouts: clients/common/record/DefaultRecordBatch.java (magic 2, KIP-98) and LegacyRecord.java (magic 0 and 1). The CRC
of magic 2 is CRC-32C over everything from the attributes on; base offset, length, leader epoch and magic are outside.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from fastcrc import crc32

from kafkeep import native
from kafkeep.batch_rows import ROW, BatchRows
from kafkeep.errors import CorruptBatch
from kafkeep.model import BatchInfo

HEADER_SIZE: Final = 61
HEADER: Final = ROW
CRC_START: Final = 21
"""First byte the CRC of magic 2 covers."""
LENGTH_END: Final = 12
"""Bytes up to and with the batch length, which counts what follows it."""
LEGACY_CRC_START: Final = 16
_MAGIC_AT: Final = 16
_PREFIX: Final = struct.Struct(">qi")
_LEGACY_V0: Final = struct.Struct(">qiIbb")
_LEGACY_V1: Final = struct.Struct(">qiIbbq")
_LEGACY_KEY_AND_VALUE: Final = 8
CHECKED: Final = struct.Struct(">hiqqqhii")
"""The fields that the CRC covers: attributes to record count."""
UNCHECKED: Final = struct.Struct(">qiibI")
"""The fields in front of those: base offset to CRC."""
NO_LEADER_EPOCH: Final = -1
_CONTROL_KEY: Final = struct.Struct(">hh")

crc32c = crc32.iscsi


def walk(view: memoryview, *, verify: bool = True) -> tuple[Sequence[BatchInfo], int]:
    """All whole batches from the start of `view`, and the bytes they take.

    A partial batch at the end is left alone: brokers cut answers anywhere. The header of a compressed message set of
    magic 0 or 1 holds neither first offset nor count, so its base offset is its last offset and its record count -1.

    Args:
        verify: Check each batch's CRC too (CRC-32C; CRC-32 for magic 0 and 1).

    Raises:
        CorruptBatch: on a wrong CRC, an impossible length, count or offset delta, an unknown magic, and on offsets that
            do not rise from batch to batch, as they do in every log.
    """
    if native.walk is not None:
        return _walk_with_helper(native.walk, view, verify=verify)
    infos: list[BatchInfo] = []
    return infos, _walk_on(view, 0, 0, infos, verify=verify)


def _walk_with_helper(helper: native.Walk, view: memoryview, *, verify: bool) -> tuple[BatchRows, int]:
    """The helper stops in front of whatever is no sound whole batch of magic 2: what that is, is found out here."""
    rows, position, next_offset = helper(view, verify, 0, 0)
    if len(view) - position < LENGTH_END:
        return BatchRows(rows), position
    infos: list[BatchInfo] = []
    position = _walk_on(view, position, next_offset, infos, verify=verify)
    return BatchRows(b"".join([rows, *(HEADER.pack(*info) for info in infos)]) if infos else rows), position


def _walk_on(view: memoryview, position: int, next_offset: int, infos: list[BatchInfo], *, verify: bool) -> int:
    """Appends the whole batches of every magic from `position` on; where the first partial one begins."""
    while True:
        position = _walk_current(view, position, next_offset, infos, verify=verify)
        next_offset = infos[-1].next_offset if infos else next_offset
        # Old and new batches lie in one log after an upgrade.
        legacy = _walk_legacy(view, position, next_offset, verify=verify)
        if legacy is None:
            return position
        infos.append(legacy)
        next_offset = legacy.next_offset
        position += legacy.size


def _walk_current(view: memoryview, position: int, next_offset: int, infos: list[BatchInfo], *, verify: bool) -> int:
    """Appends the whole batches of magic 2 from `position` on; where the first that is none of these begins."""
    append = infos.append
    unpack, crc, new = HEADER.unpack_from, crc32c, tuple.__new__
    end = len(view)
    while end - position >= HEADER_SIZE:
        base, length, _, magic, told, _, delta, _, _, _, _, _, count = fields = unpack(view, position)
        if magic != 2:
            break
        stop = position + LENGTH_END + length
        if length < HEADER_SIZE - LENGTH_END or base < next_offset or delta < 0 or count < 0:
            raise _impossible(new(BatchInfo, fields), position, next_offset)
        if stop > end:
            break
        if verify and crc(view[position + CRC_START : stop]) != told:
            raise _bad_crc(new(BatchInfo, fields), position)
        append(new(BatchInfo, fields))
        next_offset = base + delta + 1
        position = stop
    return position


def _walk_legacy(view: memoryview, position: int, next_offset: int, *, verify: bool) -> BatchInfo | None:
    """The whole batch of magic 0 or 1 at `position`, or None when what is there is a partial batch of any magic."""
    left = len(view) - position
    if left < LENGTH_END:
        return None
    base_offset, length = _PREFIX.unpack_from(view, position)
    if length < _LEGACY_V0.size - LENGTH_END + _LEGACY_KEY_AND_VALUE or base_offset < next_offset:
        raise CorruptBatch(
            f"impossible batch at byte {position}: base offset {base_offset} after {next_offset - 1}, length {length}"
        )
    if left <= _MAGIC_AT:
        return None
    magic = view[position + _MAGIC_AT]
    if magic > 2:
        raise CorruptBatch(f"batch at offset {base_offset} (byte {position}) has unknown magic {magic}")
    if magic == 2 and length < HEADER_SIZE - LENGTH_END:
        raise CorruptBatch(f"batch at offset {base_offset} (byte {position}) has an impossible length {length}")
    if magic == 2 or left < length + LENGTH_END:
        return None
    info = _legacy_info(view, position, magic, length)
    if verify and zlib.crc32(view[position + LEGACY_CRC_START : position + info.size]) != info.crc:
        raise _bad_crc(info, position)
    return info


def _legacy_info(view: memoryview, position: int, magic: int, length: int) -> BatchInfo:
    """What the header of a message of magic 0 or 1 holds, as a BatchInfo."""
    if magic == 0:
        offset, _, crc, _, attributes = _LEGACY_V0.unpack_from(view, position)
        timestamp = -1
    elif length < _LEGACY_V1.size - LENGTH_END + _LEGACY_KEY_AND_VALUE:
        raise CorruptBatch(f"message at byte {position} has an impossible length {length}")
    else:
        offset, _, crc, _, attributes, timestamp = _LEGACY_V1.unpack_from(view, position)
    return BatchInfo(
        base_offset=offset,
        batch_length=length,
        leader_epoch=NO_LEADER_EPOCH,
        magic=magic,
        crc=crc,
        attributes=attributes & 0x0F,
        last_offset_delta=0,
        base_timestamp=timestamp,
        max_timestamp=timestamp,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=1 if attributes & 0x07 == 0 else -1,
    )


def _impossible(info: BatchInfo, position: int, next_offset: int) -> CorruptBatch:
    return CorruptBatch(
        f"impossible batch header at offset {info.base_offset} (byte {position}, after offset {next_offset - 1}): "
        f"length {info.batch_length}, last offset delta {info.last_offset_delta}, {info.record_count} records"
    )


def _bad_crc(info: BatchInfo, position: int) -> CorruptBatch:
    return CorruptBatch(f"batch at offset {info.base_offset} (byte {position}, {info.size} bytes) fails its CRC")


def control_type(batch: memoryview) -> int | None:
    """The kind of a control batch: 0 abort, 1 commit, others as found; None when compaction has emptied it.

    The key of a control record is version (int16) and type (int16): clients/common/record/ControlRecordType.java.

    Raises:
        CorruptBatch: when the batch is not a control batch or its first record is malformed.
    """
    info = BatchInfo._make(HEADER.unpack_from(batch, 0)) if len(batch) >= HEADER_SIZE else None
    if info is None or info.magic != 2 or not info.is_control:
        raise CorruptBatch("not a control batch")
    if info.record_count == 0:
        return None
    position = _skip_varints(batch, HEADER_SIZE, 1) + 1
    position = _skip_varints(batch, position, 3)
    if info.codec or position + _CONTROL_KEY.size > len(batch):
        raise CorruptBatch(f"malformed control batch at offset {info.base_offset}")
    kind: int = _CONTROL_KEY.unpack_from(batch, position)[1]
    return kind


def _skip_varints(view: memoryview, position: int, count: int) -> int:
    """A record begins with its length, attributes (one byte), timestamp delta, offset delta and its key's length."""
    for _ in range(count):
        while position < len(view) and view[position] >= 0x80:
            position += 1
        position += 1
    return position


def rewrite(
    batch: memoryview,
    info: BatchInfo,
    *,
    base_offset: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
) -> bytes:
    """A new header of 61 bytes that makes the batch's own payload (`batch[61:]`) a plain batch a client may produce.

    Leader epoch -1; of the attributes only the codec is kept, so the transactional, delete-horizon and LogAppendTime
    bits go; producer fields as given; CRC computed anew. With LogAppendTime the base timestamp becomes the append time,
    which is right for a batch of one record. `needs_rebuild` says when a header is not enough. What brokers take from a
    client: storage/internals/log/LogValidator.java.

    Raises:
        ValueError: for control batches and for batches of magic 0 or 1.
    """
    if info.magic != 2 or info.is_control:
        raise ValueError(f"batch at offset {info.base_offset} cannot be produced by a new header")
    checked = CHECKED.pack(
        info.codec,
        info.last_offset_delta,
        info.max_timestamp if info.is_log_append_time else info.base_timestamp,
        info.max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        info.record_count,
    )
    crc = crc32c(batch[HEADER_SIZE : info.size], crc32c(checked))
    return UNCHECKED.pack(base_offset, info.batch_length, NO_LEADER_EPOCH, 2, crc) + checked


def needs_rebuild(info: BatchInfo) -> bool:
    """True when no new header makes a broker take the batch from a client and show the same timestamps.

    That is: fewer records than offsets (compaction), records whose shown time is the append time, magic 0 or 1. An
    empty batch cannot be produced at all: leave it out.
    """
    return info.magic != 2 or info.has_holes or info.is_log_append_time
