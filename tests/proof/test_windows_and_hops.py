"""Parts of a history by time, and a restore of a restore."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.support.kafka import (
    CODECS,
    Content,
    KafkaCluster,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    create_topic,
    produce,
    produce_transaction,
    unique,
)
from tests.support.live import Filling, Live, contents, delete_records, new_repository
from tests.support.proof import Proof

from kafkeep.kafka.cluster import Cluster
from kafkeep.model import RecoveryPoint
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository

pytestmark = pytest.mark.integration

START = 1_700_000_000_000
SPREAD = 100_000
NO_LIMIT = str(2**63 - 1)


def under(prefix: str) -> tuple[Rename, ...]:
    return (Rename.parse(f"s/^/{prefix}-/"),)


@pytest.fixture(scope="module")
def live(kafka_431: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_431.cluster_config()) as cluster:
        yield Live(kafka_431, cluster)


@pytest.fixture(scope="module")
def old(kafka_392: KafkaCluster) -> Iterator[Live]:
    with Cluster(kafka_392.cluster_config()) as cluster:
        yield Live(kafka_392, cluster)


Unordered = tuple[str, Repository, RecoveryPoint, dict[int, list[Content]]]


@pytest.fixture(scope="module")
def unordered(live: Live) -> Unordered:
    """Three partitions whose times drift upwards by fits and starts; the last one's lie wholly before START."""
    topic, dice = unique("times"), random.Random(11)
    settings = live.kafka.client_properties
    create_topic(
        settings, topic, partitions=3, config={"retention.ms": "-1", "message.timestamp.after.max.ms": NO_LIMIT}
    )
    for turn, codec in enumerate(CODECS):
        many = [
            Sample(
                b"%d" % n,
                b"%d.%d" % (turn, n),
                (),
                START + (turn * 60 + n) * 300 + dice.randint(-SPREAD, SPREAD),
                n % 2,
            )
            for n in range(60)
        ]
        produce(settings, topic, many, codec=codec, batch_num_messages=9)
    produce(settings, topic, [Sample(None, b"%d" % n, (), START - SPREAD * 3 + n, 2) for n in range(10)])
    for commit in (False, True):
        stamped = [Sample(None, b"t%d" % n, (), START + dice.randint(0, SPREAD), n % 2) for n in range(20)]
        produce_transaction(settings, topic, stamped, transactional_id=topic, commit=commit)
    repository = new_repository()
    point = live.back_up(repository, topic).point
    assert point is not None
    return topic, repository, point, contents(live.seen(topic))


def cut(records: list[Content], since: int | None, until: int | None) -> list[Content]:
    """From the first that is not too early to the one in front of the first that is too late."""
    end = next((at for at, one in enumerate(records) if until is not None and one.timestamp > until), len(records))
    first = next((at for at, one in enumerate(records) if since is None or one.timestamp >= since), len(records))
    return records[first:end]


def chosen(records: list[Content], since: int | None, until: int | None) -> list[Content]:
    return [
        one
        for one in records
        if (since is None or one.timestamp >= since) and (until is None or one.timestamp <= until)
    ]


@pytest.mark.exact("window")
@pytest.mark.parametrize("rule", ["cut", "filter"])
@pytest.mark.parametrize(("since", "until"), [(None, START + 120_000), (START + 20_000, START + 90_001)])
def test_a_window_of_time(
    live: Live, unordered: Unordered, rule: str, since: int | None, until: int, proof: Proof
) -> None:
    topic, repository, point, source = unordered
    prefix = unique("w")
    options = {"until_timestamp": until, "since_timestamp": since, "until_rule": rule}
    restored = live.put_back(repository, point, renames=under(prefix), **options)
    assert restored.failures == ()
    expected = {part: (cut if rule == "cut" else chosen)(records, since, until) for part, records in source.items()}
    held = sum(map(len, source.values()))
    assert 0 < sum(map(len, expected.values())) < held
    proof.on(live.kafka.version)
    proof.same(expected, contents(live.seen(f"{prefix}-{topic}")))


def fill(origin: Live, topic: str) -> None:
    filling = Filling(origin.kafka, topic).create(
        partitions=2, message_timestamp_before_max_ms=NO_LIMIT, message_timestamp_after_max_ms=NO_LIMIT
    )
    for codec in CODECS:
        filling.produce(60, partitions=2, compression_type=codec, batch_num_messages=11)
    for commit in (True, False, True):
        samples = [Sample(None, b"%d" % n, (), 0, n % 2) for n in range(30)]
        produce_transaction(origin.kafka.client_properties, topic, samples, transactional_id=topic, commit=commit)
    filling.raw(origin.cluster, [(0, b"zero"), (-1, None), (2**31, b""), (253402300799999, b"late")], codec=2)
    delete_records(origin.kafka, topic, 0, 17)


@pytest.mark.exact("two-hops")
def test_a_restore_of_a_restore(old: Live, live: Live, proof: Proof) -> None:
    """3.9 to 4.3 and back to 3.9: records and group positions are those of the origin."""
    topic = unique("hops")
    fill(old, topic)
    here = [Position(topic, 0, 40), Position(topic, 1, 190)]
    commit_positions(old.kafka.client_properties, topic, here)
    first, second = new_repository(), new_repository()
    hop = live.put_back(first, old.back_up(first, topic).point, renames=under("one"), groups=(topic,))
    back = live.back_up(second, f"one-{topic}").point
    home = old.put_back(second, back, renames=(Rename.parse("s/^one-/two-/"),), groups=(topic,))
    assert hop.failures == home.failures == () and hop.records == home.records
    origin, returned = old.seen(topic), old.seen(f"two-{topic}")
    proof.on(old.kafka.version, live.kafka.version)
    proof.same(contents(origin), contents(live.seen(f"one-{topic}")))
    proof.same(contents(origin), contents(returned))
    placed = committed_positions(old.kafka.client_properties, topic, f"two-{topic}")
    for position in here:
        rest = [one for at, one in origin[position.partition] if at >= position.offset]
        assert rest == [one for at, one in returned[position.partition] if at >= placed[position.partition]]
    proof.figures(positions=len(here))
