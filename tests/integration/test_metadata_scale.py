"""Requests for a cluster's metadata are counted: their number does not grow with topics, groups, limits or users."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.support.kafka import KafkaCluster, unique
from tests.support.operations import new_repository, now

from kafkeep.errors import KafkaError
from kafkeep.inventory import (
    BROKER,
    CLIENT_METRICS,
    CLUSTER,
    GROUP,
    ConfigValue,
    Inventory,
    Quota,
    QuotaEntity,
    ResourceConfigs,
    ScramUser,
    Standing,
)
from kafkeep.kafka.admin import NewTopic
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config_changes import TOPIC, ConfigChange
from kafkeep.kafka.links import Link
from kafkeep.metadata.apply import MetadataResult, apply_metadata
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import GROUP_CONFIGS, QUOTAS, TOPIC_CONFIGS, USERS, ApplyOptions
from kafkeep.metadata.run import back_up_metadata, image_of_cluster, prepare
from kafkeep.model import GroupOffset, TopicPartition
from kafkeep.secret import Secret

pytestmark = pytest.mark.integration
MANY = 60
AREAS = frozenset({TOPIC_CONFIGS, GROUP_CONFIGS, QUOTAS, USERS})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Counts every request of the control path by its name."""
    exchange = Link.exchange
    seen: Counter[str] = Counter()

    def counting(link: Link, api: Any, body: Any, retry: Any) -> Any:
        seen[api.name] += 1
        return exchange(link, api, body, retry)

    monkeypatch.setattr(Link, "exchange", counting)

    @contextmanager
    def during() -> Iterator[Counter[str]]:
        seen.clear()
        found: Counter[str] = Counter()
        yield found
        found.update(seen)

    return during


@dataclass(frozen=True)
class Many:
    """What the test makes: of everything as many."""

    name: str

    @property
    def topics(self) -> list[str]:
        return [f"{self.name}-{number}" for number in range(MANY)]

    @property
    def entities(self) -> list[QuotaEntity]:
        return [QuotaEntity((("client-id", name),)) for name in self.topics]

    @property
    def users(self) -> list[ScramUser]:
        both = ("SCRAM-SHA-256", "SCRAM-SHA-512")
        return [ScramUser(name, mechanism, 4096) for name in self.topics[:10] for mechanism in both]

    def make_topics(self, cluster: Cluster) -> None:
        made = cluster.admin.create_topics(
            [NewTopic(name=name, partitions=1, replication_factor=1) for name in self.topics]
        )
        assert not [answer for answer in made.values() if isinstance(answer, KafkaError)]
        cluster.await_topics(self.topics, seconds=90.0)

    def make(self, cluster: Cluster) -> None:
        self.make_topics(cluster)
        for name in self.topics:
            position = GroupOffset(TopicPartition(name, 0), 0, -1, "")
            assert set(cluster.admin.commit_group_offsets(name, [position]).values()) == {0}

    def clear(self, cluster: Cluster) -> None:
        cluster.admin.delete_groups(self.topics)
        cluster.admin.delete_topics(self.topics)
        cluster.settings.alter_quotas({entity: {"producer_byte_rate": None} for entity in self.entities})
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            cluster.settings.delete_scram_users([user for user in self.users if user.mechanism == mechanism])
        gone = [ConfigChange(GROUP, name, (), ("consumer.session.timeout.ms",)) for name in self.topics]
        cluster.settings.alter_configs(gone)

    def wanted(self, image: ClusterImage) -> ClusterImage:
        """The cluster's own image with one change for each topic, group, client and user."""
        topics = tuple(
            replace(topic, configs=(("retention.ms", "86400000"),))
            for topic in image.topics
            if topic.name in self.topics
        )
        inventory = Inventory(
            configs=tuple(
                ResourceConfigs(GROUP, name, (ConfigValue("consumer.session.timeout.ms", "50000", GROUP),))
                for name in self.topics
            ),
            quotas=tuple(Quota(entity, (("producer_byte_rate", 1024.0),)) for entity in self.entities),
            scram_users=tuple(self.users),
        )
        return replace(image, topics=topics, groups=(), inventory=inventory, standing=Standing())


@pytest.fixture
def cluster(kafka_431: KafkaCluster) -> Iterator[Cluster]:
    with Cluster(kafka_431.cluster_config()) as found:
        yield found


@pytest.fixture
def many(cluster: Cluster) -> Iterator[Many]:
    found = Many(unique("many"))
    yield found
    found.clear(cluster)


def test_a_capture_takes_as_many_requests_for_sixty_more_of_everything(
    cluster: Cluster, many: Many, counted: Callable[[], Any]
) -> None:
    repository = new_repository()

    def requests() -> Counter[str]:
        with counted() as found:
            back_up_metadata(cluster, repository, name=None, tags=(), now=now)
        return Counter(found)

    requests()  # The first one learns who coordinates which group.
    before = requests()
    many.make(cluster)
    during = requests()
    assert sum(before.values()) > 10
    # Requests of 100 groups or 200 topics each: one of a kind more at most, and one look for the coordinators.
    assert {api: during[api] - before[api] for api in during if during[api] > before[api] + 1} == {}


def applied(cluster: Cluster, image: ClusterImage) -> MetadataResult:
    options = ApplyOptions(only=AREAS, existing="align")
    passwords = {user.name: Secret("x" * 20) for user in image.inventory.scram_users}
    plan = prepare(cluster, image, options, passwords=passwords, now=now)
    return apply_metadata(cluster, plan, passwords=passwords, rng=random.Random(1))


def test_an_apply_takes_a_request_for_many_of_a_kind(cluster: Cluster, many: Many, counted: Callable[[], Any]) -> None:
    many.make(cluster)
    image = many.wanted(image_of_cluster(cluster, now=now)[0])
    with counted() as found:
        result = applied(cluster, image)
    assert result.complete and len(result.steps) == 3 * MANY + len(many.users)
    changing = {api: count for api, count in found.items() if api.startswith(("Alter", "IncrementalAlter"))}
    # Topics and groups; a request may name a user once, and each has two mechanisms.
    assert changing == {"IncrementalAlterConfigs": 2, "AlterClientQuotas": 1, "AlterUserScramCredentials": 2}
    until = time.monotonic() + 90
    while (again := applied(cluster, image)).steps and time.monotonic() < until:
        time.sleep(0.2)  # The broker tells of a change shortly after the controller has taken it.
    assert not again.steps and dict(again.plan.unchanged)[TOPIC_CONFIGS] == MANY


def test_one_change_that_is_refused_does_not_stop_the_others_of_its_request(
    cluster: Cluster, many: Many, counted: Callable[[], Any]
) -> None:
    many.make_topics(cluster)
    absent = unique("absent")
    changes = [ConfigChange(TOPIC, name, (("retention.ms", "1000"),), ("segment.ms",)) for name in many.topics[:3]]
    changes[1] = replace(changes[1], set=(("retention.ms", "many"),))
    changes += [
        ConfigChange(TOPIC, absent, (("retention.ms", "1000"),), ()),
        ConfigChange(TOPIC, many.topics[3], (), ()),
    ]
    with counted() as found:
        answers = cluster.settings.alter_configs(changes)
    assert found == {"IncrementalAlterConfigs": 1}
    assert [answer is None for answer in answers] == [True, False, True, False, True]
    assert f"alter configs of topic {many.topics[1]}" in str(answers[1]) and absent in str(answers[3])

    def retention() -> list[str | None]:
        configs = cluster.admin.topic_configs(many.topics[:3]).values()
        entries = [entries for entries in configs if not isinstance(entries, KafkaError)]
        return [next(entry.value for entry in found if entry.name == "retention.ms") for found in entries]

    until = time.monotonic() + 90
    while retention().count("1000") < 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert retention() == ["1000", "604800000", "1000"]


def test_a_broker_is_asked_to_change_its_own_configs(cluster: Cluster, counted: Callable[[], Any]) -> None:
    (node,) = map(str, cluster.topology([]).brokers)
    wanted = (("log.cleaner.threads", "2"),)
    try:
        with counted() as found:
            answers = cluster.settings.alter_configs(
                [
                    ConfigChange(CLUSTER, "", (("message.max.bytes", "many"),), ()),
                    ConfigChange(BROKER, node, wanted, ()),
                    ConfigChange(CLIENT_METRICS, node, (("interval.ms", "60000"),), ()),
                ]
            )
        assert found == {"IncrementalAlterConfigs": 2} and answers[1:] == [None, None]
        assert str(answers[0]).startswith("alter configs of cluster (")
        until = time.monotonic() + 90
        while time.monotonic() < until:
            broker = cluster.settings.configs([(BROKER, node)])[BROKER, node]
            assert isinstance(broker, ResourceConfigs)
            if [(entry.name, entry.value) for entry in broker.overrides] == list(wanted):
                break
            time.sleep(0.2)
        else:
            raise AssertionError("the broker does not tell of what it took")
    finally:
        gone = [
            ConfigChange(BROKER, node, (), ("log.cleaner.threads",)),
            ConfigChange(CLIENT_METRICS, node, (), ("interval.ms",)),
        ]
        cluster.settings.alter_configs(gone)
