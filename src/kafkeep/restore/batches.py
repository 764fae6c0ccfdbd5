"""From stored batches to those a broker takes from a client: new headers where they suffice, else new batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kafkeep import native
from kafkeep.kafka.wire.batch import HEADER_SIZE, rewrite
from kafkeep.kafka.wire.growing import Growing
from kafkeep.kafka.wire.repack import put_together, ranges_of
from kafkeep.playback import PlayedBatch, Stretch, play, play_by_chunk
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import SMALL_ONES
from kafkeep.restore.passage import Passage
from kafkeep.restore.plan import PartitionRestore, ProducerIdentity
from kafkeep.restore.repack import LARGEST_JOINING, Stored, StoredStretch, Together, gathered, gathered_up_to_full

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
    repack_rule: int = SMALL_ONES,
) -> Iterator[ReadyBatch]:
    """What is left of a partition from `source_start` on, as batches with running sequences; small neighbours together
    in batches of up to `repack_bytes`, 0 for none, by one of the rules of `restore.options`.

    The same arguments give the same batches, and so does every `next_source` with the sequence behind it. What was sent
    before a broken connection can be sent again and is recognised by the broker.
    """
    start = max(part.start, source_start)
    together_by_rule = (
        gathered(stored_batches(repository, part, start), repack_bytes)
        if repack_rule == SMALL_ONES or repack_bytes <= HEADER_SIZE
        else gathered_up_to_full(stored_stretches(repository, part, start), repack_bytes)
    )
    for together in together_by_rule:
        if together.alone is not None:
            for ready in _stamped(together.alone, sequence, identity):
                yield ready
                sequence = (sequence + ready.records) % SEQUENCES
            continue
        if together.only is not None:
            ready = _with_new_header(together.only, sequence, identity)
        elif together.growing is not None:
            ready = _sealed(together, together.growing, sequence, identity)
        else:
            ready = _put_together(together, sequence, identity)
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


def stored_stretches(repository: Repository, part: PartitionRestore, start: int) -> Iterator[Stored | StoredStretch]:
    """The same batches as `stored_batches`, those of a chunk together where nothing is to be left out of it."""
    if not part.window.is_open:
        yield from stored_batches(repository, part, start)
        return
    passage = Passage(part.window, begun=start > part.start)

    def stored(played: PlayedBatch | None) -> Stored | None:
        if played is None:
            return None
        records = passage.take(played)
        if records is None or records.bodies:
            return Stored(played.info, played.batch, played.info.next_offset, records)
        return None

    for found in play_by_chunk(repository, part.runs, start=start, stop=part.stop, held_back=part.held_back):
        if isinstance(found, Stretch):
            yield StoredStretch(found, lambda stretch=found: stored(stretch.take()))  # type: ignore[misc]
        elif (batch := stored(found)) is not None:
            yield batch


def _stamped(stretch: Stretch, sequence: int, identity: ProducerIdentity) -> Iterator[ReadyBatch]:
    """What `_with_new_header` makes of the next batches that join no others; none where there is no helper."""
    if native.stamped is None:
        return
    chunk = stretch.chunk
    found, stretch.position, stretch.next_offset = native.stamped(
        chunk,
        stretch.position,
        stretch.next_offset,
        stretch.start,
        stretch.stop,
        LARGEST_JOINING,
        identity.producer_id,
        identity.epoch,
        sequence,
    )
    for header, begin, end, base, count in found:
        parts = (header, chunk[begin:end])
        yield ReadyBatch(parts, HEADER_SIZE + end - begin, count, ((base, count),), base + count, sequence)
        sequence = (sequence + count) % SEQUENCES


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
    pieces = tuple(ranges_of(together.records))
    return ReadyBatch((body,), len(body), sum(count for _, count in pieces), pieces, together.next_source, sequence)


def _sealed(together: Together, growing: Growing, sequence: int, identity: ProducerIdentity) -> ReadyBatch:
    records = growing.records
    batch = growing.seal(
        together.codec,
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=sequence,
    )
    return ReadyBatch((batch,), len(batch), records, tuple(together.pieces), together.next_source, sequence)
