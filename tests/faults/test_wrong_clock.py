"""S15: this host's clock is wrong: backups do not mind, and nothing is let go by what it says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.keeping import Life
from tests.support.repositories import backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep
from tests.support.versitygw import S3Server

from kafkeep.cli.common import Run
from kafkeep.repository.probing import measure_clock, probe_store
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.base import Store
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify

ORDERS = generation("orders")
HOUR, DAY = 3600, 24 * 3600
RULES = ("--keep-last", "1", "--min-points", "1", "--undo-window", "1h")


def wrong(seconds: float) -> Callable[[], datetime]:
    return lambda: datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.fault("S15")
@pytest.mark.parametrize("hours", [1, -1, 24, -24])
def test_s15_backups_under_a_clock_that_is_wrong(hours: int, fault: Figures) -> None:
    """It jumps before each step by so much or back again: points hold what they held, whatever their times say."""
    lives = fault.count(quick=5, full=50)
    for seed in range(lives):
        life = Life(random.Random(f"clock {hours} {seed}"))
        for step in range(12):
            life.journal.clock.advance(hours=hours * (1 if step % 2 else -1))
            life.backup()
        life.check(open_repository(life.store, clock=life.journal.clock))
        report = verify(life.store, level="data", workers=1)
        assert (report.findings, report.alarms) == ((), ())
    fault.figures(lives=lives)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return LocalStore(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3_server")
    return server.store()


@pytest.mark.parametrize("seconds", [0, 45, -45, HOUR, -HOUR, DAY, -DAY])
def test_the_clock_is_held_against_a_new_object(store: Store, seconds: int) -> None:
    found = measure_clock(store, now=wrong(seconds), rng=random.Random(1))
    assert found is not None
    assert abs(found.seconds - abs(seconds)) <= 2.5
    assert found.ahead == (seconds > 0) or not seconds
    assert list(store.list("")) == [], "what was made for it is gone"
    probe = {probe.name: probe for probe in probe_store(store, now=wrong(seconds), rng=random.Random(2)).probes}[
        "clock"
    ]
    assert probe.passed == (not seconds) and not probe.needed
    assert ("ahead of" in probe.found) == (seconds > 0)


@pytest.mark.parametrize("jumps", ["once", "always", "back"])
def test_a_clock_that_jumps_between_two_looks_seems_right_to_nobody(tmp_path: Path, jumps: str) -> None:
    """What was made lies between before and after; a clock that went an hour on meanwhile would agree with anything."""
    looks = {
        "once": lambda number: HOUR if number >= 2 else 0,
        "always": lambda number: number * HOUR,
        "back": lambda number: -HOUR * (number % 2),
    }[jumps]
    numbers = count()

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=looks(next(numbers)))

    found = measure_clock(LocalStore(tmp_path), now=now, rng=random.Random(1))
    assert found is not None and found.seconds > HOUR - 5


def test_a_store_without_a_clock_is_not_asked_twice() -> None:
    store = MemoryStore()
    assert measure_clock(store, now=wrong(HOUR), rng=random.Random(1)) is None
    assert store.objects == {}


class Host:
    """A host with a clock of its own that prunes a repository in a folder: five points, the oldest five days old."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "repo"
        self.kafkeep = Kafkeep(folder, inside=True)
        self.skew = 0.0
        patch.setattr(Run, "now", lambda run: datetime.now(UTC) + timedelta(seconds=self.skew))
        began = datetime.now(UTC) - timedelta(days=5)
        moments = (began + timedelta(minutes=number * 12) for number in count())
        with Repository.init(LocalStore(self.folder), now=moments.__next__, rng=random.Random(1)) as repository:
            for number in range(5):
                # each in a pack that no other point needs
                backup(repository, [piece(generation("orders", number), 0, 2)])
                for _ in range(100):
                    next(moments)

    def files(self) -> dict[str, bytes]:
        """All that counts."""
        found = {path.relative_to(self.folder): path for path in self.folder.rglob("*") if path.is_file()}
        return {str(name): path.read_bytes() for name, path in found.items() if name.parts[0] not in ("tmp", "hint")}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield Host(tmp_path, monkeypatch)


@pytest.mark.fault("S15")
@pytest.mark.parametrize("skew", [HOUR, -HOUR, DAY, -DAY, 310, -310])
@pytest.mark.parametrize("rules", [("--keep-within", "2d"), ("--keep-daily", "2"), ("--keep-last", "1")])
def test_s15_nothing_is_let_go_by_a_clock_that_is_wrong(host: Host, skew: int, rules: tuple[str, ...]) -> None:
    prune = ("prune", "--repo", "./repo", *rules, "--min-points", "1")
    before = host.files()
    host.skew = skew
    plan = host.kafkeep(*prune).expect(24)
    assert any(f"{'ahead of' if skew > 0 else 'behind'} the store's" in refusal for refusal in plan["refusals"])
    host.kafkeep(*prune, "--execute").refused(24, "plan-refused")
    assert host.files() == before
    host.skew = 0
    assert host.kafkeep(*prune, "--execute").expect(0)["retirements"]


@pytest.mark.fault("S15")
@pytest.mark.parametrize("skew", [2 * HOUR, 8 * DAY])
def test_s15_what_can_be_taken_back_is_not_deleted_by_a_clock_that_is_ahead(host: Host, skew: int) -> None:
    prune = ("prune", "--repo", "./repo", *RULES, "--execute")
    assert host.kafkeep(*prune).expect(0)["retirements"]
    packs = {name for name in host.files() if name.startswith("pack/")}
    host.skew = skew
    host.kafkeep(*prune).refused(24, "plan-refused")
    assert {name for name in host.files() if name.startswith("pack/")} == packs
    host.skew = 0
    assert host.kafkeep("prune", "--repo", "./repo", "--undo").expect(0)["points"]


@pytest.mark.fault("S15")
@pytest.mark.parametrize("skew", [60, -60])
def test_s15_a_minute_is_told_and_no_reason_to_refuse(host: Host, skew: int) -> None:
    host.skew = skew
    result = host.kafkeep("prune", "--repo", "./repo", *RULES, "--execute").expect(0)
    assert result["retirements"]
    assert any("the store's" in remark for remark in result["plan"]["remarks"])
    host.skew = 0
    plan = host.kafkeep("prune", "--repo", "./repo", *RULES).expect(4, 0)
    assert not any("the store's" in remark for remark in plan["remarks"])


def test_where_nothing_would_go_a_wrong_clock_is_only_told(host: Host) -> None:
    host.skew = DAY
    plan = host.kafkeep("prune", "--repo", "./repo", "--keep-last", "9").expect(4)
    assert plan["refusals"] == [] and any("ahead of" in remark for remark in plan["remarks"])
