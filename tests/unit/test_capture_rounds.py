"""Whole backups of a simulated cluster: increments, gaps, generations, other writers, and rounds without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    another,
    as_cluster,
    back_up,
    new_repository,
    now,
    stored,
    values,
)
from tests.support.simulated_cluster import SimulatedCluster, SimulatedFetcher
from tests.support.simulated_log import COMMIT, SimulatedLog, record

from kafkeep.capture import reading
from kafkeep.capture.options import BackupOptions
from kafkeep.capture.result import BackupResult
from kafkeep.capture.run import backup, follow
from kafkeep.errors import KafkaLoginError, KafkaUnreachable, NothingToDo, StoreFull, WrongCluster
from kafkeep.events import GapFound, GenerationChanged, Warned
from kafkeep.model import GroupOffset, OffsetRange, TopicPartition
from kafkeep.repository.documents import cluster_metadata_from_json
from kafkeep.repository.drafts import CommitOutcome, Draft
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2)
    return cluster


@pytest.fixture
def repository() -> Repository:
    return new_repository()


def add(log: SimulatedLog, *texts: str) -> None:
    for text in texts:
        log.append([record(text.encode())])


def objects(repository: Repository) -> dict[str, bytes]:
    store = repository.store
    assert isinstance(store, MemoryStore)
    return dict(store.objects)


def test_the_second_backup_reads_only_what_is_new(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b")
    first = back_up(source, repository)
    add(log, "c")
    second = back_up(source, repository)
    assert (first.records, second.records) == (2, 1)
    assert values(repository, first.point) == {0: [b"a", b"b"], 1: []}
    assert values(repository, second.point) == {0: [b"a", b"b", b"c"], 1: []}
    assert second.opened == second.closed == second.gaps == ()
    assert {change.why for change in first.opened} == {"first-seen"}


def test_nothing_new_makes_no_object(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")
    back_up(source, repository)
    before = objects(repository)
    assert back_up(source, repository).nothing_new
    assert objects(repository) == before


def test_a_new_name_or_tag_makes_a_point_of_what_is_there_and_the_same_one_does_not(
    source: SimulatedCluster, repository: Repository
) -> None:
    add(source.log(ORDERS), "a")
    back_up(source, repository)
    named = back_up(source, repository, name="before the release")
    assert named.point is not None and named.point.name == "before the release"
    assert back_up(source, repository, name="before the release").nothing_new
    assert back_up(source, repository).nothing_new
    assert back_up(source, repository, tags=(("why", "test"),)).point is not None


def test_a_moved_position_is_something_new(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")
    source.groups["readers"] = [GroupOffset(ORDERS, 0, 2, "")]
    back_up(source, repository)
    source.groups["readers"] = [GroupOffset(ORDERS, 1, 2, "there")]
    point = back_up(source, repository).point
    assert point is not None
    document = cluster_metadata_from_json(repository.document("metadata", dict(point.documents)["metadata"]))
    assert [group.offsets for group in document.groups] == [(GroupOffset(ORDERS, 1, 2, "there"),)]


def test_a_moved_log_start_is_something_new(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c")
    back_up(source, repository)
    log.delete_records(2)
    result = back_up(source, repository)
    assert result.gaps == () and result.point is not None
    assert values(repository, result.point)[0] == [b"c"]
    assert values(repository, repository.point("1"))[0] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("configs", "reason"),
    [
        ({}, "retention"),
        ({"retention.ms": "-1"}, "delete-records"),
        ({"retention.ms": "-1", "retention.bytes": "1000"}, "retention"),
        ({"cleanup.policy": "compact"}, "delete-records"),
        ({"cleanup.policy": "compact,delete"}, "retention"),
    ],
)
def test_what_the_log_start_overtook_unread_is_a_gap(
    source: SimulatedCluster, repository: Repository, configs: dict[str, str], reason: str
) -> None:
    source.topics["orders"].configs.update(configs)
    log = source.log(ORDERS)
    add(log, "a")
    back_up(source, repository)
    add(log, "b", "c", "d")
    log.delete_records(3)
    heard = Heard()
    result = backup(as_cluster(source), repository, BackupOptions(), now=now, sink=heard)
    assert [(gap.offsets, gap.reason) for gap in result.gaps] == [(OffsetRange(1, 3), reason)]
    assert [event.gap for event in heard.of(GapFound)] == list(result.gaps)
    assert result.point is not None
    (known,) = [known for known in repository.state.generations.values() if known.gaps]
    assert known.generation.topic_partition == ORDERS and known.next_offset == 4
    assert values(repository, result.point)[0] == [b"d"]
    assert back_up(source, repository).nothing_new


def test_a_log_start_that_moves_while_the_backup_runs_becomes_a_gap(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c", "d")
    before_the_first_answer(source, lambda: log.delete_records(3))
    result = back_up(source, repository)
    assert [gap.offsets for gap in result.gaps] == [OffsetRange(0, 3)]
    assert values(repository, result.point)[0] == [b"d"]
    assert result.failures == ()


def before_the_first_answer(cluster: SimulatedCluster, change: Callable[[], None]) -> None:
    """`change` happens after the survey, when the first fetch arrives."""
    changed = threading.Event()
    make = cluster.fetcher

    def fetcher(*args: Any, **options: Any) -> SimulatedFetcher:
        if not changed.is_set():
            changed.set()
            change()
        return make(*args, **options)

    cluster.fetcher = fetcher  # type: ignore[method-assign]


def test_what_comes_too_late_out_of_a_remote_tier_is_not_taken_for_nothing(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c")
    log.local_start = 2
    source.fetch_faults.extend(["too late"] * 10)
    assert values(repository, back_up(source, repository).point)[0] == [b"a", b"b", b"c"]


def test_a_recreated_topic_opens_a_generation_and_the_old_point_stays(
    source: SimulatedCluster, repository: Repository
) -> None:
    add(source.log(ORDERS), "old 1", "old 2", "old 3")
    old = back_up(source, repository).point
    del source.topics["orders"]
    source.add_topic("orders", 1)
    add(source.log(ORDERS), "new")
    result = back_up(source, repository)
    assert [change.why for change in result.opened] == ["recreated"]
    assert sorted((change.generation.partition, change.why) for change in result.closed) == [
        (0, "recreated"),
        (1, "deleted"),
    ]
    assert values(repository, result.point) == {0: [b"new"]}
    assert values(repository, old) == {0: [b"old 1", b"old 2", b"old 3"], 1: []}


def test_partitions_that_a_recreated_topic_lacks_are_closed_too(
    source: SimulatedCluster, repository: Repository
) -> None:
    """A topic with fewer partitions than before leaves no generation open that nobody can ever read again."""
    back_up(source, repository)
    del source.topics["orders"]
    source.add_topic("orders", 1)
    back_up(source, repository)
    still_open = [known.generation for known in repository.state.generations.values() if known.open]
    assert [(generation.partition, generation.topic_id) for generation in still_open] == [
        (0, source.topics["orders"].topic_id)
    ]


def test_a_deleted_topic_is_closed_and_the_next_point_does_without_it(
    source: SimulatedCluster, repository: Repository
) -> None:
    source.add_topic("bills")
    add(source.log(ORDERS), "a")
    back_up(source, repository)
    del source.topics["orders"]
    result = back_up(source, repository)
    assert {(change.generation.topic, change.why) for change in result.closed} == {("orders", "deleted")}
    assert result.point is not None
    assert {cut.generation.topic for cut in result.point.cuts} == {"bills"}
    assert back_up(source, repository).nothing_new


def test_a_topic_deleted_while_the_backup_runs_is_closed(source: SimulatedCluster, repository: Repository) -> None:
    source.add_topic("bills")
    add(source.log(TopicPartition("bills", 0)), "b")
    add(source.log(ORDERS), "a")
    before_the_first_answer(source, lambda: source.topics.pop("orders") and None)
    heard = Heard()
    result = backup(as_cluster(source), repository, BackupOptions(), now=now, sink=heard)
    assert result.failures == ()
    assert values(repository, result.point, "bills") == {0: [b"b"]}
    assert result.point is not None
    assert {cut.generation.topic for cut in result.point.cuts} == {"bills"}
    assert {event.change.why for event in heard.of(GenerationChanged)} == {"deleted"}


def test_a_topic_recreated_while_the_backup_runs_is_read_as_the_new_one(
    source: SimulatedCluster, repository: Repository
) -> None:
    add(source.log(ORDERS), "old", "old too")

    def recreate() -> None:
        del source.topics["orders"]
        source.add_topic("orders", 2)
        add(source.log(ORDERS), "new")

    before_the_first_answer(source, recreate)
    result = back_up(source, repository)
    assert result.failures == ()
    assert values(repository, result.point) == {0: [b"new"], 1: []}


def test_a_lost_history_opens_a_generation(source: SimulatedCluster, repository: Repository) -> None:
    """An unclean election: what was stored is history of another leader, the new log is longer already."""
    log = source.log(ORDERS)
    add(log, "a", "b", "c")
    old = back_up(source, repository).point
    log.truncate(1)
    add(log, "B", "C", "D")
    result = back_up(source, repository)
    assert [(change.generation.lineage, change.why) for change in result.opened] == [(1, "truncated")]
    assert values(repository, result.point)[0] == [b"a", b"B", b"C", b"D"]
    assert values(repository, old)[0] == [b"a", b"b", b"c"]
    assert back_up(source, repository).nothing_new


def test_a_shorter_log_was_truncated(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c")
    back_up(source, repository)
    log.truncate(1)
    result = back_up(source, repository)
    assert [change.why for change in result.opened] == ["truncated"]
    assert values(repository, result.point)[0] == [b"a"]


def test_what_a_new_leader_has_lost_before_it_was_read_ends_the_cut_early(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c")
    before_the_first_answer(source, lambda: log.truncate(2))
    result = back_up(source, repository)
    assert result.failures == ()
    assert values(repository, result.point)[0] == [b"a", b"b"]


def test_an_open_transaction_ends_the_cut_until_it_is_decided(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    add(log, "a")
    log.append([record(b"tx")], producer_id=7, transactional=True)
    add(log, "b")
    assert values(repository, back_up(source, repository).point)[0] == [b"a"]
    log.decide(7, COMMIT)
    assert values(repository, back_up(source, repository).point)[0] == [b"a", b"tx", b"b"]


def test_up_to_the_high_watermark_an_undecided_record_counts_only_once_it_is_decided(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    log.append([record(b"tx")], producer_id=7, transactional=True)
    add(log, "b")
    first = back_up(source, repository, cut="high-watermark").point
    assert values(repository, first)[0] == [b"b"]
    log.decide(7, COMMIT)
    second = back_up(source, repository, cut="high-watermark").point
    assert values(repository, second)[0] == [b"tx", b"b"]
    assert values(repository, first)[0] == [b"b"]


def test_a_partition_that_cannot_be_read_is_a_failure_and_the_rest_is_kept(
    source: SimulatedCluster, repository: Repository
) -> None:
    for partition in (0, 1):
        add(source.log(TopicPartition("orders", partition)), "a", "b")
    spoiled = source.log(ORDERS).entries[1]
    spoiled.data = spoiled.data[:-1] + b"\xff"
    result = back_up(source, repository)
    assert [(failure.subject, failure.reason) for failure in result.failures] == [("orders/0", "corrupt-batch")]
    assert result.point is not None and not result.point.complete
    assert values(repository, result.point) == {0: [b"a"], 1: [b"a", b"b"]}


def test_a_broker_that_never_answers_is_given_up_by_name(source: SimulatedCluster, repository: Repository) -> None:
    for partition in (0, 1):
        add(source.log(TopicPartition("orders", partition)), "a")
    make = source.fetcher

    def fetcher(broker: Any, **options: Any) -> SimulatedFetcher:
        if broker.node_id == source.topics["orders"].leaders[0]:
            raise KafkaUnreachable("nobody there")
        return make(broker, **options)

    source.fetcher = fetcher  # type: ignore[method-assign]
    result = back_up(source, repository, attempts=3)
    assert [(failure.subject, failure.message) for failure in result.failures] == [("orders/0", "nobody there")]
    assert values(repository, result.point) == {0: [], 1: [b"a"]}


def test_a_refused_login_is_no_reason_to_try_again(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")

    def fetcher(broker: Any, **options: Any) -> SimulatedFetcher:
        raise KafkaLoginError("wrong password")

    source.fetcher = fetcher  # type: ignore[method-assign]
    with pytest.raises(KafkaLoginError):
        back_up(source, repository)


def test_topics_named_exactly_must_exist(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")
    result = back_up(source, repository, topics=("orders", "bills"))
    assert [(failure.subject, failure.reason) for failure in result.failures] == [
        ("bills", "UNKNOWN_TOPIC_OR_PARTITION")
    ]
    assert values(repository, result.point)[0] == [b"a"]


def test_internal_topics_only_when_named(source: SimulatedCluster, repository: Repository) -> None:
    source.add_topic("__consumer_offsets")
    assert {cut.generation.topic for cut in back_up(source, repository).point.cuts} == {"orders"}  # type: ignore[union-attr]
    point = back_up(source, repository, topics=("__consumer_offsets",)).point
    assert point is not None and {cut.generation.topic for cut in point.cuts} == {"__consumer_offsets"}


def test_no_topic_at_all_is_nothing_to_do(source: SimulatedCluster, repository: Repository) -> None:
    with pytest.raises(NothingToDo, match="nosuch"):
        back_up(source, repository, topics=("nosuch*",))


def test_another_cluster_is_refused(source: SimulatedCluster, repository: Repository) -> None:
    back_up(source, repository)
    other = SimulatedCluster("other")
    other.add_topic("orders")
    with pytest.raises(WrongCluster):
        back_up(other, repository)


# --- other writers


def racing(source: SimulatedCluster, repository: Repository, rival: Callable[[Repository], None]) -> BackupResult:
    """A backup during which another writer gets in after the survey."""
    other = another(repository)
    before_the_first_answer(source, lambda: rival(other))
    return back_up(source, repository)


def test_a_writer_that_was_faster_leaves_nothing_to_commit_but_the_point(
    source: SimulatedCluster, repository: Repository
) -> None:
    add(source.log(ORDERS), "a", "b")
    result = racing(source, repository, lambda other: assert_point(back_up(source, other)))
    assert result.records == 0 and result.failures == ()
    assert values(repository, result.point)[0] == [b"a", b"b"]
    assert [known.next_offset for known in repository.state.generations.values()] == [2, 0]


def assert_point(result: BackupResult) -> None:
    assert result.point is not None


def test_a_writer_that_got_only_half_as_far_does_not_shorten_the_point(
    source: SimulatedCluster, repository: Repository
) -> None:
    """Its commit takes the place of ours; what it lacks is read again, up to our own cut."""
    log = source.log(ORDERS)
    add(log, "a", "b", "c", "d")

    def rival(other: Repository) -> None:
        kept, log.entries, end = log.entries, log.entries[:2], log.end
        log.end = 2
        assert_point(back_up(source, other))
        log.entries, log.end = kept, end

    result = racing(source, repository, rival)
    assert values(repository, result.point)[0] == [b"a", b"b", b"c", b"d"]
    assert result.failures == ()
    (known, _) = repository.state.generations.values()
    assert [run.coverage for run in known.runs] == [OffsetRange(0, 2), OffsetRange(2, 4)]


def test_the_same_with_commits_at_intervals(source: SimulatedCluster, repository: Repository) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b", "c", "d")
    other = another(repository)

    def rival() -> None:
        kept, log.entries, end = log.entries, log.entries[:3], log.end
        log.end = 3
        assert_point(back_up(source, other))
        log.entries, log.end = kept, end

    before_the_first_answer(source, rival)
    result = back_up(source, repository, commit_interval_seconds=0.0, pack_bytes=1, fetch_bytes=150)
    assert values(repository, result.point)[0] == [b"a", b"b", b"c", b"d"]
    assert result.failures == ()


def test_large_clusters_are_committed_in_several_pieces(
    source: SimulatedCluster, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_PIECES", 10)
    source.add_topic("many", 25)
    for partition in range(25):
        add(source.log(TopicPartition("many", partition)), "x")
    opened: list[int] = []
    commit = repository.commit

    def counted(draft: Draft) -> CommitOutcome:
        opened.append(len(draft.opened))
        return commit(draft)

    monkeypatch.setattr(repository, "commit", counted)
    result = back_up(source, repository)
    assert result.point is not None and len(result.point.cuts) == 27
    assert result.point.number > 2 and sum(opened) == 27 and max(opened) <= 10
    assert all(len(records) == 1 for records in values(repository, result.point, "many").values())


# --- rounds


class Script:
    """A stop event that is set when the script is at its end; each wait between rounds takes the next step."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = list(steps)
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float | None = None) -> bool:
        if timeout:
            if self._steps:
                self._steps.pop(0)()
            else:
                self._set = True
        return self._set


def followed(source: SimulatedCluster, repository: Repository, *steps: Callable[[], None], **options: Any) -> Any:
    heard = Heard()
    result = follow(
        as_cluster(source),
        repository,
        BackupOptions(**options),
        interval_seconds=30,
        now=now,
        sink=heard,
        stop=Script(*steps),  # type: ignore[arg-type]
    )
    return result, heard


def test_rounds_find_new_records_topics_and_partitions(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")

    def more() -> None:
        add(source.log(ORDERS), "b")

    def new_topic() -> None:
        add(source.add_topic("bills").logs[0], "c")

    def new_partition() -> None:
        topic = source.topics["orders"]
        topic.logs.append(SimulatedLog())
        topic.leaders.append(0)
        add(topic.logs[2], "d")

    result, _ = followed(source, repository, more, new_topic, new_partition, lambda: None)
    assert (result.rounds, len(result.points), result.records, result.gaps) == (5, 4, 4, ())
    point = repository.point("latest")
    assert values(repository, point) == {0: [b"a", b"b"], 1: [], 2: [b"d"]}
    assert values(repository, point, "bills") == {0: [b"c"]}


def test_idle_rounds_make_no_object_even_with_a_name(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")
    sizes: list[int] = []
    steps = [lambda: sizes.append(len(objects(repository)))] * 4
    result, _ = followed(source, repository, *steps, name="nightly")
    assert (result.rounds, len(result.points)) == (5, 1)
    assert len(set(sizes)) == 1


def test_rounds_wait_for_a_first_topic(repository: Repository) -> None:
    source = SimulatedCluster("source")
    result, heard = followed(source, repository, lambda: add(source.add_topic("orders").logs[0], "a"))
    assert (result.rounds, len(result.points)) == (1, 1)
    assert [event.message for event in heard.of(Warned)] == ["no topic matches the selection yet"]


def test_a_round_that_fails_for_a_passing_reason_is_told_and_tried_again(
    source: SimulatedCluster, repository: Repository
) -> None:
    add(source.log(ORDERS), "a")
    topology = source.topology
    source.topology = lost  # type: ignore[method-assign]

    def back() -> None:
        source.topology = topology  # type: ignore[method-assign]

    result, heard = followed(source, repository, back)
    assert (result.rounds, len(result.points)) == (1, 1)
    assert "nobody there" in heard.of(Warned)[0].message


def lost(topics: object = None) -> Any:
    raise KafkaUnreachable("nobody there")


def test_a_round_that_fails_for_good_ends_the_following(source: SimulatedCluster, repository: Repository) -> None:
    add(source.log(ORDERS), "a")

    def full() -> Any:
        raise StoreFull("no room")

    repository.store.open_new = full  # type: ignore[method-assign]
    with pytest.raises(StoreFull):
        followed(source, repository)


def test_failures_of_the_last_round_count_and_earlier_ones_do_not(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    add(log, "a", "b")
    whole = log.entries[1].data
    log.entries[1].data = whole[:-1] + b"\xff"

    def mend() -> None:
        log.entries[1].data = whole

    broken, _ = followed(source, repository)
    assert len(broken.failures) == 1
    mended, _ = followed(source, repository, mend)
    assert mended.failures == ()
    assert stored(repository, repository.point("latest")).popitem() is not None
    assert values(repository, repository.point("latest"))[0] == [b"a", b"b"]


def test_a_stop_in_the_middle_commits_what_was_read_and_makes_no_point(
    source: SimulatedCluster, repository: Repository
) -> None:
    log = source.log(ORDERS)
    add(log, *"abcdefgh")
    stop = threading.Event()
    make = source.fetcher

    def fetcher(*args: Any, **options: Any) -> SimulatedFetcher:
        made = make(*args, **options)
        receive = made.receive

        def counted() -> Any:
            if source.requests >= 3:
                stop.set()
            return receive()

        made.receive = counted  # type: ignore[method-assign]
        return made

    source.fetcher = fetcher  # type: ignore[method-assign]
    result = backup(as_cluster(source), repository, BackupOptions(fetch_bytes=1), now=now, stop=stop)
    assert result.interrupted and result.point is None and not result.nothing_new
    reached = max(known.next_offset for known in repository.state.generations.values())
    assert 0 < reached < 8
    source.fetcher = make  # type: ignore[method-assign]
    again = back_up(source, repository)
    assert again.records == 8 - reached
    assert values(repository, again.point)[0] == [bytes([each]) for each in b"abcdefgh"]
