"""C10, S5: more than one writer on a repository, and writes that arrive late. Nothing twice, nothing missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster, create_topic, produce, produce_transaction, read_committed, unique
from tests.support.oracle import assert_whole, check_log, contents, orphans
from tests.support.oracle_load import samples
from tests.support.sweep import Scene, copy_of, now, open_repository
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import ObjectExists, StoreUnavailable
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.wrappers import WrappedStore

pytestmark = pytest.mark.integration


@pytest.mark.fault("C10")
@pytest.mark.timeout(1800)
def test_c10_two_backups_at_once_on_one_repository(kafka_431: KafkaCluster, tmp_path: Path, fault: Figures) -> None:
    """Two processes, every round with new records and the same start: both end well, each record is there once."""
    topics = {unique("two.plain"): 4, unique("two.tx"): 2}
    plain, transactional = topics
    for topic, partitions in topics.items():
        create_topic(kafka_431.client_properties, topic, partitions=partitions)
    repository = tmp_path / "repository"
    writers = [Kafkeep(tmp_path / "one"), Kafkeep(tmp_path / "two")]
    writers[0]("init", "--repo", str(repository), "--compression", "none").expect(0)
    given = ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--topics", ",".join(topics)]
    statuses: list[tuple[int, ...]] = []
    least = fault.count(quick=4, full=80)
    while len(statuses) < least or (not orphans(LocalStore(repository)) and len(statuses) < 4 * least):
        number = len(statuses)
        produce(kafka_431.client_properties, plain, samples(2500, partitions=4, size=800, seed=number))
        records = samples(40, partitions=2, seed=number)
        produce_transaction(
            kafka_431.client_properties, transactional, records, transactional_id=transactional, commit=number % 3 > 0
        )
        with ExitStack() as stack:
            both = [stack.enter_context(writer.started(*given, "--pack-size", "1MiB")) for writer in writers]
            ended = [running.end()["exit_code"] for running in both]
        statuses.append(tuple(ended))
        assert set(ended) <= {0, 4}, ended
        assert 0 in ended
        check_log(LocalStore(repository))
    assert_whole(open_repository(LocalStore(repository)))
    state = open_repository(LocalStore(repository)).state
    rounds = len(statuses)
    raced = len(orphans(LocalStore(repository)))
    print(f"{rounds} rounds, {state.head} commits, {raced} packs came second, statuses {statuses}")
    assert raced > 0, "in some rounds both must have read the same records"
    points = contents(open_repository(LocalStore(repository)))
    assert len(points) >= rounds
    fault.figures(rounds=rounds, packs_in_vain=raced)
    writers[0](
        "restore", "latest", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--rename", "s/^/twice-/",
        "--groups", "none",
    ).expect(0)  # fmt: skip
    for topic in topics:
        source = read_committed(kafka_431.client_properties, topic)
        assert read_committed(kafka_431.client_properties, f"twice-{topic}") == source
    assert writers[1](*given).status == 4


@pytest.mark.fault("C10")
def test_c10_two_creations_at_once_make_one_repository(tmp_path: Path, fault: Figures) -> None:
    writers = [Kafkeep(tmp_path / "one"), Kafkeep(tmp_path / "two")]
    rounds = fault.count(quick=3, full=20)
    fault.figures(rounds=rounds)
    for number in range(rounds):
        place = tmp_path / f"repository-{number}"
        with ExitStack() as stack:
            both = [stack.enter_context(writer.started("init", "--repo", str(place))) for writer in writers]
            ended = [running.end() for running in both]
        made = [last for last in ended if last["exit_code"] == 0]
        refused = [last for last in ended if last["exit_code"] == 2]
        assert len(made) >= 1 and len(made) + len(refused) == 2
        assert {last["slug"] for last in refused} <= {"repository-exists"}
        assert {last["id"] for last in made} == {open_repository(LocalStore(place)).id}


class LateStore(WrappedStore):
    """The first creation of a commit gets no answer, and arrives only after `calls` more creations or uploads; the
    others pass.
    """

    def __init__(self, inner: Store, calls: int) -> None:
        super().__init__(inner)
        self._left = calls
        self._arrive: Callable[[], None] | None = None
        self.arrived = ""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if name.startswith("log/") and self._arrive is None:
            copy = bytes(data)
            self._arrive = lambda: self._land(name, copy)
            if self._left == 0:
                self._arrive()
            raise StoreUnavailable(f"no answer to the creation of {name}")
        self._count()
        self.inner.put_new(name, data)
        self._count()

    def _count(self) -> None:
        if self._arrive is not None and not self.arrived:
            self._left -= 1
            if self._left <= 0:
                self._arrive()

    def _land(self, name: str, data: bytes) -> None:
        try:
            self.inner.put_new(name, data)
            self.arrived = "created"
        except ObjectExists:
            self.arrived = "refused"

    def land_now(self) -> None:
        if self._arrive is not None and not self.arrived:
            self._arrive()


@pytest.mark.parametrize("calls", range(6))
@pytest.mark.fault("S5")
def test_s5_commit_arrives_late(scene: Scene, calls: int) -> None:
    """Its own writer has gone on meanwhile: the late one is refused, or it was the commit all along."""
    store = copy_of(scene.old)
    late = LateStore(store, calls)
    result = scene.backup(late)
    assert result.point is not None
    late.land_now()
    assert late.arrived == ("created" if calls < 2 else "refused")  # at once, or just before its own second try
    scene.judge(store)


@pytest.mark.parametrize("lands", ["before the other writer", "after the other writer"])
@pytest.mark.fault("S5")
def test_s5_commit_of_a_dead_writer_arrives_late(scene: Scene, lands: str) -> None:
    """The writer is gone; the next one goes on before or after its last commit arrives."""
    store = copy_of(scene.old)
    late = LateStore(store, 1000)
    first = Repository.open(late, now=now, rng=random.SystemRandom(), pause=give_up)
    with pytest.raises(GaveUp):
        scene.backup_with(first)
    if lands.startswith("before"):
        late.land_now()
        assert late.arrived == "created"
        scene.judge(store)
    else:
        assert scene.backup(store).point is not None
        late.land_now()
        assert late.arrived == "refused"
        scene.judge(store)


class GaveUp(BaseException):
    """The writer dies while it waits to look again."""


def give_up(seconds: float) -> None:
    raise GaveUp
