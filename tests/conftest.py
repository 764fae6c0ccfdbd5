"""Real clusters, started when first asked for and ended with the session; tests/support/kafka.py tells how to use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import structlog
from hypothesis import settings
from tests.support import examples
from tests.support.kafka import Clusters, KafkaCluster, NewKafka, running_clusters, start_cluster
from tests.support.sweep import Scene, make_scene

examples.register()
settings.load_profile(examples.PROFILE)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A test that runs the command line in this process sets up logging to its own streams: it ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    yield from running_clusters(tmp_path_factory.mktemp("labs"))


@pytest.fixture(scope="session")
def kafka_431(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431", kafka="4.3.1")


@pytest.fixture(scope="session")
def kafka_392(clusters: Clusters) -> KafkaCluster:
    return clusters.get("392", kafka="3.9.2")


@pytest.fixture(scope="session")
def kafka_431_three(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431-three", kafka="4.3.1", brokers=3)


@pytest.fixture(scope="session")
def kafka_431_tls(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431-tls", kafka="4.3.1", security="tls")


@pytest.fixture(scope="session")
def kafka_431_scram(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431-scram", kafka="4.3.1", security="sasl")


@pytest.fixture(scope="session")
def kafka_392_scram(clusters: Clusters) -> KafkaCluster:
    return clusters.get("392-scram", kafka="3.9.2", security="sasl")


@pytest.fixture(scope="session", params=["431", "392"])
def kafka(request: pytest.FixtureRequest) -> KafkaCluster:
    """Each pinned version in turn."""
    cluster: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}")
    return cluster


@pytest.fixture
def new_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewKafka]:
    """Starts private clusters that end with the test."""
    with ExitStack() as stack:

        def begin(**options: object) -> KafkaCluster:
            cluster = start_cluster(tmp_path_factory.mktemp("lab"), **options)  # type: ignore[arg-type]
            stack.callback(cluster.lab.stop, grace_seconds=1.0)
            return cluster

        yield begin


@pytest.fixture(scope="session")
def scene(kafka_431: KafkaCluster) -> Iterator[Scene]:
    """A cluster's content with repositories of it; tests copy the repository and leave the cluster's topics alone."""
    with make_scene(kafka_431) as made:
        yield made
