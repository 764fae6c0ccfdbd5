"""`compact` as a command, on a repository in a folder."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.repositories import backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore

REPO = ("--repo", "./repo")


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    """Six points in the folder `repo`, of the last days."""
    moments = iter(datetime.now(UTC) - timedelta(days=3) + timedelta(seconds=index) for index in range(10_000))
    with Repository.init(LocalStore(tmp_path / "repo"), now=lambda: next(moments), rng=random.Random(1)) as repository:
        for index in range(6):
            backup(repository, [piece(generation("orders"), index * 6, 2), piece(generation("payments"), index * 3, 1)])
    return Kafkeep(tmp_path, inside=True)


def packs(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "repo" / "pack").rglob("*"))


def test_a_plan_changes_nothing_and_tells_numbers(kafkeep: Kafkeep, tmp_path: Path) -> None:
    told = kafkeep("compact", *REPO).expect(0)
    assert [len(gathering["packs"]) for gathering in told["gatherings"]] == [6]
    assert (told["live_packs"], told["small_packs"]) == (6, 6)
    assert told["smaller_than"] == told["target_bytes"] // 4 == 32 * 1024 * 1024
    text = kafkeep.plain("compact", *REPO).out
    assert "6 packs with 12 runs" in text and "10 requests fewer" in text
    assert packs(tmp_path) == 6


def test_packs_are_gathered_and_the_emptied_ones_go_in_time(kafkeep: Kafkeep, tmp_path: Path) -> None:
    before = kafkeep("show", "latest", *REPO).last
    done = kafkeep("compact", *REPO, "--execute").expect(0)
    assert (done["packs"], done["runs"], len(done["commits"]), done["stopped"]) == (6, 12, 1, False)
    assert kafkeep("compact", *REPO, "--execute").status == 4
    assert kafkeep("compact", *REPO).status == 4
    assert "nothing to gather" in kafkeep.plain("compact", *REPO).out
    after = kafkeep("show", "latest", *REPO).last
    assert after["point"] == before["point"]
    rules = ("--keep-last", "100")
    assert len(kafkeep("prune", *REPO, *rules).expect(0)["emptied"]) == 6
    assert "hold nothing any more" in kafkeep.plain("prune", *REPO, *rules).out
    assert kafkeep("prune", *REPO, *rules, "--execute").expect(0)["deleted"] == 0
    assert kafkeep("prune", *REPO, *rules, "--execute", "--undo-window", "1ms").expect(0)["deleted"] == 6
    assert packs(tmp_path) == 1
    assert kafkeep("verify", *REPO, "--level", "data").status == 0
    with open_repository(LocalStore(tmp_path / "repo")) as repository:
        assert len(repository.points()) == 6


def test_sizes_are_options(kafkeep: Kafkeep) -> None:
    told = kafkeep("compact", *REPO, "--target-size", "1MiB", "--smaller-than", "1KiB").expect(4)
    assert (told["target_bytes"], told["smaller_than"], told["small_packs"]) == (1024 * 1024, 1024, 0)
    assert "too large to be gathered" in kafkeep("compact", *REPO, "--smaller-than", "64MiB").refused(2, "usage")
    assert "none that this repository holds" in kafkeep("compact", *REPO, "--target-size", "1GiB").refused(2, "usage")


def test_damaged_data_is_named_and_stays(kafkeep: Kafkeep, tmp_path: Path) -> None:
    (damaged, *_) = sorted(path for path in (tmp_path / "repo" / "pack").rglob("*") if path.is_file())
    data = bytearray(damaged.read_bytes())
    data[200] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(data))
    ended = kafkeep("compact", *REPO, "--execute")
    assert ended.status == 20
    assert damaged.name in ended.last["failures"][0]["message"]
    assert "not gathered" in kafkeep.plain("compact", *REPO, "--execute").out
