"""FetchSnapshot requests and answers, versions 0 and 1: a controller's snapshot of its log, piece by piece. Pure.

Schema: clients/src/main/resources/common/message/FetchSnapshotRequest.json and FetchSnapshotResponse.json (KIP-630).
"""

from __future__ import annotations

import struct
from typing import Final

from kafkeep.kafka.wire.primitives import NO_TAGS, Reader, compact_string, one_tag, uvarint
from kafkeep.records import dataclass

API_KEY: Final = 59
LOWEST: Final = 0
HIGHEST: Final = 1

_NOT_A_REPLICA: Final = -1
_ONE: Final = uvarint(2)
_TAG_CLUSTER_ID: Final = 0
_SNAPSHOT: Final = struct.Struct(">qi")
_PLACE: Final = struct.Struct(">qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPiece:
    """A stretch of a snapshot file; the other fields mean something only where both errors are 0."""

    request_error: int
    """Kafka's error code for the whole request."""
    error: int
    """Kafka's error code for the snapshot."""
    size: int
    """Bytes of the whole snapshot."""
    position: int
    """Where in it the piece begins."""
    data: memoryview
    """May begin and end anywhere inside of a batch."""


def encode_fetch_snapshot(
    topic: str, snapshot: tuple[int, int], position: int, *, leader_epoch: int, piece_bytes: int, cluster_id: str
) -> bytes:
    """The body of a request, alike in both versions, for partition 0 of `topic` and its snapshot (end offset, epoch)."""
    out = bytearray(struct.pack(">ii", _NOT_A_REPLICA, piece_bytes))
    out += _ONE + compact_string(topic)
    out += _ONE + struct.pack(">ii", 0, leader_epoch)
    out += _SNAPSHOT.pack(*snapshot) + NO_TAGS
    out += struct.pack(">q", position) + NO_TAGS
    out += NO_TAGS
    out += one_tag(_TAG_CLUSTER_ID, compact_string(cluster_id))
    return bytes(out)


def decode_fetch_snapshot(reader: Reader) -> SnapshotPiece:
    """The piece in an answer to a request for one snapshot. Raises KafkaProtocolError when there is not just one."""
    reader.i32()
    request_error = reader.i16()
    pieces: list[SnapshotPiece] = []
    for _ in range(reader.count(compact=True)):
        reader.string(compact=True)
        pieces += [_piece(reader) for _ in range(reader.count(compact=True))]
        reader.tags()
    reader.tags()
    reader.end()
    if request_error:
        return SnapshotPiece(request_error=request_error, error=0, size=0, position=0, data=memoryview(b""))
    if len(pieces) != 1:
        raise reader.fail(f"{len(pieces)} snapshots instead of one")
    return pieces[0]


def _piece(reader: Reader) -> SnapshotPiece:
    reader.i32()
    error = reader.i16()
    reader.fields(_SNAPSHOT)
    reader.tags()
    size, position = reader.fields(_PLACE)
    data = reader.nullable_bytes(compact=True)
    reader.tags()
    return SnapshotPiece(
        request_error=0,
        error=error,
        size=size,
        position=position,
        data=memoryview(b"") if data is None else data,
    )
