"""`kafkeep trim` as a command, on a repository in a folder, and what other verbs tell of a trimmed log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.long_logs import ADMIN_KEY, WRITER_KEY, LongLog, small_milestones
from tests.support.repositories import Clock, Journal
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.stores.local import LocalStore

REPO = ("--repo", "./repo")
ADMIN = ("--signing-key-file", "./admin.key")
TRIM = ("trim", *REPO, *ADMIN)


@pytest.fixture(autouse=True)
def milestones() -> Iterator[None]:
    with small_milestones(8):
        yield


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    """A signed repository with a backup and 20 commits."""
    for name, key in (("admin", ADMIN_KEY), ("writer", WRITER_KEY)):
        path = tmp_path / f"{name}.key"
        path.write_text(key.reveal() + "\n")
        path.chmod(0o600)
    grown(tmp_path, 20)
    return Kafkeep(tmp_path, inside=True)


def grown(folder: Path, head: int) -> None:
    """A backup, then small commits up to this one. The clock of the test writes long ago, the folder's files are of today."""
    clock = Clock()
    clock.advance(seconds=(datetime.now(UTC) - clock()).total_seconds())
    log = LongLog(store=LocalStore(folder / "repo"), clock=clock)
    if not (folder / "repo" / "kafkeep.json").exists():
        log.create()
    log.backup()
    log.grow_to(head)


def test_a_life(kafkeep: Kafkeep) -> None:
    plan = kafkeep(*TRIM).expect(0)
    assert plan["save"] and plan["commits"] == [] and plan["standing"] == []
    assert "20 commits came since commit 0" in kafkeep._inside(*TRIM).out
    assert kafkeep(*TRIM, "--no-save-state").expect(4)["save"] is False
    done = kafkeep(*TRIM, "--execute").expect(0)
    assert done["saved"] == 21 and done["deleted_commits"] == 0 and done["saved_documents"] > 3
    assert kafkeep(*TRIM, "--execute").expect(4)["saved"] is None
    assert "settles" in kafkeep._inside(*TRIM).out
    grown(kafkeep.folder, 40)
    window = ("--undo-window", "1ms")
    told = kafkeep._inside(*TRIM, *window).out
    assert "18 commits, which the state saved by commit 21 stands for" in told
    plan = kafkeep(*TRIM, *window).expect(0)
    assert plan["commits"] == [{"first": 1, "last": 7}, {"first": 9, "last": 15}, {"first": 17, "last": 20}]
    done = kafkeep(*TRIM, *window, "--execute").expect(0)
    assert done["deleted_commits"] == 18 and done["saved"] is None and done["failures"] == []
    text = kafkeep._inside("verify", *REPO).out
    assert "it begins at the state that commit 21 saved" in text
    assert kafkeep("verify", *REPO, "--level", "data").expect(0)["begins"] == 21
    assert kafkeep("points", *REPO).expect(0)["points"] == 2
    kafkeep("copy", *REPO, "--to", "./copy").expect(0)
    assert kafkeep("verify", "--repo", "./copy").expect(0)["begins"] == 21


def test_a_state_that_is_wanted(kafkeep: Kafkeep) -> None:
    assert kafkeep(*TRIM, "--save-state", "--execute").expect(0)["saved"] == 21
    assert kafkeep(*TRIM, "--execute").expect(4)["saved"] is None
    assert "it was asked for" in kafkeep._inside(*TRIM, "--save-state").out
    assert kafkeep(*TRIM, "--save-state", "--execute").expect(0)["saved"] == 22


@pytest.mark.parametrize("key", [(), ("--signing-key-file", "./writer.key")], ids=["none", "writer"])
def test_it_takes_an_admin(kafkeep: Kafkeep, key: tuple[str, ...]) -> None:
    assert kafkeep("trim", *REPO, *key).status == 0
    kafkeep("trim", *REPO, *key, "--execute").refused(12, "key-refused")


def test_a_log_that_is_not_signed(kafkeep: Kafkeep) -> None:
    Journal(LocalStore(kafkeep.folder / "other")).create()
    assert "init --signed" in kafkeep("trim", "--repo", "./other").refused(2, "usage")


def test_damage_lets_nothing_go(kafkeep: Kafkeep) -> None:
    kafkeep(*TRIM, "--execute").expect(0)
    grown(kafkeep.folder, 40)
    path = kafkeep.folder / "repo" / "log" / f"{13:012d}"
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + b"x")
    before = sorted((kafkeep.folder / "repo" / "log").iterdir())
    kafkeep(*TRIM, "--undo-window", "1ms", "--no-save-state", "--execute").refused(20, "corrupt-chain")
    assert sorted((kafkeep.folder / "repo" / "log").iterdir()) == before
