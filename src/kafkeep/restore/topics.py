"""Making the target's topics under their guard, seeing where their records will go, and ending the guard."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from kafkeep.errors import KafkaError, KafkaRequestError, KafkaUnreachable, TopicExists
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import LATEST, Cluster
from kafkeep.kafka.codes import ErrorCode, code_name
from kafkeep.kafka.config_changes import TOPIC, ConfigChange
from kafkeep.kafka.topology import NO_NODE
from kafkeep.model import Failure, TopicPartition
from kafkeep.records import dataclass
from kafkeep.restore.guard import Guard
from kafkeep.restore.plan import CREATE, RestorePlan, TopicRestore, examples
from kafkeep.restore.record import OpenedTopic

_READY_SECONDS = 60.0
"""From one partition that gets a leader to the next, at least."""
_SECONDS_EACH = 0.05
"""What a busy broker takes to make a partition. It tells of many together, once it has made all of them."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class OpenedTopics:
    topics: tuple[OpenedTopic, ...]
    """Every target topic that can be loaded."""
    failures: tuple[Failure, ...]

    @property
    def topic_ids(self) -> dict[str, str]:
        return {topic.target: topic.topic_id for topic in self.topics}


def open_topics(cluster: Cluster, plan: RestorePlan) -> OpenedTopics:
    """Creates the missing topics and puts the guard on those that exist; returns once all partitions have leaders.

    Raises `TopicExists` when a topic that was absent in the plan is there now: somebody else made it.
    """
    missing = [topic for topic in plan.topics if topic.action == CREATE]
    there = [topic for topic in plan.topics if topic.action != CREATE]
    answers: dict[str, str | KafkaError | None] = {}
    if missing:
        answers |= cluster.admin.create_topics([_new_topic(topic) for topic in missing])
    if there:
        answers |= _altered(cluster, {topic.target: (topic.guard.configs, ()) for topic in there})
    failures: list[Failure] = []
    opened: list[TopicRestore] = []
    for topic in plan.topics:
        answer = answers[topic.target]
        if isinstance(answer, KafkaRequestError) and answer.code == ErrorCode.TOPIC_ALREADY_EXISTS:
            raise TopicExists(
                f"topic {topic.target} appeared on the target after the plan was made",
                hint="Make the plan again: run the command once more.",
            )
        if isinstance(answer, KafkaError):
            failures.append(Failure(topic.target, answer.slug, str(answer)))
        else:
            opened.append(topic)
    ids = _await_leaders(cluster, opened)
    found: list[OpenedTopic] = []
    for seen in _ends(cluster, opened, ids):
        if isinstance(seen, Failure):
            failures.append(seen)
        else:
            found.append(seen)
    return OpenedTopics(tuple(found), tuple(failures))


def _ends(cluster: Cluster, topics: Sequence[TopicRestore], ids: Mapping[str, str]) -> Iterator[OpenedTopic | Failure]:
    """Asked until the leaders themselves answer: metadata names a leader before that broker knows of its partition."""
    answers = cluster.offsets([TopicPartition(t.target, n) for t in topics for n in range(t.partitions)], LATEST)
    for topic in topics:
        ends = [answers[TopicPartition(topic.target, number)] for number in range(topic.partitions)]
        error = next((end.error for end in ends if end.error), 0)
        if error:
            name = code_name(error)
            yield Failure(topic.target, name, f"the log ends of {topic.target} could not be read: {name}")
        else:
            yield OpenedTopic(topic.target, ids[topic.target], tuple(end.offset for end in ends))


def _new_topic(topic: TopicRestore) -> NewTopic:
    return NewTopic(
        name=topic.target,
        partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        configs=topic.guard.configs,
    )


def _await_leaders(cluster: Cluster, topics: list[TopicRestore]) -> dict[str, str]:
    """Topic ids once every partition of every topic has a leader. Raises `KafkaUnreachable` after a minute, or longer where
    thousands are missing, in which no further one got a leader: brokers make partitions one by one.
    """
    waiting = {topic.target: topic.partitions for topic in topics}
    ids: dict[str, str] = {}
    ready, most = 0, -1
    patience = deadline = 0.0
    while waiting:
        topology = cluster.topology(sorted(waiting))
        led = ready
        for name, count in list(waiting.items()):
            topic = topology.topics[name]
            leaders = sum(part.leader != NO_NODE for part in topic.partitions)
            led += leaders
            if topic.error == ErrorCode.NONE and leaders >= count:
                ids[name] = topic.topic_id
                ready += leaders
                del waiting[name]
        if led > most:
            most, patience = led, max(_READY_SECONDS, _SECONDS_EACH * sum(waiting.values()))
            deadline = time.monotonic() + patience
        if waiting and time.monotonic() > deadline:
            named = examples(sorted(waiting), str)
            raise KafkaUnreachable(f"no leader for all partitions of {named}, and none got one for {patience:.0f} s")
        if waiting:
            time.sleep(_POLL_SECONDS)
    return ids


def end_guard(
    cluster: Cluster, plan: RestorePlan, opened: OpenedTopics, *, incomplete: Collection[str]
) -> list[Failure]:
    """Gives every topic that is whole its settings of the end. A topic that is not, or where that fails, keeps its guard
    (no retention, no compaction) and is named.
    """
    failures: list[Failure] = []
    whole: dict[str, Guard] = {}
    for topic in plan.topics:
        if topic.target in opened.topic_ids and topic.target in incomplete:
            message = f"the guard of {topic.target} is still on, for it was not restored whole"
            failures.append(Failure(_settings_of(topic.target), "TOPIC_INCOMPLETE", message))
        elif topic.target in opened.topic_ids:
            whole[topic.target] = topic.guard
    if not whole:
        return failures
    try:
        answers = _altered(cluster, {name: (guard.put_back, guard.remove) for name, guard in whole.items()})
    except KafkaError as error:
        answers = dict.fromkeys(whole, error)
    for name, answer in answers.items():
        if answer is not None:
            failures.append(Failure(_settings_of(name), answer.slug, f"the guard of {name} is still on: {answer}"))
    return failures


def _altered(
    cluster: Cluster, wanted: Mapping[str, tuple[Iterable[tuple[str, str]], Iterable[str]]]
) -> dict[str, KafkaError | None]:
    """Sets and deletes configs of many topics; by topic None, or what that was refused with."""
    changes = [ConfigChange(TOPIC, name, tuple(values), tuple(gone)) for name, (values, gone) in wanted.items()]
    return dict(zip(wanted, cluster.settings.alter_configs(changes), strict=True))


def _settings_of(topic: str) -> str:
    """The subject of a failure."""
    return f"settings of {topic}"
