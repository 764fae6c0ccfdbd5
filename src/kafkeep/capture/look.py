"""Looking at a cluster: everything that a recovery point holds of it besides records, and where its records end."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from kafkeep.capture.inspect import survey_cluster
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.survey import Survey
from kafkeep.capture.watching import Watched, watch_transactions
from kafkeep.cluster_reading import GroupReading, TopicReading, read_groups, read_topics
from kafkeep.errors import NothingToDo, WrongCluster
from kafkeep.events import EventSink, Stage
from kafkeep.inventory_reading import InventoryReading, read_inventory
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import Failure
from kafkeep.records import dataclass
from kafkeep.repository.state import State
from kafkeep.services import NO_SERVICES, Services, ServicesReading, read_services

_ADMIN: Final = "admin"
"""The route that needs no `controller_reading`, where the routes are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The cluster at the moment that the point is to hold."""

    options: BackupOptions
    """As asked for, with the cut that they lead to."""
    groups: GroupReading
    survey: Survey
    watched: Watched | None
    """Only where the point is to be consistent by transaction."""
    topics: TopicReading
    settings: InventoryReading | None
    """Only where the point is to hold settings and permissions."""
    services: ServicesReading
    """What the servers beside the cluster hold."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What of groups, topics' settings and the cluster's settings could not be read."""
        settings = () if self.settings is None else self.settings.failures
        return (*self.groups.failures, *self.topics.failures, *settings, *self.services.failures)


def look(
    cluster: Cluster,
    state: State,
    options: BackupOptions,
    stop: threading.Event,
    sink: EventSink,
    services: Services = NO_SERVICES,
) -> Seen:
    """Group positions first, then end offsets, so that no position lies beyond the cut; topics' and the cluster's settings
    last.

    Raises `WrongCluster`, `NothingToDo` when no topic matches, and what the connection raises.
    """
    sink(Stage("positions", "reading group offsets"))
    groups = read_groups(cluster)
    sink(Stage("survey", "reading topics and end offsets"))
    survey = survey_cluster(cluster, options.selection, known=_open_topics(state))
    _check_cluster(state, survey, options)
    watched = _watch(cluster, state, survey, options, stop, sink)
    if watched is not None:
        survey, options = watched.survey, replace(options, cut="high-watermark")
    topics = read_topics(cluster, survey.topics)
    return Seen(
        options=options,
        groups=groups,
        survey=survey,
        watched=watched,
        topics=topics,
        settings=_read_settings(cluster, groups, topics, options, sink),
        services=read_services(services, include_credentials=options.credentials, sink=sink),
    )


def _open_topics(state: State) -> frozenset[str]:
    return frozenset(generation.topic for generation, known in state.generations.items() if known.open)


def _check_cluster(state: State, survey: Survey, options: BackupOptions) -> None:
    if state.cluster_id is not None and state.cluster_id != survey.cluster_id:
        raise WrongCluster(f"the repository holds cluster {state.cluster_id}, but {survey.cluster_id} answered")
    if not survey.topics and not survey.absent and not survey.failures:
        raise NothingToDo(f"no topic matches {', '.join(options.topics)}")


def _watch(
    cluster: Cluster, state: State, survey: Survey, options: BackupOptions, stop: threading.Event, sink: EventSink
) -> Watched | None:
    if options.consistent != "transactions":
        return None
    sink(Stage("transactions", "looking for moments between transactions"))
    return watch_transactions(
        cluster,
        survey,
        lambda: survey_cluster(cluster, options.selection, known=_open_topics(state)),
        seconds=options.consistent_wait_seconds,
        stop=stop,
    )


def _read_settings(
    cluster: Cluster, groups: GroupReading, topics: TopicReading, options: BackupOptions, sink: EventSink
) -> InventoryReading | None:
    if not options.settings:
        return None
    sink(Stage("settings", "reading settings and permissions"))
    reading = read_inventory(cluster, groups.listings, topics.effective)
    if options.metadata_route != _ADMIN:
        # what the controllers' log is read with is loaded only where it is read
        from kafkeep.controller_reading import read_controllers, with_controllers

        reading = with_controllers(reading, read_controllers(cluster, sink, credentials=options.credentials))
    return reading
