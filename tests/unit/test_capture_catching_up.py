"""A backup whose last commit another writer was faster than."""

from __future__ import annotations

import threading

from tests.support.operations import ORDERS, Heard, another, as_cluster, back_up, new_repository, now, values
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import backup
from kafkeep.events import Event, GenerationChanged, Progress, Stage


def test_a_leader_epoch_that_another_writer_met_first_is_no_truncation() -> None:
    """That one stored a part of what this one wanted to, in an epoch of which this one had nothing when it began."""
    cluster, repository = SimulatedCluster("source", nodes=1), new_repository()
    cluster.add_topic("orders")
    log = cluster.log(ORDERS)
    log.append([record(b"old")])
    back_up(cluster, repository)
    log.new_leader()
    for number in range(20):
        log.append([record(b"new %d" % number)])
    rival, heard = another(repository), Heard()

    def commit_first(event: Event) -> None:
        heard(event)
        if not isinstance(event, Stage) or event.name != "commit":
            return
        stop = threading.Event()
        small = BackupOptions(fetch_bytes=1, pack_bytes=1)
        sink = lambda told: stop.set() if isinstance(told, Progress) else None  # noqa: E731
        assert backup(as_cluster(cluster), rival, small, now=now, sink=sink, stop=stop).interrupted

    result = backup(as_cluster(cluster), repository, BackupOptions(), now=now, sink=commit_first)
    assert 1 < rival.state.generations[result.point.cuts[0].generation].next_offset < 21  # type: ignore[union-attr]
    assert heard.of(GenerationChanged) == []
    assert (result.opened, result.failures) == ((), ())
    assert values(repository, result.point) == {0: [b"old", *(b"new %d" % number for number in range(20))]}
