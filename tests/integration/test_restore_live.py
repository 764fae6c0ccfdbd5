"""Restores into real brokers: what is refused, ranges, other releases, and what compare finds when somebody tampers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.kafka import KafkaCluster, Sample, create_topic, delete_topics, produce, unique
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    await_overrides,
    contents,
    delete_records,
    new_repository,
    now,
    total,
    until,
)

from kafkeep.capture.result import BackupResult
from kafkeep.compare.report import BY_MAP, BY_ORDER
from kafkeep.errors import PlanRefused, TargetNotEmpty
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import TopicPartition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


@pytest.fixture(scope="module")
def old(kafka_392: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_392.cluster_config()) as cluster:
        yield Live(kafka_392, cluster)


@pytest.fixture(scope="module")
def topic() -> str:
    return unique("restore")


@pytest.fixture(scope="module")
def repository() -> Repository:
    return new_repository()


@pytest.fixture(scope="module")
def backed_up(live: Live, repository: Repository, topic: str) -> BackupResult:
    """Two partitions, records at 1000, 1010, 1020 … ms in partition 0, lz4 batches of five."""
    filling = Filling(live.kafka, topic).create(partitions=2, message_timestamp_before_max_ms=str(2**63 - 1))
    for first in range(0, 60, 5):
        stamped = [(1000 + 10 * at, b"%d" % at) for at in range(first, first + 5)]
        filling.raw(live.cluster, stamped, codec=3)
    filling.produce(30, partitions=2)
    return live.back_up(repository, topic)


def under(prefix: str) -> tuple[Rename, ...]:
    return (Rename.parse(f"s/^/{prefix}-/"),)


def values(live: Live, topic: str, partition: int = 0) -> list[bytes | None]:
    return [content.value for content in contents(live.seen(topic))[partition]]


def test_until_a_time(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    result = live.put_back(repository, backed_up.point, renames=under("time"), until_timestamp=1234)
    assert result.failures == ()
    assert values(live, f"time-{topic}") == [b"%d" % at for at in range(24)]
    assert values(live, f"time-{topic}", 1) == []


def test_until_an_offset(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    until_offsets = ((TopicPartition(topic, 0), 13),)
    result = live.put_back(repository, backed_up.point, renames=under("offset"), until_offsets=until_offsets)
    assert result.failures == ()
    assert values(live, f"offset-{topic}") == [b"%d" % at for at in range(13)]
    assert len(values(live, f"offset-{topic}", 1)) == 15


def test_some_partitions(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    partitions = ((topic, frozenset({1})),)
    result = live.put_back(repository, backed_up.point, renames=under("some"), partitions=partitions)
    assert result.failures == ()
    assert [len(records) for records in live.seen(f"some-{topic}").values()] == [0, 15]


def test_refusals_change_nothing(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    with pytest.raises(TargetNotEmpty, match=topic):
        live.put_back(repository, backed_up.point)
    other = unique("three")
    create_topic(live.kafka.client_properties, other, partitions=3)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"renames": (Rename.parse(f"{topic}={other}"),)}, "has 3 partitions, the source had 2"),
        ({"topics": (topic, "nosuch")}, "holds no topic nosuch"),
        ({"renames": under("rf"), "replication_factor": 2}, "replication factor 2 needs more than 1 broker"),
        ({"renames": under("x"), "groups": ("nosuch",)}, "holds no group nosuch"),
        ({"renames": (Rename.parse("s/.*/bad name/"),)}, "INVALID_TOPIC_EXCEPTION"),
    ]
    for options, message in cases:
        with pytest.raises(PlanRefused, match=message):
            live.put_back(repository, backed_up.point, **options)
    names = set(live.cluster.topology().topics)
    assert not names & {f"rf-{topic}", f"x-{topic}"}


def test_two_topics_under_one_name(live: Live, topic: str) -> None:
    names = [unique("merge") for _ in range(2)]
    for name in names:
        Filling(live.kafka, name).create().produce(3)
    repository = new_repository()
    point = live.back_up(repository, *names).point
    with pytest.raises(PlanRefused, match="would all be restored into one"):
        live.put_back(repository, point, renames=(Rename.parse("s/.*/one/"),))


def test_behind_what_is_there(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    target = f"append-{topic}"
    create_topic(live.kafka.client_properties, target, partitions=2, config={"cleanup.policy": "compact"})
    produce(
        live.kafka.client_properties, target, [Sample(key=b"k", value=b"before", partition=n % 2) for n in range(3)]
    )
    options: dict[str, Any] = {"renames": under("append"), "existing": "append"}
    plan = live.plan(repository, backed_up.point, **options)
    assert plan.topics[0].action == "append"
    result = live.put_back(repository, backed_up.point, **options)
    assert result.failures == ()
    assert values(live, target)[:2] == [b"before", b"before"]
    assert values(live, target)[2:] == values(live, topic)
    await_overrides(live, target, {"cleanup.policy": "compact"})
    report = live.compare(repository, backed_up.point, renames=under("append"))
    assert report.identical and {part.pairing for part in report.partitions} == {BY_MAP}


def test_into_an_empty_topic_that_is_there(
    live: Live, repository: Repository, backed_up: BackupResult, topic: str
) -> None:
    target = f"fill-{topic}"
    create_topic(
        live.kafka.client_properties,
        target,
        partitions=2,
        config={"retention.ms": "3600000", "max.message.bytes": "300"},
    )
    result = live.put_back(repository, backed_up.point, renames=under("fill"), groups=())
    assert result.failures == () and result.topics_created == ()
    await_overrides(live, target, {"retention.ms": "3600000", "max.message.bytes": "300"})
    until(lambda: values(live, target)[:1] != [b"0"], what="retention taking old records again")


def test_retention_held_off(live: Live, repository: Repository, backed_up: BackupResult, topic: str) -> None:
    held = live.put_back(repository, backed_up.point, renames=under("hold"), retention="hold")
    assert held.failures == ()
    assert {"retention.ms": "-1", "retention.bytes": "-1"}.items() <= live.overrides(f"hold-{topic}").items()


def test_the_whole_history(live: Live) -> None:
    topic = unique("history")
    filling = Filling(live.kafka, topic).create().produce(30, linger_ms=100)
    repository = new_repository()
    live.back_up(repository, topic)
    before = contents(live.seen(topic))
    filling.produce(5)
    delete_records(live.kafka, topic, 0, 12)
    point = live.back_up(repository, topic).point
    plain = live.put_back(repository, point, renames=RENAME)
    whole = live.put_back(repository, point, renames=under("whole"), whole_history=True)
    assert (plain.records, whole.records) == (23, 35)
    assert contents(live.seen(RESTORED + topic)) == contents(live.seen(topic))
    assert contents(live.seen(f"whole-{topic}"))[0][:30] == before[0]


def test_a_plan_made_before_somebody_filled_the_topic(
    live: Live, repository: Repository, backed_up: BackupResult, topic: str
) -> None:
    assert backed_up.point is not None
    options = RestoreOptions(renames=under("late"))
    plan = prepare(live.cluster, repository, backed_up.point, options, now=now)
    create_topic(live.kafka.client_properties, f"late-{topic}", partitions=2)
    with pytest.raises(Exception, match="appeared on the target") as raised:
        restore(live.cluster, repository, plan, options, now=now)
    assert type(raised.value).__name__ == "TopicExists"


def test_from_an_old_release_into_a_new_one(old: Live, live: Live) -> None:
    """Settings that 4.x does not know any more are left out and told; log segments as small as 3.9 allows are, too."""
    topic = unique("older")
    filling = Filling(old.kafka, topic).create(
        partitions=2,
        message_downconversion_enable="false",
        message_timestamp_difference_max_ms="1000000000000",
        segment_bytes="16384",
        compression_type="zstd",
        min_insync_replicas="1",
    )
    for codec in ("none", "gzip", "lz4"):
        filling.produce(80, partitions=2, compression_type=codec)
    repository = new_repository()
    point = old.back_up(repository, topic).point
    result = live.put_back(repository, point)
    assert result.failures == ()
    assert contents(live.seen(topic)) == contents(old.seen(topic))
    kept = live.overrides(topic)
    assert {"compression.type": "zstd", "min.insync.replicas": "1", "retention.ms": "-1"}.items() <= kept.items()
    gone = {"message.downconversion.enable", "message.timestamp.difference.max.ms", "segment.bytes"}
    assert not gone & kept.keys()
    for name in gone:
        assert any(name in warning for warning in result.warnings), name
    assert live.compare(repository, point).identical


def test_from_a_new_release_into_an_old_one(
    old: Live, live: Live, repository: Repository, backed_up: BackupResult, topic: str
) -> None:
    result = old.put_back(repository, backed_up.point)
    assert result.failures == () and contents(old.seen(topic)) == contents(live.seen(topic))
    report = old.compare(repository, backed_up.point)
    assert report.identical and report.records == total([live.seen(topic)])
    delete_topics(old.kafka.client_properties, [topic])


TAMPERING: dict[str, tuple[list[Sample], set[str]]] = {
    "value": ([Sample(b"a", b"1"), Sample(b"b", b"CHANGED")], {"value"}),
    "null for empty": ([Sample(b"a", b"1"), Sample(b"b", None)], {"value"}),
    "key": ([Sample(b"a", b"1"), Sample(b"B", b"")], {"key"}),
    "headers": ([Sample(b"a", b"1", (("h", b""),)), Sample(b"b", b"")], {"headers"}),
    "timestamp": ([Sample(b"a", b"1", timestamp=5), Sample(b"b", b"")], {"timestamp"}),
    "missing": ([Sample(b"a", b"1")], {"missing"}),
    "extra": ([Sample(b"a", b"1"), Sample(b"b", b""), Sample(b"c", b"more")], {"extra"}),
}


@pytest.fixture(scope="module")
def small(live: Live) -> tuple[Repository, BackupResult, str]:
    topic = unique("small")
    create_topic(live.kafka.client_properties, topic, config={"retention.ms": "-1"})
    produce(
        live.kafka.client_properties, topic, [Sample(b"a", b"1", timestamp=7000), Sample(b"b", b"", timestamp=7001)]
    )
    repository = new_repository()
    return repository, live.back_up(repository, topic), topic


@pytest.mark.parametrize("what", sorted(TAMPERING))
def test_compare_by_order_finds_what_was_tampered_with(
    live: Live, small: tuple[Repository, BackupResult, str], what: str
) -> None:
    repository, result, topic = small
    samples, kinds = TAMPERING[what]
    stamped = [s if s.timestamp else s._replace(timestamp=7000 + at) for at, s in enumerate(samples)]
    prefix = what.replace(" ", "-")
    create_topic(live.kafka.client_properties, f"{prefix}-{topic}", config={"retention.ms": "-1"})
    produce(live.kafka.client_properties, f"{prefix}-{topic}", stamped)
    report = live.compare(repository, result.point, renames=under(prefix))
    assert {part.pairing for part in report.partitions} == {BY_ORDER}
    assert {difference.what for difference in report.differences} == kinds
    assert not report.identical and report.different == 1


def test_compare_by_map_finds_what_went_missing(live: Live, small: tuple[Repository, BackupResult, str]) -> None:
    repository, result, topic = small
    live.put_back(repository, result.point, renames=under("mapped"))
    assert live.compare(repository, result.point, renames=under("mapped")).identical
    delete_records(live.kafka, f"mapped-{topic}", 0, 1)
    report = live.compare(repository, result.point, renames=under("mapped"))
    assert [(d.what, d.source_offset, d.target_offset) for d in report.differences] == [("missing", 0, 0)]
    absent = live.compare(repository, result.point, renames=under("nowhere"))
    assert [failure.reason for failure in absent.failures] == ["missing"] and not absent.identical
