"""A second look at batches that were checked when they came, once their bytes have been used. Pure.

Between the check of a batch's CRC and the hash of its chunk its bytes lie in memory, where a bit can change unnoticed: the
hash would vouch for what was never sent. Whoever has hashed, compressed or sealed them looks once more, in the very
buffer that was read: a change in front of the hash is found here, one behind it by the hash.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3
from fastcrc import crc32

from kafkeep import native
from kafkeep.batch_rows import BATCH_OVERHEAD, ROW, BatchRows, Piece
from kafkeep.errors import CorruptionError
from kafkeep.model import BatchInfo

_CRC_START: Final = 21
_OLD_CRC_START: Final = 16
_PREFIX: Final = struct.Struct(">qiI")


def check_again(raw: memoryview, infos: Sequence[BatchInfo]) -> None:
    """Raises `CorruptionError` unless `raw` holds these batches as their headers were, each with its CRC."""
    if native.same is not None and isinstance(infos, BatchRows) and native.same(raw, infos.rows):
        return
    unpack, crc, position = ROW.unpack_from, crc32.iscsi, 0
    for info in infos:
        stop = position + BATCH_OVERHEAD + info[1]
        if info[3] == 2:
            whole = unpack(raw, position) == info and crc(raw[position + _CRC_START : stop]) == info[4]
        else:  # of magic 0 and 1 offset, length and CRC stand in front of what the CRC is over
            whole = _PREFIX.unpack_from(raw, position) == (*info[:2], info[4])
            whole = whole and zlib.crc32(raw[position + _OLD_CRC_START : stop]) == info[4]
        if not whole:
            raise CorruptionError(
                f"a batch changed in memory behind the check of its CRC: offset {info.base_offset}, {info.size} bytes",
                hint="Check this host's memory. Nothing of this pack was kept.",
            )
        position = stop


class Hashed(NamedTuple):
    """Pieces of batches in a row, each of which went into a chunk."""

    hasher: native.Hasher
    """Of the chunk that the last piece went into."""
    digests: list[str]
    """Of the chunks that ended, the first of which may have begun before these batches."""


def hash_and_check(
    hasher: native.Hasher, raw: memoryview, infos: Sequence[BatchInfo], found: Sequence[Piece], *, begins: bool
) -> Hashed:
    """Hashes all pieces of these batches, each behind the first into a chunk of its own, and checks each again once it is
    hashed. With `begins` the chunk of the hasher ends in front of the first piece too. Raises `CorruptionError`.
    """
    if native.hashed is not None and isinstance(infos, BatchRows):
        stops = [piece.stop for piece in found]
        last, digests, sound = native.hashed(hasher, blake3, raw, infos.rows, stops, begins)
        if not sound:
            check_again(raw, infos)
        return Hashed(last, digests)
    digests = []
    index = position = 0
    for stop, end, _ in found:
        if begins:
            digests.append(hasher.hexdigest())
            hasher = blake3()
        piece = raw[position:end]
        hasher.update(piece)
        check_again(piece, infos[index:stop])
        index, position, begins = stop, end, True
    return Hashed(hasher, digests)
