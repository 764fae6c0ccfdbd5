"""Asking brokers where partitions can be divided, and whether what was read in ranges is one history."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.pacing import Fetcher
from kafkeep.capture.plan import PartitionPlan
from kafkeep.capture.ranges import Ranges, Sample, divided, may_be_large, places, shares, wanted
from kafkeep.errors import CorruptBatch, KafkaError, KafkaUnreachable
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.fetch import FetchedPartition, FetchPosition
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import BatchInfo

_SAMPLE_BYTES = 64 * 1024
"""Enough to see how large batches are. A broker sends a first batch that is larger whole nevertheless (KIP-74)."""
_MAGIC = 2
"""Headers of older batches do not tell where these begin."""


def find_ranges(
    cluster: Cluster,
    topology: Topology,
    parts: Sequence[PartitionPlan],
    options: BackupOptions,
    *,
    workers: int,
    compacted: Collection[str] = (),
) -> tuple[Ranges, ...]:
    """The ranges of the partitions that are worth dividing. One whose broker does not answer as it should is left whole:
    whoever reads it finds out what is wrong. None is divided that has to be read in order: beyond the last stable offset
    transactions are followed from marker to marker, and deletions in `compacted` topics are dated by the reading.
    """
    if options.range_bytes is None or options.cut == "high-watermark":
        return ()
    counts = shares(parts, workers=workers, connections_per_broker=options.connections_per_broker, never=compacted)
    found: list[Ranges] = []
    for part in parts:
        tasks = counts.get(part.generation.topic_partition)
        if tasks is None or not may_be_large(part, options.range_bytes):
            continue
        try:
            with _fetcher(cluster, topology, part) as fetcher:
                ranges = _ranges(fetcher, part, tasks, options.range_bytes)
        except KafkaError:
            continue
        found += [] if ranges is None else [ranges]
    return tuple(found)


def next_epoch(cluster: Cluster, topology: Topology, part: PartitionPlan, epoch: int) -> int | None:
    """The leader epoch of the batch that begins where `part` does; None when there is none, or when the broker's log has
    another history in front of it than one that ends there with `epoch` (KIP-595: it answers with a diverging epoch).

    A log that has a batch of one epoch at one offset is, up to there, every log that has it (KIP-101): so this tells
    whether what was read in front of the border and behind it are of one history.
    """
    try:
        with _fetcher(cluster, topology, part) as fetcher:
            answer = _ask(fetcher, part, part.start, epoch)
    except KafkaError:
        return None
    infos = _batches(answer)
    return infos[0].leader_epoch if infos and _begins_at(infos[0], part.start) else None


@contextmanager
def _fetcher(cluster: Cluster, topology: Topology, part: PartitionPlan) -> Iterator[Fetcher]:
    broker = topology.brokers.get(part.leader)
    if broker is None:
        raise KafkaUnreachable(f"broker {part.leader} is not in the cluster's metadata")
    fetcher = cluster.fetcher(broker, read_committed=True, response_bytes=_SAMPLE_BYTES)
    try:
        yield fetcher
    finally:
        fetcher.close()


def _ranges(fetcher: Fetcher, part: PartitionPlan, tasks: int, range_bytes: int) -> Ranges | None:
    first, *others = places(part)
    samples = [_sample(_batches(_ask(fetcher, part, first)))]
    if not may_be_large(part, range_bytes, samples[0]):
        return None
    samples += [_sample(_batches(_ask(fetcher, part, offset))) for offset in others]
    want = wanted(part, samples, tasks, range_bytes=range_bytes)
    if want is None:
        return None
    return divided(part, [_border(_batches(_ask(fetcher, part, offset))) for offset in want.offsets], want)


def _ask(fetcher: Fetcher, part: PartitionPlan, offset: int, epoch: int = -1) -> FetchedPartition | None:
    generation = part.generation
    fetcher.send([FetchPosition(generation.topic_partition, generation.topic_id, offset, part.leader_epoch, epoch)])
    return next(iter(fetcher.receive()), None)


def _batches(answer: FetchedPartition | None) -> Sequence[BatchInfo]:
    """The whole batches of an answer; none where it tells of an error, of another history, or is damaged."""
    if answer is None or answer.error != ErrorCode.NONE or answer.diverging is not None:
        return ()
    try:
        return walk(answer.records)[0]
    except CorruptBatch:
        return ()


def _sample(infos: Sequence[BatchInfo]) -> Sample | None:
    if not infos:
        return None
    return Sample(infos[-1].next_offset - infos[0].base_offset, sum(info.size for info in infos))


def _border(infos: Sequence[BatchInfo]) -> int | None:
    """Where the batch begins that holds the offset that was asked for, or follows it."""
    return infos[0].base_offset if infos and infos[0].magic == _MAGIC else None


def _begins_at(info: BatchInfo, offset: int) -> bool:
    return info.magic == _MAGIC and info.base_offset == offset
