"""S1, S3, S4: a store that fails, answers late or loses its answers, under whole operations."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.kafka import delete_topics, unique
from tests.support.sweep import Scene, copy_of, no_pause, now, open_repository

from kafkeep.compare.options import CompareOptions
from kafkeep.compare.run import compare
from kafkeep.errors import StoreUnavailable
from kafkeep.events import Event, Retried
from kafkeep.renaming import Rename
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.wrappers import FaultyStore, RetryingStore
from kafkeep.restore.options import RestoreOptions
from kafkeep.restore.run import prepare, restore
from kafkeep.verify.run import verify

pytestmark = pytest.mark.integration


class Outages:
    """Lets every `every`-th call of any kind fail, `write` of an upload apart; counts what failed."""

    def __init__(self, every: int) -> None:
        self._every = every
        self.calls = 0
        self.failed = 0

    def __call__(self, index: int, call: str, name: str) -> None:
        if call == "write":
            return
        self.calls += 1
        if self.calls % self._every == 0:
            self.failed += 1
            raise StoreUnavailable(f"503 for {call} {name}")


def patient(store: Store, events: list[Event]) -> RetryingStore:
    return RetryingStore(store, sink=events.append, pause=no_pause)


@pytest.mark.parametrize("every", range(2, 21))
@pytest.mark.fault("S1")
def test_s1_every_kth_call_fails(scene: Scene, every: int) -> None:
    """Reads and writes alike: the backup completes, with about as many retries as there were faults."""
    store, outages = copy_of(scene.old), Outages(every)
    events: list[Event] = []
    result = scene.backup(patient(FaultyStore(store, before=outages), events))
    assert result.point is not None
    retries = sum(isinstance(event, Retried) for event in events)
    assert 0 < retries <= outages.failed
    scene.judge(store)


class FirstTries:
    """Lets the first try to create each object fail, and the first beginning of each third upload."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._begun = 0
        self.kinds: Counter[str] = Counter()

    def __call__(self, index: int, call: str, name: str) -> None:
        if call == "open_new":
            self._begun += 1
            name = f"upload {self._begun // 3}"
        if call not in ("put_new", "publish", "put_hint", "open_new") or name in self._seen:
            return
        self._seen.add(name)
        self.kinds[name.split("/")[0].split(" ")[0]] += 1
        raise StoreUnavailable(f"no answer to {call} {name}")


@pytest.mark.fault("S3")
def test_s3_first_answer_for_every_object_is_lost(scene: Scene) -> None:
    """Each change was made and its answer lost, commits and packs too: all are recognised as the writer's own."""
    store, faults = copy_of(scene.old), FirstTries()
    events: list[Event] = []
    result = scene.backup(patient(FaultyStore(store, after=faults), events))
    assert result.point is not None
    assert min(faults.kinds[kind] for kind in ("log", "pack", "doc", "upload")) > 0
    scene.judge(store)


@pytest.mark.fault("S4")
def test_s4_first_try_for_every_object_is_lost(scene: Scene) -> None:
    """No change was made and no answer given: each is made at the second try."""
    store, faults = copy_of(scene.old), FirstTries()
    events: list[Event] = []
    result = scene.backup(patient(FaultyStore(store, before=faults), events))
    assert result.point is not None
    assert min(faults.kinds[kind] for kind in ("log", "pack", "doc", "upload")) > 0
    scene.judge(store)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.fault("S3", "S4")
def test_s3_s4_commits_settle_an_unclear_answer_by_themselves(scene: Scene, applied: bool) -> None:
    """Without a retrying store around: a commit's writer looks at the slot, and makes one commit of it, not two."""
    store = copy_of(scene.old)
    unclear: list[str] = []

    def lose(index: int, call: str, name: str) -> None:
        if call == "put_new" and name.startswith("log/") and name not in unclear:
            unclear.append(name)
            raise StoreUnavailable(f"no answer to {name}")

    scene.backup(FaultyStore(store, after=lose) if applied else FaultyStore(store, before=lose))
    assert len(unclear) > 2
    scene.judge(store)


@pytest.mark.fault("S1")
def test_s1_store_that_never_answers_again(scene: Scene) -> None:
    """From any call on: a typed error that tells scripts to try again, and nothing old is lost."""
    for at in (0, 3, 10, 20, 40):
        store = copy_of(scene.old)
        broken = FaultyStore(store, before=_from(at))
        with pytest.raises(StoreUnavailable) as raised:
            scene.backup(RetryingStore(broken, tries=3, pause=no_pause))
        assert raised.value.retryable
        assert raised.value.exit_code == 13
        scene.judge(store)


def _from(at: int) -> Callable[[int, str, str], None]:
    def fail(index: int, call: str, name: str) -> None:
        if index >= at:
            raise StoreUnavailable(f"no answer to {call} {name}")

    return fail


@pytest.mark.parametrize("every", [2, 3, 5, 8])
@pytest.mark.fault("S1")
def test_s1_restore_and_verify_while_reads_fail(scene: Scene, every: int) -> None:
    store = copy_of(scene.old)
    events: list[Event] = []
    outages = Outages(every)
    failing = patient(FaultyStore(store, before=outages), events)
    report = verify(failing, level="data")
    assert (report.findings, report.alarms) == ((), ())
    repository = open_repository(failing)
    prefix = unique("s1-")
    options = RestoreOptions(renames=(Rename.parse(f"s/^/{prefix}/"),), groups=())
    plan = prepare(scene.cluster, repository, repository.point("latest"), options, now=now)
    result = restore(scene.cluster, repository, plan, options, now=now)
    assert result.failures == ()
    report_of_comparison = compare(
        scene.cluster, repository, repository.point("latest"), CompareOptions(renames=options.renames)
    )
    assert report_of_comparison.identical
    assert outages.failed > 0
    delete_topics(scene.kafka.client_properties, [f"{prefix}{topic}" for topic in scene.topics])


@pytest.mark.fault("S8")
def test_s8_damage_on_the_way_is_not_taken_for_damage(scene: Scene) -> None:
    """The first read of every object has one bit wrong, the second is clean: verify reports nothing."""
    store = copy_of(scene.old)
    seen: set[str] = set()
    dice = random.Random(8)

    def flip(name: str, data: bytes) -> bytes:
        if name in seen or not data:
            return data
        seen.add(name)
        at = dice.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]

    report = verify(FaultyStore(store, damage=flip), level="data")
    assert (report.findings, report.alarms) == ((), ())
    assert seen >= set(store.objects)
