"""Everything a client can write, backed up and put back on real brokers, judged by confluent-kafka and by Kafka's own
Java consumer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from tests.support.kafka import (
    CODECS,
    KafkaCluster,
    Position,
    Sample,
    commit_positions,
    committed_positions,
    produce_transaction,
    unique,
)
from tests.support.live import (
    RENAME,
    RESTORED,
    Filling,
    Live,
    Seen,
    contents,
    delete_records,
    java_sees,
    new_repository,
    offsets_of,
    total,
    until,
)
from tests.support.oracle import batches_of
from tests.support.proof import JAVA, Proof

from kafkeep.capture.result import BackupResult
from kafkeep.compare.report import BY_MAP, BY_OFFSET
from kafkeep.kafka.cluster import Cluster
from kafkeep.model import TopicPartition
from kafkeep.offset_map import OffsetMap
from kafkeep.repository.repository import Repository
from kafkeep.restore.options import LARGEST_REPACK, UP_TO_FULL
from kafkeep.restore.result import RestoreResult
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration

ABORTED = b"aborted"
NO_LIMIT = str(2**63 - 1)
YEAR_9999 = 253402300799999
INT32_MS = 2**31
"""24.8 days."""
NOT_FOR_A_TERMINAL = ("large", "headers")
CASE_OF = dict.fromkeys((*CODECS, "idempotent"), "codecs") | {
    "aborted": "aborted",
    "transactions": "interleaved",
    "markers": "left-markers",
    "headers": "headers-and-nulls",
    "times": "timestamps",
    "appended": "append-times",
    "large": "large",
    "deleted": "deleted-start",
}
"""Topic to the case it is for."""


@dataclass
class Trip:
    """One cluster with its topics, backed up and restored beside themselves under other names."""

    live: Live
    prefix: str
    topics: dict[str, str]
    repository: Repository
    result: BackupResult
    before: dict[str, Seen]
    restored: RestoreResult
    after: dict[str, Seen]
    positions: dict[str, dict[int, int]]
    """Committed offset by partition of each group; a group is named after the topic it reads."""

    def map_of(self, name: str, partition: int = 0) -> OffsetMap:
        target = TopicPartition(RESTORED + self.topics[name], partition)
        (found,) = [part.offset_map for part in self.restored.partitions if part.target == target]
        return found


@pytest.fixture(scope="module", params=["431", "392"])
def trip(request: pytest.FixtureRequest) -> Iterator[Trip]:
    kafka: KafkaCluster = request.getfixturevalue(f"kafka_{request.param}")
    prefix = unique("trip")
    with Cluster(kafka.cluster_config()) as cluster:
        live = Live(kafka, cluster)
        topics = fill(live, prefix)
        positions = place_groups(live, topics)
        repository = new_repository()
        result = live.back_up(repository, f"{prefix}.*")
        seen = live.all_seen(topics.values())
        before = {name: seen[topic] for name, topic in topics.items()}
        asked = {"groups": (f"{prefix}.*",), "repack_bytes": LARGEST_REPACK, "repack_rule": UP_TO_FULL}
        restored = live.put_back(repository, result.point, renames=RENAME, **asked)
        seen = live.all_seen(RESTORED + topic for topic in topics.values())
        after = {name: seen[RESTORED + topic] for name, topic in topics.items()}
        yield Trip(live, prefix, topics, repository, result, before, restored, after, positions)


def fill(live: Live, prefix: str) -> dict[str, str]:
    kinds = [*CASE_OF, "compacted", "empty"]
    topics = {kind: f"{prefix}.{kind}" for kind in kinds}
    with ThreadPoolExecutor(6) as pool:
        for made in [
            pool.submit(FILLERS.get(kind, fill_codec), live, Filling(live.kafka, topic))
            for kind, topic in topics.items()
        ]:
            made.result()
    return topics


def fill_codec(live: Live, filling: Filling) -> None:
    codec = filling.topic.rpartition(".")[2]
    filling.create(partitions=2, compression_type="producer")
    for keyed in (True, False):
        filling.produce(150, partitions=2, keyed=keyed, compression_type=codec, batch_num_messages=40)


def fill_idempotent(live: Live, filling: Filling) -> None:
    filling.create(partitions=2).produce(200, partitions=2, enable_idempotence=True, batch_num_messages=20)


def fill_transactions(live: Live, filling: Filling) -> None:
    """Two transactional producers whose batches lie between one another's, and a plain one."""
    filling.create(partitions=2)
    settings = live.kafka.client_properties
    producers = [Producer({**settings, "transactional.id": f"{filling.topic}-{n}", "linger.ms": 5}) for n in (0, 1)]
    for producer in producers:
        producer.init_transactions(30)
    for turn in range(4):
        for producer in producers:
            producer.begin_transaction()
        for _ in range(2):
            for producer in producers:
                filling.send(producer, 12, partitions=2)
            filling.produce(4, partitions=2)
        for number, producer in enumerate(producers):
            if (turn + number) % 2:
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)


def fill_aborted(live: Live, filling: Filling) -> None:
    filling.create(partitions=2)
    for turn in range(6):
        commit = turn % 3 == 1
        word = "committed" if commit else ABORTED.decode()
        headers: Any = (("topic", filling.topic.encode()),)
        records = [Sample(None, b"%s %d.%d" % (word.encode(), turn, n), headers, 0, n % 2) for n in range(40)]
        produce_transaction(
            live.kafka.client_properties, filling.topic, records, transactional_id=filling.topic, commit=commit
        )
        filling.produce(5, partitions=2, stamped=False)


def fill_headers(live: Live, filling: Filling) -> None:
    """Every pair of null, empty and present key and value, with every kind of header, in two codecs."""
    filling.create(partitions=2)
    kinds: tuple[list[tuple[str, bytes | None]], ...] = (
        [],
        [("h", b"1"), ("h", None), ("h", b""), ("h", b"1")],
        [("\u00e4\U0001f40d", b"\xff\xfe\x00\xc3"), ("", b"no name"), ("empty", b""), ("null", None)],
        [("large", filling.rng.randbytes(50_000).hex().encode()), ("large", None)],
        [(f"h{n % 7}", b"%d" % n) for n in range(1000)],
    )
    for codec in ("none", "zstd"):
        producer = Producer({**live.kafka.client_properties, "compression.type": codec, "linger.ms": 50})
        for number, (key, value, more) in enumerate(product((None, b"", b"k"), (None, b"", b"v"), kinds)):
            headers = [("topic", filling.topic.encode()), *more]
            producer.produce(filling.topic, key=key, value=value, headers=headers, partition=number % 2)
        assert producer.flush(30) == 0


def fill_appended(live: Live, filling: Filling) -> None:
    filling.create(message_timestamp_type="LogAppendTime")
    for _ in range(3):
        filling.produce(40, stamped=False)


def fill_compacted(live: Live, filling: Filling) -> None:
    """Many rounds over ten keys, some values null; then the broker compacts all but the newest log segment."""
    filling.create(
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="100",
    )
    for codec in ("none", "lz4", "gzip", "none"):
        filling.produce(60, keyed=True, stamped=False, compression_type=codec, batch_num_messages=15)
        time.sleep(0.15)  # the next batch rolls the log segment
    wait_for_compaction(live, filling)


def fill_markers(live: Live, filling: Filling) -> None:
    """Transactions over the same few keys, aborted and committed: later ones take the earlier ones' records away, and
    their markers stay for `delete.retention.ms`.
    """
    filling.create(
        cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.001", max_compaction_lag_ms="100"
    )
    headers: Any = (("topic", filling.topic.encode()),)
    for turn in range(6):
        records = [Sample(b"k%d" % (n % 5), b"turn %d.%d" % (turn, n), headers, 0, 0) for n in range(20)]
        produce_transaction(
            live.kafka.client_properties,
            filling.topic,
            records,
            transactional_id=f"{filling.topic}-{turn}",
            commit=turn % 3 != 1,
        )
        time.sleep(0.15)
    filling.written += 80
    wait_for_compaction(live, filling)


def wait_for_compaction(live: Live, filling: Filling) -> None:
    written = filling.written

    def cleaned() -> bool:
        filling.produce(2, keyed=True, stamped=False)
        return len(live.seen(filling.topic)[0]) < written // 2

    until(cleaned, what="compaction")


def fill_times(live: Live, filling: Filling) -> None:
    filling.create(message_timestamp_after_max_ms=NO_LIMIT, message_timestamp_before_max_ms=NO_LIMIT)
    stamps = [0, -1, YEAR_9999, 1_000, 999, YEAR_9999 - 1, 0, 1_700_000_000_000, -1]
    for codec in range(5):
        filling.raw(live.cluster, [(stamp, b"%d" % at) for at, stamp in enumerate(stamps)], codec=codec)
        far = [0, INT32_MS, -1, 3 * INT32_MS, INT32_MS - 1, YEAR_9999, 1_700_000_000_000 - INT32_MS, 1]
        filling.raw(live.cluster, [(stamp, b"far %d" % at) for at, stamp in enumerate(far)], codec=codec)
    filling.raw(live.cluster, [(-1, None)])
    filling.raw(live.cluster, [(0, b"")])


def fill_large(live: Live, filling: Filling) -> None:
    """Written under a limit that is far lower again when the backup is made."""
    filling.create(max_message_bytes="30000000")
    for size, codec in ((1_500_000, "none"), (5_000_000, "none"), (2_000_000, "zstd"), (24_000_000, "none")):
        body = filling.rng.randbytes(size // 2).hex().encode()
        producer = Producer(
            {**live.kafka.client_properties, "message.max.bytes": 40_000_000, "compression.type": codec}
        )
        producer.produce(filling.topic, value=body, headers=[("topic", filling.topic.encode())])
        producer.produce(filling.topic, value=b"small", headers=[("topic", filling.topic.encode())])
        assert producer.flush(30) == 0
    entry = ConfigEntry("max.message.bytes", "200000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, filling.topic, incremental_configs=[entry])
    admin = AdminClient(live.kafka.client_properties)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def fill_deleted(live: Live, filling: Filling) -> None:
    """The log starts inside a batch."""
    filling.create(partitions=2)
    for codec in ("none", "lz4"):
        filling.produce(80, partitions=2, compression_type=codec, linger_ms=200)
    delete_records(live.kafka, filling.topic, 0, 23)
    delete_records(live.kafka, filling.topic, 1, 61)


def fill_empty(live: Live, filling: Filling) -> None:
    filling.create(partitions=3)


FILLERS = {
    "idempotent": fill_idempotent,
    "aborted": fill_aborted,
    "headers": fill_headers,
    "markers": fill_markers,
    "transactions": fill_transactions,
    "appended": fill_appended,
    "compacted": fill_compacted,
    "times": fill_times,
    "large": fill_large,
    "deleted": fill_deleted,
    "empty": fill_empty,
}


def place_groups(live: Live, topics: dict[str, str]) -> dict[str, dict[int, int]]:
    """Groups in the middle, at both ends, and in holes that compaction and markers left."""
    holes = sorted(set(range(40)) - set(offsets_of(live.seen(topics["compacted"]))[0]))
    seen = offsets_of(live.seen(topics["transactions"]))
    markers = sorted(set(range(seen[0][-1])) - set(seen[0]))
    positions = {
        "gzip": {0: 17, 1: 150},
        "zstd": {0: 0},
        "compacted": {0: holes[3]},
        "transactions": {0: markers[0], 1: seen[1][5]},
        "deleted": {0: 5, 1: 70},
    }
    for name, committed in positions.items():
        where = [Position(topics[name], partition, offset) for partition, offset in committed.items()]
        commit_positions(live.kafka.client_properties, topics[name], where, metadata=f"metadata of {name}")
    return positions


def test_all_of_it_is_captured(trip: Trip) -> None:
    assert trip.result.failures == () and trip.result.gaps == ()
    assert trip.result.point is not None and trip.result.point.complete
    assert verify(trip.repository, level="data").findings == ()


def test_all_of_it_is_restored(trip: Trip) -> None:
    assert trip.restored.failures == () and trip.restored.lost == 0
    assert trip.restored.records == total(trip.before.values()) > 2000


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exact(case)) for name, case in CASE_OF.items() if name != "appended"]
)
def test_confluent_sees_the_same_before_and_after(trip: Trip, name: str, proof: Proof) -> None:
    """Key, value, headers with order and repeats, null against empty, timestamp and its kind, and the order."""
    proof.on(trip.live.kafka.version)
    aborted = {b"%s %d.%d" % (ABORTED, turn, n) for turn in range(6) for n in range(40)} if name == "aborted" else ()
    verdict = proof.same(contents(trip.before[name]), contents(trip.after[name]), aborted=aborted)
    assert verdict.records > 5


def test_what_was_compacted_and_what_was_empty(trip: Trip) -> None:
    assert contents(trip.after["compacted"]) == contents(trip.before["compacted"])
    assert contents(trip.after["empty"]) == contents(trip.before["empty"]) == {0: [], 1: [], 2: []}


@pytest.mark.exact("append-times")
def test_append_times_come_back_as_consumers_saw_them(trip: Trip, proof: Proof) -> None:
    before, after = trip.before["appended"], trip.after["appended"]
    proof.on(trip.live.kafka.version)
    proof.same(contents(before, with_type=False), contents(after, with_type=False))
    assert {content.timestamp_type for _, content in before[0]} == {2}
    assert {content.timestamp_type for _, content in after[0]} == {1}
    assert any("append times" in warning for warning in trip.restored.warnings)


@pytest.mark.exact(*dict.fromkeys(case for name, case in CASE_OF.items() if name not in NOT_FOR_A_TERMINAL))
def test_java_sees_the_same_before_and_after(trip: Trip, proof: Proof) -> None:
    """All topics but those that are no text for a terminal."""
    names = [name for name in trip.topics if name not in NOT_FOR_A_TERMINAL]
    pattern = "(" + "|".join(trip.topics[name].replace(".", "[.]") for name in names) + ")"
    count = total(trip.before[name] for name in names)
    before = java_sees(trip.live.kafka, pattern, count)
    after = java_sees(trip.live.kafka, RESTORED + pattern, count)
    appended = trip.topics["appended"]
    kinds = [{line[0] for line in side[appended][0]} for side in (before, after)]
    assert kinds == [{"LogAppendTime"}, {"CreateTime"}]
    for side in (before, after):
        side[appended] = {0: [("", *line[1:]) for line in side[appended][0]]}
    assert set(before) == set(after) == {trip.topics[name] for name in names if name != "empty"}
    for name in names:
        if name in CASE_OF:
            topic = trip.topics[name]
            proof.same(before[topic], after[topic], case=CASE_OF[name], by=JAVA, count=False)
    assert before == after


@pytest.mark.exact("left-markers")
def test_markers_are_there_without_their_records(trip: Trip, proof: Proof) -> None:
    topic = trip.topics["markers"]
    assert trip.result.point is not None
    (view,) = [view for view in trip.repository.view(trip.result.point).partitions if view.generation.topic == topic]
    infos = [info for info, _ in batches_of(trip.repository, view)]
    with_records = {info.producer_id for info in infos if not info.is_control and info.record_count}
    alone = [info for info in infos if info.is_control and info.producer_id not in with_records]
    assert alone
    proof.figures(markers_alone=len(alone))


@pytest.mark.exact("large")
def test_the_limit_is_raised_for_the_load_and_put_back(trip: Trip, proof: Proof) -> None:
    topic = trip.topics["large"]
    largest = max(len(content.value or b"") for _, content in trip.after["large"][0])
    assert largest == 24_000_000
    assert trip.live.overrides(RESTORED + topic)["max.message.bytes"] == "200000"
    proof.figures(batches_above_20_MiB=1)


def test_log_offsets_at_the_target_are_dense(trip: Trip) -> None:
    for name, seen in trip.after.items():
        for partition, offsets in offsets_of(seen).items():
            assert offsets == list(range(len(offsets))), (name, partition)


def test_the_map_leads_from_every_record_to_the_same_one(trip: Trip) -> None:
    for name in trip.topics:
        for partition, records in trip.before[name].items():
            found = trip.map_of(name, partition)
            assert [found.target_of(offset) for offset, _ in records] == list(range(len(records)))


@pytest.mark.exact("groups-in-holes")
def test_groups_go_on_at_the_same_record(trip: Trip, proof: Proof) -> None:
    proof.on(trip.live.kafka.version)
    expected: dict[Any, list[Any]] = {}
    given: dict[Any, list[Any]] = {}
    for name, committed in trip.positions.items():
        topic = trip.topics[name]
        found = committed_positions(trip.live.kafka.client_properties, topic, RESTORED + topic)
        for partition, offset in committed.items():
            rest = [content for at, content in trip.before[name][partition] if at >= offset]
            left = [content for at, content in trip.after[name][partition] if at >= found[partition]]
            expected[name, partition] = [content[1:] for content in rest]
            given[name, partition] = [content[1:] for content in left]
            if name == "compacted":
                assert offset not in offsets_of(trip.before[name])[0], "the position lies in a hole"
    proof.same(expected, given)
    proof.figures(positions=len(expected))


def test_group_metadata_and_epochs(trip: Trip) -> None:
    groups = {trip.topics[name]: name for name in trip.positions}
    answers = trip.live.cluster.admin.group_offsets(list(groups))
    for group, name in groups.items():
        answer = answers[group]
        assert not isinstance(answer, Exception)
        by_topic = {
            topic: [o for o in answer if o.topic_partition.topic == topic] for topic in (group, RESTORED + group)
        }
        kept, restored = by_topic.values()
        assert [offset.metadata for offset in restored] == [offset.metadata for offset in kept] != []
        assert all(offset.metadata.startswith(f"metadata of {name}") for offset in restored)
        assert {offset.leader_epoch for offset in restored} == {-1}


def test_settings_come_back_and_the_guard_is_gone(trip: Trip) -> None:
    for topic in trip.topics.values():
        assert trip.live.overrides(RESTORED + topic) == trip.live.overrides(topic), topic


def test_compare_finds_no_difference(trip: Trip) -> None:
    at_source = trip.live.compare(trip.repository, trip.result.point, topics=(f"{trip.prefix}.*",))
    assert at_source.differences == () and at_source.failures == () and at_source.identical
    assert {part.pairing for part in at_source.partitions} == {BY_OFFSET}
    restored = trip.live.compare(trip.repository, trip.result.point, renames=RENAME)
    assert restored.differences == () and restored.failures == () and restored.identical
    assert {part.pairing for part in restored.partitions} == {BY_MAP}
    assert restored.records == at_source.records == trip.restored.records


def test_a_second_backup_finds_nothing_new(trip: Trip) -> None:
    result: Any = trip.live.back_up(trip.repository, f"{trip.prefix}.none", f"{trip.prefix}.transactions")
    assert result.records == 0 and result.failures == ()
