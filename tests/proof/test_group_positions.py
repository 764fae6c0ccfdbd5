"""Groups read on, at the target, with the record they would have read at the source. Judges that know nothing of kafkeep:
confluent-kafka's consumers of both group protocols, and Kafka's own Java tools, which must describe the same offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.kafka import (
    Content,
    KafkaCluster,
    create_topic,
    delete_topics,
    produce,
    produce_transaction,
    read_on,
    read_positions,
    unique,
)
from tests.support.live_groups import (
    carried,
    described,
    filled,
    from_file,
    new_repository,
    now,
    point_of,
    positions_of,
    samples,
    taken_back,
)
from tests.support.proof import Proof

from kafkeep.groups.options import GroupOptions
from kafkeep.groups.run import carry_out_plan, prepare
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import GroupOffset, RecoveryPoint, TopicPartition
from kafkeep.position_files import FilePosition
from kafkeep.renaming import Rename
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare as prepare_restore
from kafkeep.restore.run import restore

pytestmark = pytest.mark.integration

TOOL = "Java consumer-groups tool"


@dataclass(frozen=True)
class Journey:
    """Two topics with everything that makes offsets jump, and groups at every kind of place, restored elsewhere."""

    source: KafkaCluster
    repository: Repository
    point: RecoveryPoint
    plain: str
    compacted: str
    places: dict[str, tuple[str, int]]
    """Group to topic and committed source offset."""
    ends: dict[str, int]


def fill(kafka: KafkaCluster, plain: str, compacted: str) -> dict[str, int]:
    """Offsets 0-4 are deleted, 10-14 aborted, 15 and 21 markers; the compacted topic has lost most of its first 100."""
    settings = kafka.client_properties
    create_topic(settings, plain)
    produce(settings, plain, samples(10, "plain"))
    for commit in (False, True):
        records = samples(5, f"transaction {commit}")
        produce_transaction(settings, plain, records, transactional_id=plain, commit=commit)
    produce(settings, plain, samples(10, "more"))
    create_topic(
        settings,
        compacted,
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.001",
            "max.compaction.lag.ms": "100",
        },
    )
    produce(settings, compacted, samples(100, "old", keys=7))
    time.sleep(0.3)
    produce(settings, compacted, samples(3, "new", keys=100))
    deadline = time.monotonic() + 60
    while len(read_positions(settings, compacted)[0]) > 20:
        assert time.monotonic() < deadline, "the topic is not compacted"
        time.sleep(0.3)
    with Cluster(kafka.cluster_config()) as cluster:
        assert cluster.admin.delete_records({TopicPartition(plain, 0): 5}) == {TopicPartition(plain, 0): (5, 0)}
        ends = cluster.offsets([TopicPartition(plain, 0), TopicPartition(compacted, 0)], -1)
    return {tp.topic: answer.offset for tp, answer in ends.items()}


@pytest.fixture(scope="module")
def journey(kafka_392: KafkaCluster, target: Cluster) -> Iterator[Journey]:
    plain, compacted = unique("plain"), unique("compacted")
    ends = fill(kafka_392, plain, compacted)
    assert ends[plain] == 32
    prefix = unique("g")
    places = {f"{prefix}-plain-{at}": (plain, at) for at in (3, 5, 12, 15, 18, 21, 31, 32)}
    places |= {f"{prefix}-compacted-{at}": (compacted, at) for at in (0, 40, 99, ends[compacted])}
    repository = new_repository()
    with Cluster(kafka_392.cluster_config()) as cluster:
        for group, (topic, at) in places.items():
            committed = GroupOffset(TopicPartition(topic, 0), at, -1, f"at {at}, née")
            assert set(cluster.admin.commit_group_offsets(group, [committed]).values()) == {0}
        point = point_of(cluster, repository, plain, compacted)
    options = RestoreOptions(groups=())
    plan = prepare_restore(target, repository, point, options, now=now)
    assert restore(target, repository, plan, options, now=now).failures == ()
    yield Journey(kafka_392, repository, point, plain, compacted, places, ends)


def first_records(kafka: KafkaCluster, places: dict[str, tuple[str, int]], **more: Any) -> dict[str, Content]:
    """What a member of each group is given first."""
    settings = {**kafka.client_properties, **more}

    def first(group: str) -> Content:
        return read_on(settings, places[group][0], group=group, partitions=[0])[0]

    with ThreadPoolExecutor(6) as pool:
        return dict(zip(places, pool.map(first, places), strict=True))


def place_at_source(journey: Journey, topic: str, at: int) -> str:
    """What a committed consumer of the source finds at an offset."""
    there = [offset for offset, _ in read_positions(journey.source.client_properties, topic)[0]]
    if at in there:
        return "exact"
    if topic == journey.plain and at < 5:
        return "before-start"
    return "hole" if any(offset > at for offset in there) else "at-end"


@pytest.mark.exact("groups-in-holes")
def test_groups_read_on_with_the_record_they_would_have_read_at_the_source(
    journey: Journey, target: Cluster, kafka_431: KafkaCluster, proof: Proof
) -> None:
    plan = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    assert plan.refusals == ()
    landed = {group.group_id: group.positions[0].place for group in plan.groups}
    assert landed == {group: place_at_source(journey, *place) for group, place in journey.places.items()}
    assert set(landed.values()) == {"before-start", "exact", "hole", "at-end"}
    result = carried(target, journey.repository, plan)
    assert (result.groups, result.failures, result.differences) == (len(journey.places), (), ())
    reading = {group: place for group, place in journey.places.items() if place[1] < journey.ends[place[0]]}
    expected = first_records(journey.source, reading)
    half = dict(list(reading.items())[::2])
    found = first_records(kafka_431, half)
    rest = {group: place for group, place in reading.items() if group not in half}
    found |= first_records(kafka_431, rest, **{"group.protocol": "consumer"})
    proof.on(journey.source.version, kafka_431.version)
    proof.same(
        {group: [first] for group, first in expected.items()}, {group: [first] for group, first in found.items()}
    )
    proof.figures(positions=len(journey.places))


@pytest.mark.exact("groups-in-holes")
def test_javas_tool_describes_the_offsets_of_the_plan(
    journey: Journey, target: Cluster, kafka_431: KafkaCluster, proof: Proof
) -> None:
    plan = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    carried(target, journey.repository, plan)
    wanted = {(g.group_id, p.target.topic, p.target.partition): p.offset for g in plan.groups for p in g.positions}
    told = described(kafka_431, list(journey.places))
    proof.same({key: [at] for key, at in wanted.items()}, {key: [at] for key, at in told.items()}, by=TOOL, count=False)
    strings = {group: next(iter(positions_of(target, group).values())).metadata for group in journey.places}
    assert strings == {group: f"at {at}, née" for group, (_, at) in journey.places.items()}
    again = prepare(target, journey.repository, journey.point, GroupOptions(groups=tuple(journey.places)))
    assert not again.changes and again.refusals == ()


def test_a_topic_that_was_made_anew_is_not_taken_for_the_restored_one(journey: Journey, target: Cluster) -> None:
    rename = Rename.parse(f"s/^{journey.plain}$/{unique('anew')}/")
    groups = tuple(group for group, place in journey.places.items() if place[0] == journey.plain)
    options = RestoreOptions(topics=(journey.plain,), groups=(), renames=(rename,))
    settings = {"bootstrap.servers": ",".join(target.config.bootstrap)}
    plan = prepare_restore(target, journey.repository, journey.point, options, now=now)
    restore(target, journey.repository, plan, options, now=now)
    asked = GroupOptions(groups=groups, topics=(journey.plain,), renames=(rename,))
    assert prepare(target, journey.repository, journey.point, asked).refusals == ()
    delete_topics(settings, [rename.replacement])
    create_topic(settings, rename.replacement)
    produce(settings, rename.replacement, samples(200, "others"))
    refused = prepare(target, journey.repository, journey.point, asked)
    assert {(r.kind, r.subject) for r in refused.refusals} == {("offset-map-refused", f"topic {rename.replacement}")}
    assert "earlier topic" in refused.refusals[0].message


def all_positions(kafka: KafkaCluster, prefix: str) -> dict[tuple[str, str, int], list[int]]:
    """What Kafka's Java tool tells of every group whose name begins so."""
    asked = ["--bootstrap-server", kafka.bootstrap, "--describe", "--offsets", "--all-groups"]
    rows = [line.split() for line in kafka.lab.tool("consumer-groups", *asked).stdout.splitlines()]
    return {(row[0], row[1], int(row[2])): [int(row[3])] for row in rows if row and row[0].startswith(prefix)}


@pytest.mark.exact("many-groups")
def test_thousands_of_groups(
    target: Cluster, kafka_431: KafkaCluster, record_property: Callable[..., None], proof: Proof
) -> None:
    count = proof.count(quick=2_000, full=10_000)
    topic, prefix = filled(kafka_431, 2), unique("many")
    tps = [TopicPartition(topic, number) for number in range(2)]
    repository = new_repository()
    wanted = [FilePosition(f"{prefix}-{n:05}", tp, (n + tp.partition) % 45) for n in range(count) for tp in tps]
    began = time.monotonic()
    result = carry_out_plan(target, repository, from_file(target, *wanted), connections=8, now=now)
    seconds = {"apply": time.monotonic() - began}
    assert (result.groups, result.positions, result.failures) == (count, 2 * count, ())
    point = point_of(target, repository, topic)
    began = time.monotonic()
    plan = prepare(target, repository, point, GroupOptions(groups=(f"{prefix}-*",)))
    seconds["plan"] = time.monotonic() - began
    assert plan.counted("unchanged") == 2 * count and not plan.changes
    told = all_positions(kafka_431, prefix)
    proof.on(kafka_431.version)
    proof.same({(p.group_id, topic, p.target.partition): [p.offset] for p in wanted}, told, by=TOOL)
    proof.figures(groups=result.groups)
    began = time.monotonic()
    undone = carry_out_plan(target, repository, taken_back(target, repository), connections=8, now=now)
    seconds["rollback"] = time.monotonic() - began
    assert (undone.groups, undone.failures) == (count, ())
    assert not any(group.group_id.startswith(prefix) for group in target.admin.groups())
    for name, spent in seconds.items():
        record_property(f"{name}_seconds", round(spent, 1))
        assert spent < 120, seconds
