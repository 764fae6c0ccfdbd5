"""Backup, restore and compare against simulated brokers that fail on script: whatever happens on the way, what a
read_committed consumer saw at the source is what it sees at the target.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from tests.support.operations import as_cluster, contents, new_repository, now, records_of, stored
from tests.support.simulated_cluster import FETCH_FAULTS, PRODUCE_FAULTS, SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, SimulatedLog, Transaction, record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.kafka.wire.records import Record
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.restore import produce
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.verify.run import verify

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
PRODUCERS = (11, 12, 13)


pytestmark = pytest.mark.usefixtures("quick")


@dataclass
class World:
    """A source with its truth: what each backup must have kept of each generation, by offset."""

    cluster: SimulatedCluster
    repository: Repository
    cut: str = "last-stable-offset"
    options: dict[str, Any] = field(default_factory=dict)
    written: int = 0

    def backup(self) -> BackupResult:
        result = backup(as_cluster(self.cluster), self.repository, BackupOptions(cut=self.cut, **self.options), now=now)
        assert result.failures == ()
        return result

    def logs(self) -> Iterator[tuple[TopicPartition, SimulatedLog]]:
        for name, topic in self.cluster.topics.items():
            for index, log in enumerate(topic.logs):
                yield TopicPartition(name, index), log


def write(log: SimulatedLog, choice: str, producer: int, records: int, codec: int, world: World) -> None:
    """One thing that happens to a partition at the source."""
    world.written += 1
    items = [
        record(
            None
            if (world.written + n) % 5 == 0
            else b""
            if (world.written + n) % 7 == 0
            else b"%d.%d" % (world.written, n),
            key=None if n % 3 == 0 else b"k%d" % (n % 4),
            timestamp=(-1, 0, 253402300799999, 1_700_000_000_000 - n)[(world.written + n) % 4],
            headers=[(b"h", b"1"), (b"h", None), (b"x", b"")] if n % 4 == 1 else [],
        )
        for n in range(records)
    ]
    if choice == "plain":
        log.append(items, codec=codec)
    elif choice == "transaction":
        log.append(items, codec=codec, producer_id=producer, transactional=True)
    elif choice in ("commit", "abort") and producer in log.ongoing:
        log.decide(producer, COMMIT if choice == "commit" else ABORT, raise_epoch=world.written % 2 == 0)
    elif choice == "roll":
        log.roll()
    elif choice == "leader":
        log.new_leader()
    elif choice == "compact":
        log.compact(lambda item: item.offset % 3 != records % 3, below=log.end - 1)


EVENTS = st.tuples(
    st.sampled_from(["plain", "plain", "transaction", "transaction", "commit", "abort", "roll", "leader", "compact"]),
    st.sampled_from(PRODUCERS),
    st.integers(1, 5),
    st.sampled_from([0, 0, 1, 2, 3, 4]),
    st.integers(0, 2),
)


def new_world(*, partitions: int = 3, cut: str = "last-stable-offset", **options: Any) -> World:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", partitions)
    return World(cluster, new_repository(), cut, options)


def happen(world: World, events: list[tuple[str, int, int, int, int]]) -> None:
    topic = world.cluster.topics["orders"]
    for choice, producer, records, codec, partition in events:
        write(topic.logs[partition % len(topic.logs)], choice, producer, records, codec, world)


def faults_of(kinds: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Few enough for the attempts that an operation makes, and never three bad answers in a row."""
    return st.lists(st.sampled_from(kinds), max_size=8).filter(
        lambda faults: sum(fault in ("broken", "damaged") for fault in faults) < 3
    )


@SLOW
@given(
    rounds=st.lists(st.lists(EVENTS, max_size=12), min_size=1, max_size=4),
    faults=faults_of(FETCH_FAULTS),
    fetch_bytes=st.sampled_from([1, 150, 700, 1 << 20]),
    pack_bytes=st.sampled_from([1, 400, 1 << 20]),
    connections=st.integers(1, 3),
    cut=st.sampled_from(["last-stable-offset", "high-watermark"]),
    remote=st.integers(0, 30),
)
def test_a_point_holds_what_a_consumer_saw_at_its_cut(
    rounds: list[list[Any]],
    faults: list[str],
    fetch_bytes: int,
    pack_bytes: int,
    connections: int,
    cut: str,
    remote: int,
) -> None:
    world = new_world(cut=cut, fetch_bytes=fetch_bytes, pack_bytes=pack_bytes, connections_per_broker=connections)
    world.cluster.fetch_faults.extend(faults)
    taken: dict[TopicPartition, list[tuple[Record, Transaction | None]]] = defaultdict(list)
    reached: dict[TopicPartition, int] = defaultdict(int)
    expected: dict[int, dict[TopicPartition, list[Record]]] = {}
    compacted = any(event[0] == "compact" for events in rounds for event in events)
    for events in rounds:
        happen(world, events)
        for partition, log in world.logs():
            log.local_start = 0 if compacted else min(remote, log.end)  # no topic has a remote tier and is compacted
            stop = log.last_stable if cut == "last-stable-offset" else log.end
            taken[partition] += [
                (item, entry.transaction)
                for entry in log.entries
                for item in entry.records
                if reached[partition] <= item.offset < stop
            ]
            reached[partition] = stop
        result = world.backup()
        if result.point is not None:
            expected[result.point.number] = {
                partition: [item for item, transaction in items if counts(transaction)]
                for partition, items in taken.items()
            }
    for point in world.repository.points():
        found = stored(world.repository, point)
        assert {generation.topic_partition: records for generation, records in found.items()} == expected[point.number]
    assert world.backup().nothing_new
    assert verify(world.repository, level="data").findings == ()


def counts(transaction: Transaction | None) -> bool:
    return transaction is None or transaction.decision == COMMIT


@SLOW
@given(
    events=st.lists(EVENTS, min_size=1, max_size=25),
    cut=st.sampled_from(["last-stable-offset", "high-watermark"]),
    faults=faults_of(PRODUCE_FAULTS),
    read_faults=faults_of(FETCH_FAULTS),
    request_bytes=st.sampled_from([1, 200, 1 << 20]),
    repack_bytes=st.sampled_from([0, 300, 1 << 18]),
    connections=st.integers(1, 3),
    until_timestamp=st.sampled_from([None, None, -1, 0, 1_700_000_000_000 - 2]),
    until_offset=st.one_of(st.none(), st.integers(0, 20)),
    positions=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    renamed=st.booleans(),
    last_sequence=st.sampled_from([0, 2**31 - 3]),
)
def test_a_restore_brings_back_the_same_records_once(
    events: list[Any],
    cut: str,
    faults: list[str],
    read_faults: list[str],
    request_bytes: int,
    repack_bytes: int,
    connections: int,
    until_timestamp: int | None,
    until_offset: int | None,
    positions: list[int],
    renamed: bool,
    last_sequence: int,
) -> None:
    world = new_world(cut=cut)
    happen(world, events)
    world.cluster.groups["readers"] = [
        GroupOffset(TopicPartition("orders", index), offset, 7, f"at {offset}")
        for index, offset in enumerate(positions)
    ]
    point = world.backup().point
    assert point is not None
    wanted = {
        generation.partition: until(records, until_timestamp, until_offset if generation.partition == 0 else None)
        for generation, records in stored(world.repository, point).items()
    }
    target = SimulatedCluster("target", nodes=2)
    target.produce_faults.extend(faults)
    options = RestoreOptions(
        request_bytes=request_bytes,
        repack_bytes=repack_bytes,
        connections_per_broker=connections,
        until_timestamp=until_timestamp,
        until_offsets=() if until_offset is None else ((TopicPartition("orders", 0), until_offset),),
        renames=(Rename.parse("s/^/restored-/"),) if renamed else (),
    )
    plan = prepare(as_cluster(target), world.repository, point, options, now=now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce, "_FIRST_SEQUENCE", last_sequence)
        result = restore(as_cluster(target), world.repository, plan, options, now=now)
    note(str(result.failures))
    assert result.failures == ()
    for _ in range(10):
        target.deliver_late()
    name = "restored-orders" if renamed else "orders"
    for index, log in enumerate(target.topics[name].logs):
        assert contents(records_of(log)) == contents(wanted[index])
        assert [item.offset for item in records_of(log)] == list(range(len(wanted[index])))
        check_map(result.partitions[index].offset_map, wanted[index])
    assert result.records == sum(map(len, wanted.values()))
    assert target.topics[name].configs == {}
    translated = {offset.topic_partition.partition: offset for offset in target.groups.get("readers", ())}
    for index, committed in enumerate(positions):
        if committed > plan.partitions[index].stop and plan.partitions[index].stop < point.cuts[index].stop:
            assert index not in translated and committed in {p.committed for p in result.not_set}
            continue
        behind = [at for at, item in enumerate(wanted[index]) if item.offset >= committed]
        assert translated[index].offset == (behind[0] if behind else len(wanted[index]))
        assert (translated[index].leader_epoch, translated[index].metadata) == (-1, f"at {committed}")
    if until_timestamp is None and until_offset is None:
        target.fetch_faults.extend(fault for fault in read_faults if fault not in ("refused once", "broken", "damaged"))
        report = compare(as_cluster(target), world.repository, point, CompareOptions(renames=options.renames))
        assert report.identical
        assert report.records == result.records


def until(records: list[Record], timestamp: int | None, offset: int | None) -> list[Record]:
    """Naively: up to the first later record, and below the offset."""
    kept = []
    for item in records:
        if (offset is not None and item.offset >= offset) or (timestamp is not None and item.timestamp > timestamp):
            break
        kept.append(item)
    return kept


def check_map(offset_map: OffsetMap, records: list[Record]) -> None:
    """Against the naive map: the n-th record went to offset n."""
    naive = {item.offset: at for at, item in enumerate(records)}
    for source in range(records[-1].offset + 3 if records else 3):
        assert offset_map.target_of(source) == naive.get(source)
        following = [at for offset, at in naive.items() if offset >= source]
        assert offset_map.translate(source) == (min(following) if following else len(records))
    assert offset_map.end == len(records)
