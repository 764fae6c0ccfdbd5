"""Repartitioned restores that die at any calls, beside brokers that fail: each record once, in its partition, in order;
and `compare` proves it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.mortal import DEATHS, Killed, Life, Processes, process
from tests.support.operations import back_up, new_repository, records_of, stored
from tests.support.repartitioned import check_spread, lowest
from tests.support.simulated_cluster import PRODUCE_FAULTS, SimulatedCluster
from tests.support.simulated_log import ABORT, COMMIT, record

from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.wire.records import Record
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.result import RestoreResult

SLOW = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
FATES = ["", "commit", "abort", "compact"]
WRITES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.sampled_from([None, b"", b"a", b"b", b"c", b"d"]), min_size=1, max_size=4),
        st.sampled_from([0, 0, 1, 3, 4]),
        st.sampled_from(FATES),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=20,
)
"""(partition, keys, codec, what becomes of the batch, time)."""
Writes = list[tuple[int, list[bytes | None], int, str, int]]


pytestmark = pytest.mark.usefixtures("quick")


def archive(writes: Writes, committed: dict[int, int]) -> dict[str, bytes]:
    source = SimulatedCluster("source")
    source.add_topic("orders", 3)
    source.add_topic("plain", 1).logs[0].append([record(b"beside")])
    for number, (partition, keys, codec, fate, time) in enumerate(writes):
        log = source.log(TopicPartition("orders", partition))
        headers = [(b"h", b"%d" % number), (b"h", None)]
        values = [record(b"%d.%d" % (number, n), key=k, timestamp=time, headers=headers) for n, k in enumerate(keys)]
        if fate in ("commit", "abort"):
            log.append(values, codec=codec, producer_id=7, transactional=True)
            log.decide(7, COMMIT if fate == "commit" else ABORT)
        else:
            log.append(values, codec=codec)
        if fate == "compact":
            log.compact(lambda item: item.offset % 3 != 1, below=log.end - 1)
    source.groups["readers"] = [GroupOffset(TopicPartition("orders", n), at, 1, "m") for n, at in committed.items()]
    source.groups["beside"] = [GroupOffset(TopicPartition("plain", 0), 1, 1, "m")]
    repository = new_repository()
    assert back_up(source, repository).point is not None
    assert isinstance(repository.store, MemoryStore)
    return dict(repository.store.objects)


def finished(repository: Repository) -> bool:
    return any(isinstance(value, dict) and not value["failures"] for _, value in repository.audits("restore-finished"))


def live_and_die(
    processes: Processes, repository: Repository, options: RestoreOptions, deaths: list[tuple[int, str, bool]]
) -> RestoreResult | None:
    """One process after the other; None when the last one died with its report in."""
    for at, death, forgotten in deaths:
        if finished(repository):
            return None
        try:
            return process(processes, Life(at, death), options)
        except Killed:
            if forgotten:
                while processes.target.late:
                    processes.target.deliver_late()
                for topic in processes.target.topics.values():
                    for log in topic.logs:
                        log.producers.clear()
    return None if finished(repository) else process(processes, Life(), options)


def orders(repository: Repository, point: RecoveryPoint) -> dict[int, list[Record]]:
    found = stored(repository, point)
    return {key.partition: records for key, records in found.items() if key.topic == "orders"}


@SLOW
@given(
    writes=WRITES,
    committed=st.dictionaries(st.integers(0, 2), st.integers(0, 20)),
    targets=st.integers(1, 5),
    deaths=st.lists(st.tuples(st.integers(1, 30), st.sampled_from(DEATHS), st.booleans()), max_size=4),
    faults=st.lists(st.sampled_from(PRODUCE_FAULTS), max_size=8),
    request_bytes=st.sampled_from([1, 300, 1 << 20]),
    repack_bytes=st.sampled_from([0, 150, 400, 1 << 18]),
)
def test_however_often_it_dies_each_record_is_there_once(
    writes: Writes,
    committed: dict[int, int],
    targets: int,
    deaths: list[tuple[int, str, bool]],
    faults: list[str],
    request_bytes: int,
    repack_bytes: int,
    tmp_path: Path,
) -> None:
    processes = Processes(archive(writes, committed), SimulatedCluster("target", nodes=2))
    options = RestoreOptions(
        request_bytes=request_bytes,
        repack_bytes=repack_bytes,
        repartition=(("orders", targets),),
        spool_dir=str(tmp_path),
    )
    processes.target.produce_faults.extend(faults)
    _, repository = processes.next(Life())
    point = repository.point("latest")
    result = live_and_die(processes, repository, options, deaths)
    while processes.target.late:
        processes.target.deliver_late()
    assert result is None or (result.failures == () and not result.interrupted)
    assert list(tmp_path.iterdir()) == []
    source = orders(repository, point)
    target = [records_of(log) for log in processes.target.topics["orders"].logs]
    assert len(target) == targets
    check_spread(source, target)
    positions = {p.topic_partition: p.offset for p in processes.target.groups.get("readers", ())}
    starts, again = lowest(source, target, committed)
    assert list(positions.values()) == (starts if committed else [])
    if result is not None and committed:
        assert [group.read_again for group in result.groups if group.group_id == "readers"] == [again]
    assert [p.offset for p in processes.target.groups["beside"]] == [1]
    check_compare(processes, repository, point, str(tmp_path), sum(map(len, source.values())))


def check_compare(
    processes: Processes, repository: Repository, point: RecoveryPoint, folder: str, records: int
) -> None:
    """Identical; and different as soon as anything else is in the topic."""
    cluster = cast(Cluster, processes.target)
    report = compare(cluster, repository, point, CompareOptions(spool_dir=folder, threads=1))
    assert report.verdict == "identical", (report.differences, report.failures)
    assert {part.pairing for part in report.partitions} == {"key", "offset-map"}
    assert report.records == records + 1
    sample = compare(cluster, repository, point, CompareOptions(threads=1))
    assert [(failure.subject, failure.reason) for failure in sample.failures] == [("orders", "repartitioned")]
