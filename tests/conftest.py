"""Real clusters, started when first asked for and ended with the session; tests/support/kafka.py tells how to use them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.support import examples, workers
from tests.support.kafka import Clusters, KafkaCluster, NewKafka, end, running_clusters, start_cluster
from tests.support.live import Live, new_repository
from tests.support.native import WAYS, in_way
from tests.support.operations import without_pauses
from tests.support.sweep import Scene, make_scene

from kafkeep import logger
from kafkeep.kafka.cluster import Cluster
from kafkeep.lab import files as lab_files
from kafkeep.repository.repository import Repository

if TYPE_CHECKING:
    from tests.support.versitygw import S3Server

pytest_plugins = ["tests.support.faults_plugin"]

RUNNING = pytest.StashKey[Clusters]()

examples.register()
settings.load_profile(examples.PROFILE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means."""
    return workers.workers_here()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        lab_files._PORTS = workers.own_ports(config.workerinput["workerid"], lab_files._PORTS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker collects everything in the order in which files are handed out; without workers nothing is changed."""
    if hasattr(config, "workerinput"):
        items[:] = [items[index] for index in workers.longest_first(told(items))]


def told(items: Iterable[pytest.Item]) -> Iterator[tuple[str, Sequence[str]]]:
    """Node ids and names of fixtures."""
    return ((item.nodeid, getattr(item, "fixturenames", ())) for item in items)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A test that runs the command line in this process sets up logging to its own streams: it ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logger.send_to(None)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module", params=WAYS)
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of a module that asks for it run with the C helper and without."""
    with in_way(request.param):
        yield


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Clusters]:
    for running in running_clusters(tmp_path_factory.mktemp("labs")):
        request.config.stash[RUNNING] = running
        yield running


@pytest.fixture(scope="session")
def needed(request: pytest.FixtureRequest) -> dict[str, frozenset[str]]:
    """By file, the shared clusters needed from there on."""
    return workers.needed_from(told(request.session.items))


@pytest.fixture(scope="module", autouse=True)
def only_needed_clusters(request: pytest.FixtureRequest, needed: dict[str, frozenset[str]]) -> None:
    """A file begins: clusters that neither it nor a later one needs end."""
    running = request.config.stash.get(RUNNING, None)
    if running is not None:
        running.keep(needed.get(request.node.nodeid, frozenset()))


@pytest.fixture(scope="module")
def kafka_431(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431", kafka="4.3.1")


@pytest.fixture(scope="module")
def kafka_392(clusters: Clusters) -> KafkaCluster:
    return clusters.get("392", kafka="3.9.2")


@pytest.fixture(scope="module")
def kafka_431_three(clusters: Clusters) -> KafkaCluster:
    """Not `STEADY`: its brokers are killed, and may come back once their sessions are over."""
    return clusters.get("431-three", kafka="4.3.1", brokers=3, properties={})


@pytest.fixture(scope="module")
def kafka_431_tls(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431-tls", kafka="4.3.1", security="tls")


@pytest.fixture(scope="module")
def kafka_431_scram(clusters: Clusters) -> KafkaCluster:
    return clusters.get("431-scram", kafka="4.3.1", security="sasl")


@pytest.fixture(scope="module")
def kafka_392_scram(clusters: Clusters) -> KafkaCluster:
    return clusters.get("392-scram", kafka="3.9.2", security="sasl")


@pytest.fixture(scope="module", params=["431", "392"])
def kafka(request: pytest.FixtureRequest) -> KafkaCluster:
    """Each pinned version in turn."""
    cluster: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}")
    return cluster


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Operations make second attempts at once."""
    with without_pauses():
        yield


@pytest.fixture
def live(kafka: KafkaCluster) -> Iterator[Live]:
    """Operations on each release in turn."""
    with Cluster(kafka.cluster_config()) as cluster:
        yield Live(kafka, cluster)


@pytest.fixture
def live_4(kafka_431: KafkaCluster) -> Iterator[Live]:
    """The same where only Kafka 4 will do, or one release is enough."""
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


@pytest.fixture(scope="module")
def target(kafka_431: KafkaCluster) -> Iterator[Cluster]:
    """Where groups go."""
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield cluster


@pytest.fixture
def repository() -> Repository:
    """An empty one in memory."""
    return new_repository()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Imported late: most of the suite needs no bucket."""
    from tests.support.versitygw import start

    with start(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def new_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewKafka]:
    """Starts private clusters that end with the test."""
    with ExitStack() as stack:

        def begin(**options: object) -> KafkaCluster:
            cluster = start_cluster(tmp_path_factory.mktemp("lab"), **options)  # type: ignore[arg-type]
            stack.callback(end, cluster)
            return cluster

        yield begin


@pytest.fixture(scope="session")
def scene(clusters: Clusters) -> Iterator[Scene]:
    """A cluster's content with repositories of it; tests copy the repository and leave the cluster's topics alone.

    The cluster is its own: a broker that another test restarts raises leader epochs, and points hold those.
    """
    with make_scene(clusters.get("431-scene", kafka="4.3.1")) as made:
        yield made
