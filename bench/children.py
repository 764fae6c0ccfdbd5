"""The bare ceilings and the filling of a topic, each in a process of its own: `python -m bench.children VERB ...`.

A verb prints one line of JSON at its end. What it reports is the work alone: no start of Python, no set-up.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.measure import measured
from bench.segments import mapped
from bench.workloads import PARTITIONS, WORKLOADS, batches
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.fetch import BrokerFetcher, FetchPosition
from kafkeep.kafka.produce import MOST_OUTSTANDING, BrokerProducer, ProduceBatch
from kafkeep.kafka.topology import TopicTopology
from kafkeep.kafka.wire.batch import HEADER_SIZE, rewrite, walk
from kafkeep.model import TopicPartition

_CONNECTIONS: Final = 2
Parts = tuple[bytes | memoryview, ...]
Figures = dict[str, float | int]


def on_threads(works: Sequence[Callable[[], None]]) -> None:
    """Runs all side by side; raises the first error once all have ended."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def drop(cluster: Cluster, topic: str) -> Figures:
    """Fetches a topic to its end over two connections and drops what comes: only where a batch ends is looked at."""
    found = cluster.topology([topic]).topics[topic]
    partitions = [TopicPartition(topic, part.partition) for part in found.partitions]
    ends = {key: answer.offset for key, answer in cluster.offsets(partitions, -1).items()}
    broker = next(iter(cluster.topology([]).brokers.values()))
    taken: list[int] = []

    def work(mine: Sequence[TopicPartition]) -> None:
        with cluster.fetcher(broker) as fetcher:
            taken.append(_drop_all(fetcher, found, mine, ends))

    shares = [partitions[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
    usage = measured(lambda: on_threads([partial(work, share) for share in shares]))
    return {**usage.to_json(), "bytes": sum(taken)}


def _drop_all(
    fetcher: BrokerFetcher, topic: TopicTopology, mine: Sequence[TopicPartition], ends: dict[TopicPartition, int]
) -> int:
    """Two requests are under way: the second is sent before the first one's bytes are looked through."""
    todo = {key: 0 for key in mine if ends[key]}
    taken = 0

    def ask() -> None:
        epoch = {part.partition: part.leader_epoch for part in topic.partitions}
        fetcher.send([FetchPosition(key, topic.topic_id, at, epoch[key.partition]) for key, at in todo.items()])

    ask()
    while todo:
        for answer in fetcher.receive():
            infos, used = walk(answer.records, verify=False)
            taken += used
            if infos and answer.topic_partition in todo:
                todo[answer.topic_partition] = infos[-1].next_offset
                if infos[-1].next_offset >= ends[answer.topic_partition]:
                    del todo[answer.topic_partition]
        if todo:
            ask()
    return taken


def produce(cluster: Cluster, topic: str, *folders: str) -> Figures:
    """Produces the batches of log segments, a folder per partition in their order, with new idempotent headers made
    before the clock starts; the payload is sent from the mapped files.
    """
    identity = cluster.admin.init_producer_id()
    sources = [_ready(sorted(Path(folder).glob("*.log")), identity) for folder in folders]
    size = sum(len(part) for source in sources for parts in source for part in parts)
    usage = measured(lambda: _produce_all(cluster, topic, [iter(source) for source in sources]))
    return {**usage.to_json(), "bytes": size}


def _ready(files: Sequence[Path], identity: tuple[int, int]) -> list[Parts]:
    ready: list[Parts] = []
    sequence = 0
    for view in map(mapped, files):
        position = 0
        for info in walk(view)[0]:
            batch = view[position : position + info.size]
            position += info.size
            head = rewrite(batch, info, producer_id=identity[0], producer_epoch=identity[1], base_sequence=sequence)
            sequence += info.record_count
            ready.append((head, batch[HEADER_SIZE:]))
    return ready


def fill(cluster: Cluster, topic: str, name: str, size: str) -> Figures:
    """Fills the eight partitions of a topic with about `size` bytes of a workload's batches."""
    workload = next(workload for workload in WORKLOADS if workload.name == name)
    stock = [(batch,) for batch in batches(workload)]
    each = max(1, int(size) // PARTITIONS // workload.batch_bytes)

    def supply(first: int) -> Iterator[Parts]:
        return (stock[(first + number) % len(stock)] for number in range(each))

    usage = measured(lambda: _produce_all(cluster, topic, [supply(7 * number) for number in range(PARTITIONS)]))
    return usage.to_json()


def _produce_all(cluster: Cluster, topic: str, sources: Sequence[Iterator[Parts]]) -> None:
    found = cluster.topology([topic]).topics[topic]
    broker = next(iter(cluster.topology([]).brokers.values()))
    numbered = [(TopicPartition(topic, number), source) for number, source in enumerate(sources)]

    def work(mine: Sequence[tuple[TopicPartition, Iterator[Parts]]]) -> None:
        with cluster.producer(broker) as producer:
            _send_all(producer, found.topic_id, mine)

    on_threads([partial(work, numbered[start::_CONNECTIONS]) for start in range(_CONNECTIONS)])


def _send_all(producer: BrokerProducer, topic_id: str, mine: Sequence[tuple[TopicPartition, Iterator[Parts]]]) -> None:
    """One batch of each partition per request, five requests under way."""
    while True:
        heads = ((key, next(source, None)) for key, source in mine)
        request = [ProduceBatch(key, topic_id, parts) for key, parts in heads if parts is not None]
        if producer.outstanding == MOST_OUTSTANDING or (not request and producer.outstanding):
            _check(producer)
        if request:
            producer.send(request)
        elif not producer.outstanding:
            return


def _check(producer: BrokerProducer) -> None:
    for answer in producer.receive():
        if answer.error:
            raise RuntimeError(f"{answer.topic_partition} answered error {answer.error}: {answer.message}")


VERBS: Final[dict[str, Callable[..., Figures]]] = {"drop": drop, "produce": produce, "fill": fill}


def main() -> None:
    verb, bootstrap, *arguments = sys.argv[1:]
    with Cluster(ClusterConfig(name="bench", bootstrap=tuple(bootstrap.split(",")))) as cluster:
        print(json.dumps(VERBS[verb](cluster, *arguments)))


if __name__ == "__main__":
    main()
