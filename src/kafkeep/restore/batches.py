"""From stored batches to those a broker takes from a client: new headers where they suffice, else new batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kafkeep.kafka.wire.batch import HEADER_SIZE, rewrite
from kafkeep.kafka.wire.repack import Slices, put_together
from kafkeep.playback import play
from kafkeep.repository.repository import Repository
from kafkeep.restore.passage import Passage
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.repack import Stored, Together, gathered

SEQUENCES = 2**31
"""Producer sequences count 0 … 2^31-1 and start again at 0 (clients/common/record/DefaultRecordBatch.java)."""


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
    repository: Repository,
    part: PartitionRestore,
    *,
    source_start: int,
    sequence: int,
    identity: ProducerIdentity,
    repack_bytes: int,
) -> Iterator[ReadyBatch]:
    """What is left of a partition from `source_start` on, as batches with running sequences; small neighbours together
    in batches of up to `repack_bytes`, 0 for none.

    The same arguments give the same batches, and so does every `next_source` with the sequence behind it. What was sent
    before a broken connection can be sent again and is recognised by the broker.
    """
    start = max(part.start, source_start)
    for together in gathered(stored_batches(repository, part, start), repack_bytes):
        if together.only is None:
            ready = _put_together(together, sequence, identity)
        else:
            ready = _with_new_header(together.only, sequence, identity)
        yield ready
        sequence = (sequence + ready.records) % SEQUENCES


def stored_batches(repository: Repository, part: PartitionRestore, start: int) -> Iterator[Stored]:
    """The partition's batches with wanted records, opened where they must be."""
    passage = Passage(part.window, begun=start > part.start)
    batches = play(
        repository,
        part.runs,
        start=start,
        stop=part.stop,
        held_back=part.held_back,
        too_early=passage.too_early,
        verify_crc=False,
    )
    for played in batches:
        records = passage.take(played)
        if records is None or records.bodies:
            following = part.stop if passage.is_over else played.info.next_offset
            yield Stored(played.info, played.batch, following, records)
        if passage.is_over:
            return


def _with_new_header(stored: Stored, sequence: int, identity: ProducerIdentity) -> ReadyBatch:
    info = stored.info
    header = rewrite(
        stored.batch,
        info,
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=sequence,
    )
    return ReadyBatch(
        (header, stored.batch[HEADER_SIZE:]),
        info.size,
        info.record_count,
        ((info.base_offset, info.record_count),),
        stored.next_source,
        sequence,
    )


def _put_together(together: Together, sequence: int, identity: ProducerIdentity) -> ReadyBatch:
    body = put_together(
        together.records,
        codec=together.codec,
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=sequence,
    )
    pieces = _pieces(together.records)
    return ReadyBatch((body,), len(body), sum(count for _, count in pieces), pieces, together.next_source, sequence)


def _pieces(parts: Iterable[Slices]) -> tuple[tuple[int, int], ...]:
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
    return tuple(pieces)
