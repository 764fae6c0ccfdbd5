"""Whether an empty answer may be believed."""

from __future__ import annotations

import pytest
from tests.support.operations import ORDERS, as_cluster
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.errors import KafkaUnsupported
from kafkeep.kafka.tiering import is_on_leader
from kafkeep.model import TopicPartition


@pytest.fixture
def cluster() -> SimulatedCluster:
    made = SimulatedCluster("source")
    made.add_topic("orders").logs[0].append([record(b"v") for _ in range(9)])
    made.log(ORDERS).local_start = 5
    return made


@pytest.mark.parametrize(("offset", "local"), [(0, False), (4, False), (5, True), (9, True)])
def test_only_offsets_on_the_leaders_own_disk(cluster: SimulatedCluster, offset: int, local: bool) -> None:
    assert is_on_leader(as_cluster(cluster), ORDERS, offset) is local


def test_no_answer_is_no_proof(cluster: SimulatedCluster) -> None:
    assert not is_on_leader(as_cluster(cluster), TopicPartition("nosuch", 0), 9)


def test_brokers_too_old_to_ask_have_no_remote_tier(cluster: SimulatedCluster) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise KafkaUnsupported("too old")

    cluster.offsets = unsupported  # type: ignore[method-assign,assignment]
    assert is_on_leader(as_cluster(cluster), ORDERS, 0)
