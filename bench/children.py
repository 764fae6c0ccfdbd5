"""The bare ceilings and the filling of topics, each in a process of its own: `python -m bench.children VERB ...`.

A verb prints one line of JSON at its end. What it reports is the work alone: no start of Python, no set-up.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.field import create_topics, renamed
from bench.measure import measured
from bench.segments import mapped
from bench.workloads import FIRST_MS, REPACKED_BYTES, STEP_MS, batches, by_name, stamped
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig
from kafkeep.kafka.fetch import BrokerFetcher, FetchPosition
from kafkeep.kafka.produce import MOST_OUTSTANDING, BrokerProducer, ProduceBatch
from kafkeep.kafka.topology import Topology
from kafkeep.kafka.wire.batch import HEADER_SIZE, rewrite, walk
from kafkeep.kafka.wire.repack import Slices, cut_out, put_together
from kafkeep.model import TopicPartition

_CONNECTIONS: Final = 2
_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""A request is closed once it has so many: brokers take 100 MB at most."""
_OFFSET_SIZE: Final = 8
Parts = tuple[bytes | memoryview, ...]
Figures = dict[str, float | int | None]


class Source(NamedTuple):
    """What goes into one partition."""

    partition: TopicPartition
    topic_id: str
    batches: Iterator[Parts]


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


def drop(cluster: Cluster, name: str) -> Figures:
    """Fetches a workload's topics to their ends over two connections and drops what comes: only where a batch ends is
    looked at.
    """
    topology = cluster.topology(by_name(name).topics)
    partitions = [
        TopicPartition(each.name, part.partition) for each in topology.topics.values() for part in each.partitions
    ]
    ends = {key: answer.offset for key, answer in cluster.offsets(partitions, -1).items() if answer.offset > 0}
    broker = next(iter(topology.brokers.values()))
    taken: list[int] = []

    def work(mine: Sequence[TopicPartition]) -> None:
        with cluster.fetcher(broker) as fetcher:
            taken.append(_drop_all(fetcher, topology, {key: ends[key] for key in mine}))

    filled = sorted(ends)
    shares = [filled[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
    usage = measured(lambda: on_threads([partial(work, share) for share in shares]))
    return {**usage.to_json(), "bytes": sum(taken)}


def _drop_all(fetcher: BrokerFetcher, topology: Topology, ends: dict[TopicPartition, int]) -> int:
    """Two requests are under way: the second is sent before the first one's bytes are looked through."""
    todo = dict.fromkeys(ends, 0)
    taken = 0

    def ask() -> None:
        positions = []
        for key, at in todo.items():
            found = topology.topics[key.topic]
            positions.append(FetchPosition(key, found.topic_id, at, found.partitions[key.partition].leader_epoch))
        fetcher.send(positions)

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


def repack(_: Cluster, manifest: str, folder: str) -> Figures:
    """Writes the records of a manifest's files into new files of large batches, one for each partition, and their manifest
    beside them as `manifest.json`.
    """
    made: list[dict[str, Any]] = []
    size = 0
    for number, entry in enumerate(_entries(manifest)):
        path = Path(folder) / f"{number:05d}.log"
        with path.open("wb") as file:
            for batch in _repacked(map(mapped, map(Path, entry["files"]))):
                size += file.write(batch)
        made.append({**entry, "files": [str(path)]})
    (Path(folder) / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    return {"bytes": size}


def _repacked(views: Iterator[memoryview]) -> Iterator[bytes]:
    """Neighbours put together as long as what they take together stays below REPACKED_BYTES."""
    group: list[Slices] = []
    size = codec = offset = 0
    for view in views:
        position = 0
        for info in walk(view)[0]:
            if group and size + info.size > REPACKED_BYTES:
                yield _together(group, codec, offset)
                offset += sum(len(part.bodies) for part in group)
                group, size = [], 0
            group.append(cut_out(view[position : position + info.size], info))
            size, codec = size + info.size, info.codec
            position += info.size
    if group:
        yield _together(group, codec, offset)


def _together(group: Sequence[Slices], codec: int, offset: int) -> bytes:
    """The checksum of a batch does not cover its offset."""
    batch = put_together(group, codec=codec, producer_id=-1, producer_epoch=-1, base_sequence=-1)
    return offset.to_bytes(_OFFSET_SIZE, "big") + batch[_OFFSET_SIZE:]


def produce(cluster: Cluster, manifest: str, name: str = "") -> Figures:
    """Produces the batches of a manifest's files, with new idempotent headers made before the clock starts; the payload
    is sent from the mapped files. Given a workload's name, it makes its topics first, which counts.
    """
    entries = _entries(manifest)
    identity = cluster.admin.init_producer_id()
    ready = [_ready([Path(file) for file in entry["files"]], identity) for entry in entries]
    size = sum(len(part) for batches in ready for parts in batches for part in parts)

    def work() -> None:
        if name:
            workload = by_name(name)
            create_topics(cluster, list(renamed(workload, "raw").values()), workload.partitions)
        topics = cluster.topology(sorted({entry["topic"] for entry in entries})).topics
        sources = [
            Source(TopicPartition(entry["topic"], entry["partition"]), topics[entry["topic"]].topic_id, iter(batches))
            for entry, batches in zip(entries, ready, strict=True)
        ]
        _produce_all(cluster, sources)

    return {**measured(work).to_json(), "bytes": size}


def _entries(manifest: str) -> list[dict[str, Any]]:
    """One for each partition: `topic`, `partition`, and `files` with its batches in order."""
    entries: list[dict[str, Any]] = json.loads(Path(manifest).read_text(encoding="utf-8"))
    return entries


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


def fill(cluster: Cluster, name: str, size: str) -> Figures:
    """Fills the topics of a workload with about `size` bytes of its batches."""
    workload = by_name(name)
    stock = batches(workload)
    filled = workload.filled_partitions()
    each = max(1, int(size) // len(filled) // workload.batch_bytes)
    topics = cluster.topology(workload.topics).topics

    def supply(first: int) -> Iterator[Parts]:
        return (stamped(stock[(first + number) % len(stock)], FIRST_MS + STEP_MS * number) for number in range(each))

    sources = [
        Source(partition, topics[partition.topic].topic_id, supply(7 * number))
        for number, partition in enumerate(filled)
    ]
    return measured(lambda: _produce_all(cluster, sources)).to_json()


def _produce_all(cluster: Cluster, sources: Sequence[Source]) -> None:
    broker = next(iter(cluster.topology([]).brokers.values()))

    def work(mine: Sequence[Source]) -> None:
        with cluster.producer(broker) as producer:
            for request in _requests(mine):
                if producer.outstanding == MOST_OUTSTANDING:
                    _check(producer)
                producer.send(request)
            while producer.outstanding:
                _check(producer)

    on_threads([partial(work, sources[start::_CONNECTIONS]) for start in range(_CONNECTIONS)])


def _requests(sources: Sequence[Source]) -> Iterator[list[ProduceBatch]]:
    """One batch of each partition per request, in turns, as long as a request is not too large."""
    live = list(sources)
    while live:
        still: list[Source] = []
        request: list[ProduceBatch] = []
        size = 0
        for source in live:
            parts = next(source.batches, None)
            if parts is None:
                continue
            still.append(source)
            request.append(ProduceBatch(source.partition, source.topic_id, parts))
            size += sum(map(len, parts))
            if size >= _REQUEST_BYTES:
                yield request
                request, size = [], 0
        if request:
            yield request
        live = still


def _check(producer: BrokerProducer) -> None:
    for answer in producer.receive():
        if answer.error:
            raise RuntimeError(f"{answer.topic_partition} answered error {answer.error}: {answer.message}")


VERBS: Final[dict[str, Callable[..., Figures]]] = {"drop": drop, "repack": repack, "produce": produce, "fill": fill}


def main() -> None:
    verb, bootstrap, *arguments = sys.argv[1:]
    config = ClusterConfig(name="bench", bootstrap=tuple(bootstrap.split(",")), request_timeout_seconds=120.0)
    with Cluster(config) as cluster:
        print(json.dumps(VERBS[verb](cluster, *arguments)))


if __name__ == "__main__":
    main()
