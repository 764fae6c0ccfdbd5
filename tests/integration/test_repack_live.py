"""Topics whose every batch holds one record, put back into real brokers: fewer batches, the very same records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.support.kafka import CODECS, KafkaCluster, unique
from tests.support.live import RENAME, RESTORED, Filling, Live, contents, new_repository, until

from kafkeep.compare.report import BY_MAP
from kafkeep.kafka.cluster import Cluster
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import LARGEST_REPACK, SMALL_ONES, UP_TO_FULL

pytestmark = pytest.mark.integration

NO_LIMIT = str(2**63 - 1)
YEAR = 365 * 24 * 3600 * 1000
TIMES = (0, 50 * YEAR, 1, 2**61, -1, 5, 2**63 - 1, 40 * YEAR, 0)
"""Neighbours further apart than 32 bits of milliseconds hold, and than 64 bits hold."""


@pytest.fixture(scope="module", params=["431", "392"])
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    kafka: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}")
    with Cluster(kafka.cluster_config()) as cluster:
        yield Live(kafka, cluster)


def fill(live: Live, topic: str, codec: str) -> None:
    """Batches of one record in three partitions, committed and aborted ones between; odd times in the first one."""
    filling = Filling(live.kafka, topic).create(
        partitions=3, message_timestamp_before_max_ms=NO_LIMIT, message_timestamp_after_max_ms=NO_LIMIT
    )
    single: dict[str, Any] = {
        "compression_type": codec,
        "batch_num_messages": 1,
        "enable_idempotence": True,
        "linger_ms": 0,
    }
    filling.produce(90, partitions=3, **single)
    transactions(live, filling, (True, False, True, False), 15, partitions=3, **single)
    filling.produce(45, partitions=3, **single)
    live.decided(topic)
    for number, at in enumerate(TIMES):
        filling.raw(live.cluster, [(at, b"odd %d" % number)], codec=CODECS.index(codec))


def transactions(
    live: Live, filling: Filling, commits: Sequence[bool], each: int, *, partitions: int, **settings: Any
) -> None:
    writer = Producer(
        {
            **live.kafka.client_properties,
            **{name.replace("_", "."): value for name, value in settings.items()},
            "transactional.id": unique("writer"),
        }
    )
    writer.init_transactions(30)
    for commit in commits:
        writer.begin_transaction()
        filling.send(writer, each, partitions=partitions)
        if commit:
            writer.commit_transaction(30)
        else:
            writer.abort_transaction(30)


def batches_of(live: Live, repository: Repository, *topics: str) -> dict[str, int]:
    """Data batches that the cluster holds of each topic, as a backup counts them."""
    live.back_up(repository, *topics)
    known = repository.state.generations.items()
    return {
        topic: sum(
            run.facts.batches - run.facts.control_batches
            for generation, history in known
            if generation.topic == topic
            for run in history.runs
        )
        for topic in topics
    }


@pytest.mark.parametrize("rule", [SMALL_ONES, UP_TO_FULL])
def test_batches_of_one_record_come_back_as_few(live: Live, rule: int) -> None:
    topics = {codec: unique(f"single-{codec}") for codec in CODECS}
    for codec, topic in topics.items():
        fill(live, topic, codec)
    repository = new_repository()
    point = live.back_up(repository, *topics.values()).point
    before = batches_of(live, repository, *topics.values())
    result = live.put_back(repository, point, renames=RENAME, repack_rule=rule)
    assert result.failures == ()
    seen = live.all_seen([*topics.values(), *(RESTORED + topic for topic in topics.values())])
    after = batches_of(live, new_repository(), *(RESTORED + topic for topic in topics.values()))
    for topic in topics.values():
        source, target = contents(seen[topic]), contents(seen[RESTORED + topic])
        assert source == target
        records = sum(map(len, source.values()))
        assert records == 90 + 2 * 15 + 45 + len(TIMES)
        assert before[topic] == records + 2 * 15
        assert after[RESTORED + topic] <= 6, "one or two for each partition"
    report = live.compare(repository, point, renames=RENAME)
    assert report.identical
    assert {part.pairing for part in report.partitions} == {BY_MAP}


def test_batches_of_many_records_come_back_as_few_large_ones(live: Live) -> None:
    """Committed and aborted ones between; what is packed and larger than joining pays keeps its payload."""
    topics = {codec: unique(f"many-{codec}") for codec in ("none", "lz4")}
    for codec, topic in topics.items():
        filling = Filling(live.kafka, topic).create(partitions=2)
        filling.produce(6000, partitions=2, compression_type=codec, batch_num_messages=200)
        transactions(live, filling, (True, False), 500, partitions=2, compression_type=codec)
        filling.produce(2000, partitions=2, compression_type=codec, batch_num_messages=200)
        live.decided(topic)
    repository = new_repository()
    point = live.back_up(repository, *topics.values()).point
    before = batches_of(live, repository, *topics.values())
    full = {"repack_rule": UP_TO_FULL, "repack_bytes": LARGEST_REPACK}
    assert live.put_back(repository, point, renames=RENAME, **full).failures == ()
    for topic in topics.values():
        assert contents(live.seen(topic)) == contents(live.seen(RESTORED + topic))
    after = batches_of(live, new_repository(), *(RESTORED + topic for topic in topics.values()))
    assert before[topics["none"]] > 40 and after[RESTORED + topics["none"]] <= 4
    report = live.compare(repository, point, renames=RENAME)
    assert report.identical
    assert {part.pairing for part in report.partitions} == {BY_MAP}


def test_every_batch_as_it_was_when_asked(live: Live) -> None:
    topic = unique("as-it-was")
    fill(live, topic, "none")
    repository = new_repository()
    point = live.back_up(repository, topic).point
    result = live.put_back(repository, point, renames=RENAME, repack_bytes=0)
    assert result.failures == ()
    assert batches_of(live, new_repository(), RESTORED + topic)[RESTORED + topic] == result.records


def test_no_batch_is_larger_than_its_topic_allows(live: Live) -> None:
    topic = unique("narrow")
    filling = Filling(live.kafka, topic).create(max_message_bytes="2000")
    filling.produce(400, batch_num_messages=1)
    repository = new_repository()
    point = live.back_up(repository, topic).point
    assert live.put_back(repository, point, renames=RENAME).failures == ()
    there = new_repository()
    count = batches_of(live, there, RESTORED + topic)[RESTORED + topic]
    (history,) = there.state.generations.values()
    assert max(run.facts.largest_batch for run in history.runs) <= 2000
    assert 10 < count < 200
    assert contents(live.seen(topic)) == contents(live.seen(RESTORED + topic))
    until(lambda: live.overrides(RESTORED + topic)["max.message.bytes"] == "2000", what="the setting of the end")
