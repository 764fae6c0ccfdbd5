"""From stored batches to those a broker takes from a client: new headers where they suffice, else rebuilt records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kafkeep.errors import CorruptBatch
from kafkeep.kafka.wire.batch import HEADER_SIZE, needs_rebuild, rewrite
from kafkeep.kafka.wire.records import Record, decode, encode
from kafkeep.playback import PlayedBatch, play
from kafkeep.repository.repository import Repository
from kafkeep.restore.plan import PartitionRestore

_SEQUENCES = 2**31
"""Producer sequences count 0 … 2^31-1 and start again at 0 (clients/common/record/DefaultRecordBatch.java)."""


@dataclass(frozen=True, slots=True)
class ProducerIdentity:
    """Our own idempotent producer: a broker recognises a repeated batch by it."""

    producer_id: int
    epoch: int


class ReadyBatch(NamedTuple):
    """A batch to produce, and where its records come from."""

    parts: tuple[bytes | memoryview, ...]
    size: int
    records: int
    pieces: tuple[tuple[int, int], ...]
    """(first source offset, records): ranges without holes, in order."""
    next_source: int
    """Source offset from which to go on once this batch is in."""
    sequence: int


def ready_batches(
    repository: Repository, part: PartitionRestore, *, source_start: int, sequence: int, identity: ProducerIdentity
) -> Iterator[ReadyBatch]:
    """What is left of a partition from `source_start` on, as batches with running sequences.

    The same arguments give the same batches, so what was sent before a broken connection can be sent again and is
    recognised by the broker.
    """
    start = max(part.start, source_start)
    for played in play(repository, part.runs, start=start, stop=part.stop, held_back=part.held_back, verify_crc=False):
        late = part.window.is_late(played.info.max_timestamp)
        ends = False
        ready: ReadyBatch | None
        if played.whole and not late and not needs_rebuild(played.info):
            ready = _with_new_header(played, sequence, identity)
        else:
            records = [r for r in decode(played.batch, played.info) if played.start <= r.offset < played.stop]
            kept = records if part.window.until is None else _until(records, part.window.until)
            ends = len(kept) < len(records)
            ready = _rebuilt(played, kept, sequence, identity, next_source=part.stop if ends else None)
        if ready is not None:
            yield ready
            sequence = (sequence + ready.records) % _SEQUENCES
        if ends:
            return


def _with_new_header(played: PlayedBatch, sequence: int, identity: ProducerIdentity) -> ReadyBatch:
    info = played.info
    header = rewrite(
        played.batch,
        info,
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=sequence,
    )
    return ReadyBatch(
        (header, played.batch[HEADER_SIZE:]),
        info.size,
        info.record_count,
        ((info.base_offset, info.record_count),),
        info.next_offset,
        sequence,
    )


def _rebuilt(
    played: PlayedBatch,
    records: Sequence[Record],
    sequence: int,
    identity: ProducerIdentity,
    *,
    next_source: int | None,
) -> ReadyBatch | None:
    """A batch of these records of a stored one; None when there are none."""
    if not records:
        return None
    info = played.info
    body = encode(
        records,
        codec=info.codec,
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=sequence,
    )
    following = info.next_offset if next_source is None else next_source
    return ReadyBatch((body,), len(body), len(records), _pieces(records), following, sequence)


def _until(records: Sequence[Record], last_timestamp: int) -> Sequence[Record]:
    """The records in front of the first one with a later timestamp."""
    for index, record in enumerate(records):
        if record.timestamp > last_timestamp:
            return records[:index]
    return records


def _pieces(records: Sequence[Record]) -> tuple[tuple[int, int], ...]:
    pieces: list[tuple[int, int]] = []
    for record in records:
        if pieces and pieces[-1][0] + pieces[-1][1] == record.offset:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + 1)
        elif pieces and record.offset < pieces[-1][0] + pieces[-1][1]:
            raise CorruptBatch(f"record offset {record.offset} does not rise inside its batch")
        else:
            pieces.append((record.offset, 1))
    return tuple(pieces)
