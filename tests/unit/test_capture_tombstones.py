"""Compacted topics: when an increment could have missed a deletion, the partition is read anew or the point says so."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.operations import ORDERS, Heard, as_cluster, new_repository, stored
from tests.support.simulated_cluster import SimulatedCluster, SimulatedFetcher
from tests.support.simulated_log import SimulatedLog

from kafkeep.capture import plan as planning
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup, follow
from kafkeep.capture.tombstones import Evidence, evidence_of
from kafkeep.cluster_reading import delete_retention_ms
from kafkeep.errors import KafkaAccessDenied
from kafkeep.events import Event, Warned
from kafkeep.kafka.wire.describe_configs import ConfigEntry
from kafkeep.kafka.wire.records import Record
from kafkeep.model import Generation, RecoveryPoint
from kafkeep.repository.drafts import Draft, PointDraft

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEPT = 10 * HOUR


class Site:
    """A cluster with one compacted topic, a repository, and a clock to turn."""

    def __init__(self, **configs: str) -> None:
        self.cluster = SimulatedCluster("source")
        kept_ms = int(KEPT.total_seconds() * 1000)
        defaults = {"cleanup.policy": "compact", "delete.retention.ms": str(kept_ms)}
        self.topic = self.cluster.add_topic("orders", configs=defaults | configs)
        self.repository = new_repository()
        self.time = START

    @property
    def log(self) -> SimulatedLog:
        return self.cluster.log(ORDERS)

    def put(self, key: str, value: str | None) -> None:
        text = None if value is None else value.encode()
        self.log.append([Record(0, 1_700_000_000_000, key.encode(), text, ())])

    def clean(self) -> None:
        """What the cleaner leaves after all tombstones have had their time: the last value of every key."""
        last = {item.key: item for entry in self.log.entries for item in entry.records}
        self.log.compact(
            lambda item: last[item.key].offset == item.offset and item.value is not None, below=self.log.end
        )

    def back_up(self, sink: Any = None, **options: Any) -> BackupResult:
        heard = Heard() if sink is None else sink
        return backup(as_cluster(self.cluster), self.repository, BackupOptions(**options), now=self.now, sink=heard)

    def now(self) -> datetime:
        return self.time

    def keys(self, point: RecoveryPoint | None) -> dict[bytes | None, bytes | None]:
        """What a consumer that keeps the newest value of every key holds in the end."""
        (records,) = stored(self.repository, point).values()
        table = {item.key: item.value for item in records}
        return {key: value for key, value in table.items() if value is not None}


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def site() -> Site:
    return Site()


def delete_unseen(site: Site, *, after: timedelta) -> tuple[BackupResult, BackupResult]:
    """A key is backed up, deleted, its tombstone cleaned away, and another key written before the next backup."""
    site.put("gone", "1")
    site.put("kept", "1")
    first = site.back_up()
    site.put("gone", None)
    site.time += after
    site.put("other", "1")
    site.clean()
    return first, site.back_up()


def test_a_key_whose_tombstone_was_never_seen_does_not_come_back(site: Site) -> None:
    first, second = delete_unseen(site, after=KEPT)
    assert site.keys(second.point) == {b"kept": b"1", b"other": b"1"}
    assert [(o.generation.lineage, o.start, o.why) for o in second.opened] == [(1, 0, "tombstones-unseen")]
    assert [(c.generation.lineage, c.why) for c in second.closed] == [(0, "tombstones-unseen")]
    assert second.gaps == second.failures == ()
    assert site.keys(first.point) == {b"gone": b"1", b"kept": b"1"}, "what was restorable stays so"


def test_without_the_rule_the_key_comes_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_may_lack_tombstones", lambda *_: False)
    _, second = delete_unseen(site, after=KEPT)
    assert site.keys(second.point)[b"gone"] == b"1"


def test_in_time_only_what_is_new_is_read(site: Site) -> None:
    site.put("a", "1")
    site.back_up()
    site.put("a", None)
    site.time += KEPT - timedelta(milliseconds=1)
    result = site.back_up()
    assert (result.records, result.opened) == (1, ())
    assert site.keys(result.point) == {}


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete, compact"])
def test_every_policy_with_compaction_counts(policy: str) -> None:
    _, second = delete_unseen(site := Site(**{"cleanup.policy": policy}), after=KEPT)
    assert b"gone" not in site.keys(second.point)


def test_other_topics_are_read_on_however_long_ago(site: Site) -> None:
    site.topic.configs["cleanup.policy"] = "delete"
    site.put("a", "1")
    site.back_up()
    site.put("b", "1")
    site.time += 100 * KEPT
    result = site.back_up()
    assert (result.records, result.opened) == (1, ())


def test_a_warning_names_the_topics_that_are_read_anew(site: Site) -> None:
    heard = Heard()
    site.put("a", "1")
    site.back_up()
    site.put("b", "1")
    site.time += KEPT
    site.back_up(heard)
    (warning,) = heard.of(Warned)
    assert "orders" in warning.message and "delete.retention.ms" in warning.hint


def test_nothing_is_read_anew_while_nothing_was_written(site: Site) -> None:
    site.put("a", "1")
    site.back_up()
    site.time += 3 * KEPT
    result = site.back_up()
    assert (result.records, result.opened, result.failures) == (0, (), ())


def test_a_resting_topic_gets_its_evidence_renewed_by_a_point(site: Site) -> None:
    site.put("a", "1")
    site.back_up()
    site.time += KEPT / 2 - HOUR
    assert site.back_up().nothing_new, "still young"
    site.time += HOUR
    renewed = site.back_up()
    assert renewed.point is not None and (renewed.records, renewed.packs) == (0, 0)
    assert site.back_up().nothing_new
    site.put("b", "1")
    site.time += KEPT - HOUR
    assert site.back_up().opened == ()


def test_a_following_backup_renews_it_too(site: Site) -> None:
    site.put("a", "1")
    stop = threading.Event()
    rounds = 0

    def now() -> datetime:
        return site.time

    def sink(event: Event) -> None:
        nonlocal rounds
        if event.type == "stage" and getattr(event, "name", "") == "positions":
            rounds += 1
            site.time += HOUR
            if rounds == 30:
                stop.set()

    options = BackupOptions()
    result = follow(
        as_cluster(site.cluster), site.repository, options, interval_seconds=0, now=now, sink=sink, stop=stop
    )
    assert 4 <= len(result.points) <= 8, result.points
    assert not any(known.generation.lineage for known in site.repository.state.generations.values())


class Slow(SimulatedFetcher):
    """Takes its time."""

    site: Site

    def receive(self) -> Any:
        self.site.time += KEPT
        return super().receive()


def make_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Slow.site = site
    monkeypatch.setattr(site.cluster, "fetcher", lambda broker, **more: Slow(site.cluster, broker.node_id, **more))


def test_what_was_read_too_slowly_is_a_failure_and_read_anew_the_next_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("a", "1")
    with monkeypatch.context() as slowly:
        make_slow(site, slowly)
        result = site.back_up()
    assert [(failure.subject, failure.reason) for failure in result.failures] == [("orders/0", "TOMBSTONES")]
    assert result.point is not None and not result.point.complete and result.point.failures == result.failures
    again = site.back_up()
    assert [(o.generation.lineage, o.why) for o in again.opened] == [(1, "tombstones-unseen")]
    assert again.failures == () and again.point is not None and again.point.complete
    site.put("b", "1")
    assert site.back_up().opened == ()


def test_a_slow_increment_counts_from_the_backup_it_adds_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("a", "1")
    site.back_up()
    site.time += HOUR
    site.put("b", "1")
    make_slow(site, monkeypatch)
    assert [failure.reason for failure in site.back_up().failures] == ["TOMBSTONES"]


def test_a_partition_in_doubt_stays_so_whatever_a_later_point_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backups at once: one was too slow, the other knows nothing of that and commits behind it."""
    site.put("a", "1")
    make_slow(site, monkeypatch)
    point = site.back_up().point
    assert point is not None and point.failures
    draft = PointDraft(cuts=point.cuts)
    site.repository.commit(
        Draft(kind="recovery-point", cluster_id=point.cluster_id, started=point.started, point=draft)
    )
    generation = point.cuts[0].generation
    assert not evidence_of(site.repository.state, [generation])[generation].sound


def test_after_an_interrupted_backup_the_time_counts_from_the_last_point(site: Site) -> None:
    """Its commits say how far it read; what lies behind may be older than its beginning."""
    site.put("a", "1")
    site.back_up()
    site.time += HOUR
    site.put("b", "1")
    stop = threading.Event()

    def sink(event: Event) -> None:
        if event.type == "partition-done":
            stop.set()

    result = backup(as_cluster(site.cluster), site.repository, BackupOptions(), now=site.now, sink=sink, stop=stop)
    assert result.interrupted and result.records == 1
    (known,) = site.repository.state.generations.values()
    evidence = evidence_of(site.repository.state, [known.generation])[known.generation]
    assert (evidence.since, evidence.stop, known.next_offset) == (START, 1, 2)
    site.time = START + KEPT
    assert [o.why for o in site.back_up().opened] == ["tombstones-unseen"], "nothing new, but never proven"


def test_without_a_point_the_time_counts_from_the_opening(site: Site) -> None:
    site.put("a", "1")
    stop = threading.Event()
    stop.set()
    backup(as_cluster(site.cluster), site.repository, BackupOptions(), now=site.now, stop=stop)
    (known,) = site.repository.state.generations.values()
    assert evidence_of(site.repository.state, [known.generation])[known.generation] == Evidence(START, 0)


def test_a_cut_below_the_last_stable_offset_is_no_evidence(site: Site) -> None:
    site.put("a", "1")
    point = site.back_up().point
    assert point is not None
    site.put("b", "1")
    site.time += HOUR
    site.cluster.fetch_faults.extend(["refused once"] * 20)
    failed = site.back_up()
    assert failed.point is not None and failed.failures
    generation = Generation("orders", site.topic.topic_id, 0)
    assert evidence_of(site.repository.state, [generation])[generation].since == START


def test_a_failing_partition_is_not_renewed_over_and_over(site: Site) -> None:
    site.put("a", "1")
    site.back_up()
    site.put("b", "1")
    site.time += KEPT / 2
    site.cluster.fetch_faults.extend(["refused once"] * 20)
    assert site.back_up().point is not None
    site.cluster.fetch_faults.clear()
    site.cluster.fetch_faults.extend(["refused once"] * 20)
    assert site.back_up().point is None


def test_a_log_start_beyond_the_position_is_a_gap_and_needs_no_second_reading(site: Site) -> None:
    """The point begins at the log start: nothing from before, deleted or not, is in it."""
    site.put("gone", "1")
    site.back_up()
    site.put("gone", None)
    site.put("kept", "1")
    site.log.delete_records(2)
    site.time += KEPT
    result = site.back_up()
    assert [(gap.offsets.start, gap.offsets.stop) for gap in result.gaps] == [(1, 2)]
    assert result.opened == () and site.keys(result.point) == {b"kept": b"1"}


def test_settings_that_cannot_be_read_are_taken_for_compaction(site: Site) -> None:
    site.cluster.admin.refused_configs["orders"] = KafkaAccessDenied("not allowed to describe the settings")
    _, second = delete_unseen(site, after=24 * HOUR)
    assert b"gone" not in site.keys(second.point)
    (failure,) = second.failures
    assert failure.subject == "configs of orders" and "treated as if it were" in failure.message


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"cleanup.policy": "delete", "delete.retention.ms": "5"}, None),
        ({"cleanup.policy": ""}, None),
        ({"cleanup.policy": "compact", "delete.retention.ms": "5"}, 5),
        ({"cleanup.policy": "delete,compact", "delete.retention.ms": "0"}, 0),
        ({"cleanup.policy": "compact"}, 86_400_000),
        ({}, 86_400_000),
    ],
)
def test_how_long_tombstones_stay(settings: dict[str, str], kept: int | None) -> None:
    assert delete_retention_ms([ConfigEntry(name, value, 5, False, False) for name, value in settings.items()]) == kept


@pytest.mark.parametrize(
    ("age_ms", "holds", "ageing"),
    [
        (0, True, False),
        (499, True, False),
        (500, True, True),
        (999, True, True),
        (1000, False, True),
        (-1000, False, True),
    ],
)
def test_evidence_ages(age_ms: int, holds: bool, ageing: bool) -> None:
    evidence = Evidence(START, 7)
    now = START + timedelta(milliseconds=age_ms)
    assert (evidence.holds(now, 1000), evidence.is_ageing(now, 1000)) == (holds, ageing)
    assert not Evidence(START, 7, sound=False).holds(START, 1000)


def test_with_no_time_at_all_every_backup_with_news_reads_anew() -> None:
    site = Site(**{"delete.retention.ms": "0"})
    site.put("a", "1")
    assert [failure.reason for failure in site.back_up().failures] == ["TOMBSTONES"]
