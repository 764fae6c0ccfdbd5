"""The recipes: images of recovery points and of live clusters, a point of settings alone, and the way to a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from kafkeep.cluster_reading import (
    GroupReading,
    TopicReading,
    read_groups,
    read_topics,
    unsupported_topic_settings,
)
from kafkeep.controller_reading import ADMIN, CONTROLLER, read_controllers, with_controllers
from kafkeep.errors import WrongCluster
from kafkeep.events import EventSink, Stage, ignore
from kafkeep.inventory import Inventory
from kafkeep.inventory_reading import InventoryReading, read_inventory
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode
from kafkeep.kafka.metadata_log import MetadataLog
from kafkeep.kafka.topology import TopicTopology
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import FEATURES, TOPIC_CONFIGS, TOPICS, ApplyOptions
from kafkeep.metadata.plan import MetadataPlan
from kafkeep.metadata.planning import Abilities, plan_metadata
from kafkeep.model import ClusterMetadata, Failure, RecoveryPoint, TopicPartition
from kafkeep.point_documents import beside_of, metadata_of, needed_inventory_of, standing_of, wrap_point_documents
from kafkeep.repository.drafts import Draft, PointDraft
from kafkeep.repository.repository import Repository
from kafkeep.services import NO_SERVICES, Services, read_services
from kafkeep.times import rfc3339


def image_of_point(repository: Repository, point: RecoveryPoint) -> ClusterImage:
    """What the point holds of its cluster. Raises `CorruptObject`, `StoreError`."""
    metadata = metadata_of(repository, point)
    inventory = needed_inventory_of(repository, point)
    beside = beside_of(repository, point)
    return ClusterImage(
        origin=f"recovery point {point.number}{' (imported)' if point.imported else ''}",
        time=point.finished,
        # An imported document may be of another cluster than the repository's.
        cluster_id=metadata.cluster_id,
        topics=tuple(sorted(metadata.topics, key=lambda topic: topic.name)),
        groups=metadata.groups,
        inventory=inventory,
        standing=standing_of(repository, point),
        ends={cut.generation.topic_partition: cut.stop for cut in point.cuts},
        unreadable=_besides(inventory, point.failures),
        schemas=beside.schemas,
        connectors=beside.connectors,
    )


def image_of_cluster(
    cluster: Cluster,
    *,
    now: Callable[[], datetime],
    with_positions: bool = True,
    services: Services = NO_SERVICES,
    sink: EventSink = ignore,
) -> tuple[ClusterImage, tuple[Failure, ...]]:
    """What the cluster and the servers beside it say of themselves now, and what of it could not be read.

    Raises `KafkaUnreachable`, `KafkaLoginError` and other errors of the connection.
    """
    sink(Stage("read", f"reading cluster {cluster.config.name}"))
    found = _read(cluster)
    beside = read_services(services, include_credentials=True, sink=sink)
    ends: dict[TopicPartition, int] = {}
    if with_positions:
        wanted = {position.topic_partition for group in found.groups.groups for position in group.offsets}
        answers = cluster.offsets(sorted(wanted), LATEST, read_committed=True)
        ends = {partition: answer.offset for partition, answer in answers.items() if not answer.error}
    image = ClusterImage(
        origin=f"cluster {cluster.config.name}",
        time=rfc3339(now()),
        cluster_id=found.cluster_id,
        topics=tuple(sorted(found.topics.topics, key=lambda topic: topic.name)),
        groups=found.groups.groups,
        inventory=found.settings.inventory,
        standing=found.settings.standing,
        ends=ends,
        unreadable=_besides(found.settings.inventory, (*found.failures, *beside.failures)),
        schemas=beside.beside.schemas,
        connectors=beside.beside.connectors,
    )
    return image, (*found.failures, *beside.failures)


def _besides(inventory: Inventory, failures: Sequence[Failure]) -> tuple[str, ...]:
    """What failed besides the parts of the inventory, which names its own: as often as both name it, for a topic may be
    called `cluster`.
    """
    own = list(inventory.unreadable)
    found: list[str] = []
    for failure in failures:
        if failure.subject in own:
            own.remove(failure.subject)
        else:
            found.append(failure.subject)
    return tuple(found)


class _Found:
    """A cluster as it was read, part by part."""

    def __init__(self, cluster_id: str, groups: GroupReading, topics: TopicReading, settings: InventoryReading) -> None:
        self.cluster_id = cluster_id
        self.groups = groups
        self.topics = topics
        self.settings = settings
        self.failures = (*groups.failures, *topics.failures, *settings.failures)


def _read(cluster: Cluster, log: MetadataLog | None = None) -> _Found:
    groups = read_groups(cluster)
    topology = cluster.topology()
    readable = [topic for topic in topology.topics.values() if topic.error == ErrorCode.NONE]
    topics = read_topics(cluster, sorted(readable, key=_name))
    settings = read_inventory(cluster, groups.listings, topics.effective)
    if log is not None:
        topics, settings = replace(topics, topics=log.metadata.topics), with_controllers(settings, log)
    return _Found(topology.cluster_id, groups, topics, settings)


def _name(topic: TopicTopology) -> str:
    return topic.name


def back_up_metadata(
    cluster: Cluster,
    repository: Repository,
    *,
    name: str | None,
    tags: tuple[tuple[str, str], ...],
    now: Callable[[], datetime],
    route: str = ADMIN,
    credentials: bool = False,
    services: Services = NO_SERVICES,
    sink: EventSink = ignore,
) -> RecoveryPoint:
    """Makes a recovery point of topics, settings, permissions and positions, without a record.

    `route` is one of `controller_reading.ROUTES`; `credentials` keeps what SCRAM users log in by, which only the
    controllers have, and secrets in configs of connectors. Raises
    `WrongCluster`, `SettingsError` where the controllers are not known, and what the rooms raise.
    """
    started = now()
    state = repository.refresh()
    sink(Stage("read", f"reading cluster {cluster.config.name}"))
    log = read_controllers(cluster, sink, credentials=credentials) if route == CONTROLLER else None
    found = _read(cluster, log)
    if state.cluster_id is not None and state.cluster_id != found.cluster_id:
        raise WrongCluster(f"the repository holds cluster {state.cluster_id}, but {found.cluster_id} answered")
    beside = read_services(services, include_credentials=credentials, sink=sink)
    metadata = ClusterMetadata(found.cluster_id, found.topics.topics, found.groups.groups)
    settings = found.settings.inventory, found.settings.standing
    documents = wrap_point_documents(repository, metadata, settings, beside.beside)
    failures = (*found.failures, *beside.failures, *documents.failures)
    names = documents.put(repository)
    draft = PointDraft(name=name, tags=tags, cuts=(), documents=names, complete=not failures, failures=failures)
    outcome = repository.commit(
        Draft(kind="recovery-point", cluster_id=found.cluster_id, started=rfc3339(started), point=draft)
    )
    if outcome.point is None:
        raise RuntimeError("a point without cuts always fits")
    return outcome.point


def prepare(
    cluster: Cluster,
    source: ClusterImage,
    options: ApplyOptions,
    *,
    passwords: Collection[str],
    now: Callable[[], datetime],
    services: Services = NO_SERVICES,
    sink: EventSink = ignore,
) -> MetadataPlan:
    """Looks at the target and plans; changes nothing."""
    target, _ = image_of_cluster(cluster, now=now, with_positions=False, services=services, sink=sink)
    of_topics = options.only & {TOPICS, TOPIC_CONFIGS}
    chosen = [topic for topic in source.topics if of_topics and options.selection.chooses(topic.name)]
    settings = {(name, value) for topic in chosen for name, value in topic.configs if value is not None}
    abilities = Abilities(
        unsupported=unsupported_topic_settings(cluster, settings),
        features=cluster.settings.supported_features() if FEATURES in options.only else {},
        passwords=frozenset(passwords),
    )
    return plan_metadata(source, target, options, abilities)
