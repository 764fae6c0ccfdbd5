"""Asking a cluster what it holds right now: topics, ids, leaders, and where each partition starts and ends."""

from __future__ import annotations

from kafkeep.capture.survey import PartitionSurvey, Survey
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.codes import ErrorCode, code_name, request_error
from kafkeep.kafka.topology import TopicTopology, Topology
from kafkeep.model import Failure, TopicPartition
from kafkeep.selection import Selection


def survey_cluster(cluster: Cluster, selection: Selection, *, known: frozenset[str]) -> Survey:
    """Surveys every chosen topic. `known` are topics the repository already holds: a listing of all topics leaves out
    those the login may not describe, so each known or exactly named one that is missing is asked for by name.
    """
    everything = cluster.topology()
    listed = set(selection.pick(everything.topics))
    asked = {name for name in (known | set(selection.exact_names())) if selection.chooses(name)} - listed
    by_name = cluster.topology(sorted(asked)) if asked else None
    topics = [everything.topics[name] for name in sorted(listed)]
    failures: list[Failure] = []
    absent: list[str] = []
    for name in sorted(asked):
        topic = by_name.topics.get(name) if by_name is not None else None
        if topic is None or topic.error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            absent.append(name)
        else:
            topics.append(topic)
    readable = [topic for topic in topics if topic.error == ErrorCode.NONE]
    failures += [topic_failure(topic) for topic in topics if topic.error != ErrorCode.NONE]
    failures += [
        Failure(name, "UNKNOWN_TOPIC_OR_PARTITION", f"topic {name} does not exist")
        for name in absent
        if name in selection.exact_names() and name not in known
    ]
    partitions, unreadable = survey_partitions(cluster, everything, readable)
    return Survey(
        cluster_id=everything.cluster_id,
        brokers=tuple(everything.brokers.values()),
        topics=tuple(sorted(readable, key=lambda topic: topic.name)),
        partitions=partitions,
        absent=tuple(name for name in absent if name in known),
        failures=(*failures, *unreadable),
    )


def topic_failure(topic: TopicTopology) -> Failure:
    error = request_error(topic.error, f"describe topic {topic.name}")
    return Failure(topic.name, code_name(topic.error), str(error))


def survey_partitions(
    cluster: Cluster, topology: Topology, topics: list[TopicTopology]
) -> tuple[tuple[PartitionSurvey, ...], tuple[Failure, ...]]:
    """Start and ends of every partition with a leader, and a failure for each of the others."""
    where = [
        (TopicPartition(topic.name, part.partition), topic, part)
        for topic in sorted(topics, key=lambda topic: topic.name)
        for part in topic.partitions
    ]
    wanted = [partition for partition, _, part in where if part.leader >= 0]
    ends = cluster.log_ends(wanted, topology=topology)
    found: list[PartitionSurvey] = []
    failures: list[Failure] = []
    for partition, topic, part in where:
        told = ends.get(partition)
        if told is None or told.error:
            failures.append(_unreadable(partition, ErrorCode.LEADER_NOT_AVAILABLE if told is None else told.error))
            continue
        found.append(
            PartitionSurvey(
                topic_partition=partition,
                topic_id=topic.topic_id,
                leader=part.leader,
                leader_epoch=part.leader_epoch,
                log_start=told.log_start,
                high_watermark=told.high_watermark,
                last_stable_offset=min(told.last_stable_offset, told.high_watermark),
            )
        )
    return tuple(found), tuple(failures)


def _unreadable(partition: TopicPartition, code: int) -> Failure:
    return Failure(str(partition), code_name(code), str(request_error(code, f"list offsets of {partition}")))
