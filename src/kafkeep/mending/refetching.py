"""A run read again from the broker that once served it. It counts only when the very same run comes out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from typing import Final

from kafkeep.errors import CorruptBatch, KafkaError
from kafkeep.kafka.cluster import EARLIEST, LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode, code_name
from kafkeep.kafka.fetch import BrokerFetcher, FetchedPartition, FetchPosition
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.wire.batch import walk
from kafkeep.model import NO_TOPIC_ID, BatchInfo, RunFacts, RunRef
from kafkeep.records import dataclass
from kafkeep.repository.catalogue import PackEntry
from kafkeep.repository.format import RepositoryDocument
from kafkeep.repository.layout import RunIndex
from kafkeep.repository.pack import PackWriter
from kafkeep.repository.packing import Randomness
from kafkeep.repository.reader import read_footer
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

_EMPTY_ANSWERS: Final = 5
"""So many in a row mean that the broker has nothing more of the run; compaction may have taken its end."""


class CannotRefetch(Exception):
    """Kafka does not have the run any more, or not as it was; the text says why."""


@dataclass(frozen=True, slots=True)
class Refetched:
    """A run as the broker serves it, cut and stored as it was."""

    store: MemoryStore
    pack: str
    index: RunIndex


def available(cluster: Cluster, run: RunRef) -> tuple[bool, str]:
    """Whether the broker still says that it has the offsets of the run, of the same topic, and what it says.

    Whether the same digest comes out shows only when they are read. Raises `KafkaUnreachable`, `KafkaLoginError` when the
    cluster cannot be asked at all.
    """
    if run.key is not None:
        return False, "it is sealed: the same bytes can never come out again"
    partition = run.generation.topic_partition
    topology = cluster.topology([partition.topic])
    topic = topology.topics.get(partition.topic)
    if topic is None or topic.error != ErrorCode.NONE:
        return False, "the cluster has no such topic any more"
    if run.generation.topic_id not in (topic.topic_id, NO_TOPIC_ID):
        return False, "the topic in the cluster is another one of the same name"
    first = cluster.offsets([partition], EARLIEST, topology=topology)[partition]
    last = cluster.offsets([partition], LATEST, topology=topology)[partition]
    if first.error or last.error:
        return False, f"the cluster does not tell its offsets: {code_name(first.error or last.error)}"
    if first.offset > run.coverage.start or last.offset < run.coverage.stop:
        return False, f"the cluster has only [{first.offset}, {last.offset}) of it"
    return True, f"the cluster has [{first.offset}, {last.offset})"


def refetch(
    cluster: Cluster,
    run: RunRef,
    document: RepositoryDocument,
    *,
    now: Callable[[], datetime],
    rng: Randomness,
) -> Refetched:
    """The run, in memory. Raises `CannotRefetch`, `KafkaUnreachable` and `KafkaLoginError`."""
    possible, why = available(cluster, run)
    if not possible:
        raise CannotRefetch(why)
    store = MemoryStore()
    with Repository(store, document, now=now, rng=rng).pack_writer() as writer:
        writer.begin_run(run.generation, run.coverage.start)
        try:
            _read(cluster, run, writer)
            facts = writer.end_run(
                run.coverage.stop, aborted=run.facts.aborted, open_transactions=run.facts.open_transactions
            )
        except (CorruptBatch, ValueError) as error:
            raise CannotRefetch(f"what the cluster serves is not that run: {error}") from error
        pack = writer.finish()
    if facts != run.facts or facts is None:
        raise CannotRefetch(f"the cluster serves the offsets, but not the same bytes: {_differing(run.facts, facts)}")
    entry = PackEntry(pack.name, pack.size, pack.blake3, pack.epoch, 0, pack.run_refs())
    return Refetched(store, pack.name, read_footer(store, entry, document.id).runs[0])


def _differing(known: RunFacts, found: RunFacts | None) -> str:
    if found is None:
        return "nothing"
    names = [each.name for each in fields(RunFacts) if getattr(known, each.name) != getattr(found, each.name)]
    return "other " + ", ".join(names)


def _read(cluster: Cluster, run: RunRef, writer: PackWriter) -> None:
    partition = run.generation.topic_partition
    topology = cluster.topology([partition.topic])
    known = topology.partition(partition)
    broker = None if known is None else topology.brokers.get(known.leader)
    if broker is None:
        raise CannotRefetch("the partition has no leader")
    try:
        with closing(cluster.fetcher(broker, read_committed=False)) as fetcher:
            _fetch_all(fetcher, run, topology, writer)
    except KafkaError as error:
        raise CannotRefetch(f"the cluster does not serve it: {error.message}") from error


def _fetch_all(fetcher: BrokerFetcher, run: RunRef, topology: Topology, writer: PackWriter) -> None:
    partition = run.generation.topic_partition
    known = topology.partition(partition)
    epoch = -1 if known is None else known.leader_epoch
    position, empty = run.coverage.start, 0
    while position < run.coverage.stop and empty < _EMPTY_ANSWERS:
        asked = FetchPosition(partition, topology.topics[partition.topic].topic_id, position, epoch)
        reached = position
        for answer in fetcher.fetch([asked]):
            if answer.error:
                raise CannotRefetch(f"the fetch at offset {position} is refused: {code_name(answer.error)}")
            reached = _append(answer, position, run.coverage.stop, writer)
        empty = empty + 1 if reached == position else 0
        position = reached


def _append(answer: FetchedPartition, position: int, stop: int, writer: PackWriter) -> int:
    """Writes the batches that end behind `position` and begin before `stop`; where to go on, `stop` at the end."""
    infos, used = walk(answer.records)
    at, start = 0, None
    wanted: list[BatchInfo] = []
    for info in infos:
        if info.last_offset >= position and info.base_offset < stop:
            start = at if start is None else start
            wanted.append(info)
        at += info.size
    if start is not None:
        writer.append(answer.records[start : start + sum(info.size for info in wanted)], wanted)
    if not infos or used == 0:
        return position
    return stop if infos[-1].base_offset >= stop else max(position, infos[-1].next_offset)
