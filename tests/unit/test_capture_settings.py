"""Settings and permissions in recovery points of a simulated cluster: read by default, named where they cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.operations import (
    ORDERS,
    Heard,
    as_cluster,
    back_up,
    new_repository,
    now,
    put_back,
    values,
)
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.simulated_log import record

from kafkeep.capture.options import BackupOptions
from kafkeep.capture.run import follow
from kafkeep.cli.backup import backup_parts, backup_status
from kafkeep.cli.common import Stop
from kafkeep.cli.restore_text import result_status
from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.errors import KafkaAccessDenied, KafkaError, KafkaLoginError, KafkaProtocolError, KafkaUnreachable
from kafkeep.events import PartFailed
from kafkeep.inventory import Acl, is_of_settings
from kafkeep.kafka.topology import Topology
from kafkeep.metadata.run import image_of_point
from kafkeep.model import RecoveryPoint
from kafkeep.point_documents import INVENTORY, STANDING, inventory_of, needed_inventory_of
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare
from kafkeep.verify.run import verify

ACL = Acl("TOPIC", "orders", "LITERAL", "User:alice", "*", "READ", "ALLOW")
DENIED = KafkaAccessDenied("describe ACLs: CLUSTER_AUTHORIZATION_FAILED (31); this login lacks DESCRIBE on the cluster")


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def source() -> SimulatedCluster:
    cluster = SimulatedCluster("source")
    cluster.add_topic("orders", 2)
    add(cluster, "a")
    return cluster


@pytest.fixture
def repository() -> Repository:
    return new_repository()


def add(cluster: SimulatedCluster, text: str) -> None:
    cluster.log(ORDERS).append([record(text.encode())])


def objects(repository: Repository) -> dict[str, bytes]:
    store = repository.store
    assert isinstance(store, MemoryStore)
    return dict(store.objects)


def made(point: RecoveryPoint | None) -> RecoveryPoint:
    assert point is not None
    return point


def test_a_point_holds_settings_unless_they_are_not_wanted(source: SimulatedCluster, repository: Repository) -> None:
    source.settings.bindings = (ACL,)
    point = made(back_up(source, repository).point)
    assert {name for name, _ in point.documents} >= {INVENTORY, STANDING}
    assert needed_inventory_of(repository, point).acls == (ACL,)
    add(source, "b")
    without = made(back_up(source, repository, settings=False).point)
    assert inventory_of(repository, without) is None and without.complete


def test_a_changed_permission_alone_makes_a_point_and_a_grown_directory_none(
    source: SimulatedCluster, repository: Repository
) -> None:
    back_up(source, repository)
    before = objects(repository)
    assert back_up(source, repository).nothing_new
    assert source.settings.looks == 2, "the directories of the brokers are of another size at every look"
    assert objects(repository) == before
    source.settings.bindings = (ACL,)
    changed = back_up(source, repository)
    assert changed.point is not None and changed.records == 0
    assert back_up(source, repository).nothing_new


def test_records_alone_are_nothing_new_for_a_point_that_holds_settings_too(
    source: SimulatedCluster, repository: Repository
) -> None:
    back_up(source, repository)
    assert back_up(source, repository, settings=False).nothing_new
    other = new_repository()
    back_up(source, other, settings=False)
    assert back_up(source, other).point is not None, "settings are new where there were none"


@pytest.mark.parametrize(
    ("call", "subjects"),
    [
        ("acls", {"acls"}),
        ("quotas", {"quotas"}),
        ("scram_users", {"scram-users"}),
        ("features", {"features"}),
        ("config_resources", {"client-metrics configs", "group configs"}),
        ("configs of cluster", {"configs of cluster"}),
        ("configs of broker 1", {"configs of broker 1"}),
        ("log_dirs", {f"log directories of broker {node}" for node in range(3)}),
        ("quorum", {"quorum"}),
        ("reassignments", {"reassignments"}),
        ("tokens", {"delegation tokens"}),
    ],
)
def test_a_refused_part_is_named_and_the_rest_is_whole(
    source: SimulatedCluster, repository: Repository, call: str, subjects: set[str]
) -> None:
    whole = made(back_up(source, new_repository()).point)
    source.settings.refused[call] = DENIED
    result = back_up(source, repository)
    point = made(result.point)
    assert {failure.subject for failure in point.failures} == subjects
    assert point.failures == result.failures and not point.complete
    assert all(failure.reason == DENIED.slug and "lacks" in failure.message for failure in point.failures)
    assert all(map(is_of_settings, subjects))
    assert values(repository, point) == {0: [b"a"], 1: []}
    assert {name for name, _ in point.documents} == {name for name, _ in whole.documents}
    told = inventory_of(repository, point)
    assert told is not None
    standing_alone = {"log_dirs", "quorum", "reassignments", "tokens"}
    assert set(told.unreadable) == (set() if call in standing_alone else subjects)
    image = image_of_point(repository, point)
    assert set(image.unreadable).isdisjoint(told.unreadable)
    assert {*image.unreadable, *told.unreadable} == subjects


def test_the_same_failure_makes_no_point_of_its_own(source: SimulatedCluster, repository: Repository) -> None:
    source.settings.refused["acls"] = DENIED
    back_up(source, repository)
    source.settings.refused["acls"] = KafkaAccessDenied("the same in other words, after 7 attempts")
    again = back_up(source, repository)
    assert again.nothing_new and again.failures, "nothing new, and still not all of it"
    source.settings.refused.clear()
    assert made(back_up(source, repository).point).complete


@pytest.mark.parametrize("error", [KafkaUnreachable("gone"), KafkaProtocolError("no answer in Kafka's words")])
def test_a_cluster_that_fails_in_one_part_still_gives_its_records(
    source: SimulatedCluster, repository: Repository, error: KafkaError
) -> None:
    source.settings.refused["reassignments"] = error
    result = back_up(source, repository)
    assert [failure.subject for failure in result.failures] == ["reassignments"]
    assert values(repository, result.point)[0] == [b"a"]


def test_a_broker_out_of_reach_is_waited_for_once(source: SimulatedCluster, repository: Repository) -> None:
    source.settings.refused["configs of broker 1"] = KafkaUnreachable("broker 1 is away")
    asked: list[int] = []
    log_dirs = source.settings.log_dirs

    def counted(nodes: list[int]) -> object:
        asked.extend(nodes)
        return log_dirs(nodes)

    source.settings.log_dirs = counted  # type: ignore[method-assign, assignment]
    result = back_up(source, repository)
    assert {failure.subject for failure in result.failures} == {
        "configs of broker 1",
        "log directories of broker 1",
    }
    assert asked == [0, 2]


def test_a_login_that_is_refused_ends_the_backup(source: SimulatedCluster, repository: Repository) -> None:
    source.settings.refused["quotas"] = KafkaLoginError("who are you")
    with pytest.raises(KafkaLoginError):
        back_up(source, repository)


def test_a_cluster_that_went_away_is_not_taken_for_a_refusal(source: SimulatedCluster, repository: Repository) -> None:
    topology = source.topology

    def acls() -> tuple[Acl, ...]:
        source.topology = lost  # type: ignore[method-assign]
        raise KafkaUnreachable("the connection was lost")

    def lost(topics: object = None) -> Topology:
        raise KafkaUnreachable("no broker answered")

    source.settings.acls = acls  # type: ignore[method-assign]
    with pytest.raises(KafkaUnreachable, match="no broker answered"):
        back_up(source, repository)
    source.topology = topology  # type: ignore[method-assign]


class Rounds:
    """A stop event that is set when the steps are used up, one after each round."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = list(steps)
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        if self._steps:
            self._steps.pop(0)()
        else:
            self._set = True
        return self._set


def test_rounds_tell_a_lasting_failure_once_and_store_nothing_more(
    source: SimulatedCluster, repository: Repository
) -> None:
    source.settings.refused["acls"] = DENIED
    heard = Heard()
    counts: list[tuple[int, int]] = []

    def count() -> None:
        counts.append((len(objects(repository)), len(heard.of(PartFailed))))

    def allow() -> None:
        count()
        source.settings.refused.clear()

    def refuse() -> None:
        count()
        source.settings.refused["acls"] = DENIED

    result = follow(
        as_cluster(source),
        repository,
        BackupOptions(),
        interval_seconds=30,
        now=now,
        sink=heard,
        stop=Rounds(count, count, count, allow, refuse, count),  # type: ignore[arg-type]
    )
    assert len(set(counts[:4])) == 1, "four rounds with the same failure: one point, told once"
    assert [told for _, told in counts] == [1, 1, 1, 1, 1, 2]
    assert (result.rounds, len(result.points)) == (7, 3)
    assert [failure.subject for failure in result.failures] == ["acls"]
    told = heard.of(PartFailed)
    assert [(event.subject, event.reason) for event in told] == [("acls", DENIED.slug)] * 2


def incomplete(source: SimulatedCluster, repository: Repository) -> RecoveryPoint:
    source.settings.refused |= {"acls": DENIED, "scram_users": DENIED, "quorum": DENIED}
    return made(back_up(source, repository).point)


def test_records_come_back_from_a_point_that_lacks_permissions(
    source: SimulatedCluster, repository: Repository
) -> None:
    """It is told, and neither refused nor a reason for status 3; `latest` and `@time` mean the point."""
    point = incomplete(source, repository)
    assert repository.point("latest") == repository.point("@2100-01-01T00:00:00Z") == point
    target = SimulatedCluster("target")
    plan = prepare(as_cluster(target), repository, point, RestoreOptions(), now=now)
    assert plan.refusals == () and plan.missing == ()
    (told,) = [warning for warning in plan.warnings if "incomplete" in warning]
    assert "acls (kafka-access-denied)" in told
    result = put_back(target, repository, point)
    assert result.failures == () and result_status(result, Stop()) == 0
    assert compare(as_cluster(source), repository, point, CompareOptions()).identical
    assert verify(repository, level="data").findings == ()


def test_the_command_names_what_is_missing(source: SimulatedCluster, repository: Repository) -> None:
    source.settings.refused["acls"] = DENIED
    result = back_up(source, repository)
    assert backup_status(result, Stop()) == 3
    told = "\n".join(map(str, backup_parts(result)))
    assert "1 failed part" in told and "acls" in told and "--no-settings" in told
    again = back_up(source, repository)
    assert backup_status(again, Stop()) == 3
    assert "holds all of it" not in "\n".join(map(str, backup_parts(again)))


def test_a_topic_called_as_a_part_of_the_settings_is_not_taken_for_it(repository: Repository) -> None:
    source = SimulatedCluster("source")
    source.add_topic("cluster")
    source.admin.refused_configs["cluster"] = DENIED
    point = made(back_up(source, repository).point)
    assert image_of_point(repository, point).unreadable == ("configs of cluster",)
    source.settings.refused["configs of cluster"] = DENIED
    both = made(back_up(source, repository).point)
    assert [failure.subject for failure in both.failures] == ["configs of cluster"] * 2
    image = image_of_point(repository, both)
    assert image.unreadable == image.inventory.unreadable == ("configs of cluster",)
