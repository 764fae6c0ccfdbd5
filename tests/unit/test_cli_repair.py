"""`kafkeep repair` and `kafkeep rebuild` as commands: plans by default, statuses, and what other verbs say then."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from tests.support.repositories import Clock, backup, generation, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore


@pytest.fixture
def kafkeep(tmp_path: Path) -> Kafkeep:
    """Beside a repository `one` of two points and its copy `two`."""
    with Repository.init(LocalStore(tmp_path / "one"), now=Clock(), rng=random.Random(1)) as repository:
        backup(repository, [piece(generation(), 0, 3)])
        backup(repository, [piece(generation(), 9, 3), piece(generation("payments"), 0, 2)])
    kafkeep = Kafkeep(tmp_path, inside=True)
    kafkeep("copy", "--repo", "./one", "--to", "./two").expect(0)
    return kafkeep


def packs(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "pack").rglob("*") if path.is_file())


def test_missing_and_damaged_packs_are_mended_from_a_copy(kafkeep: Kafkeep, tmp_path: Path) -> None:
    repo = ("--repo", "./one")
    assert kafkeep("repair", *repo).status == 4
    first, second = packs(tmp_path / "one")
    whole = first.read_bytes()
    first.unlink()
    second.chmod(0o644)
    second.write_bytes(second.read_bytes()[:-1])
    kafkeep("verify", *repo).expect(22)
    assert kafkeep("repair", *repo).status == 3
    plan = kafkeep("repair", *repo, "--from", "./two").expect(0)
    assert {each["object"]: each["means"] for each in plan["damage"]} == {
        str(first.relative_to(tmp_path / "one")): "copy",
        str(second.relative_to(tmp_path / "one")): "runs",
    }
    assert not first.exists(), "a dry run that does something"
    result = kafkeep("repair", *repo, "--from", "./two", "--execute").expect(0)
    assert (result["left"], len(result["reports"])) == ([], 2)
    assert first.read_bytes() == whole
    kafkeep("verify", *repo, "--level", "data").expect(0)
    assert kafkeep("repair", *repo).status == 4
    # the copy follows, and does not stumble over the damaged pack that nobody needs
    assert kafkeep("copy", *repo, "--to", "./two").expect(0)["packs"] == 1
    kafkeep("verify", "--repo", "./two", "--level", "data").expect(0)


def test_what_nobody_has_is_declared_lost_and_told(kafkeep: Kafkeep, tmp_path: Path) -> None:
    repo = ("--repo", "./one")
    for path in packs(tmp_path / "one"):
        path.unlink()
    lost = ("--declare-lost", "--reason", "the disk is gone")
    first = kafkeep("repair", *repo, "--execute").expect(3)
    assert len(first["left"]) == 3
    told = kafkeep("verify", *repo).expect(22)
    assert all(finding["known"] is not None for finding in told["findings"])
    assert "known since" in kafkeep.plain("verify", *repo).out
    result = kafkeep("repair", *repo, *lost, "--execute").expect(0)
    assert (len(result["lost"]), result["reports"]) == (3, [])
    kafkeep("verify", *repo, "--level", "data").expect(0)
    assert "the disk is gone" in kafkeep("show", "latest", *repo).out


def test_options_that_do_not_go_together_are_refused(kafkeep: Kafkeep) -> None:
    repo = ("--repo", "./one")
    assert kafkeep("repair", *repo, "--declare-lost").status == 2
    assert kafkeep("repair", *repo, "--reason", "why").status == 2
    assert kafkeep("repair", *repo, "--from", "./one").status == 2
    assert kafkeep("repair", *repo, "--pack", "pack/00/none").status == 24
    assert kafkeep("rebuild", *repo).status == 2
    assert kafkeep("rebuild", *repo, "--to", "./three", "--in-place").status == 2
    assert kafkeep("rebuild", *repo, "--to", "./one").status == 2
    assert kafkeep("rebuild", *repo, "--to", "./three").status == 24


def test_one_pack_alone_is_looked_at(kafkeep: Kafkeep, tmp_path: Path) -> None:
    first, second = packs(tmp_path / "one")
    first.unlink()
    second.unlink()
    name = str(second.relative_to(tmp_path / "one"))
    plan = kafkeep("repair", "--repo", "./one", "--pack", name).expect(3)
    assert [each["object"] for each in plan["damage"]] == [name]


def test_a_lost_log_is_built_anew(kafkeep: Kafkeep, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "one" / "log")
    shutil.rmtree(tmp_path / "one" / "hint")
    lost = ("--repo", "./one")
    plan = kafkeep("rebuild", *lost, "--to", "./three", "--dry-run").expect(0)
    assert (plan["kept"], len(plan["steps"])) == (-1, 1)
    assert not (tmp_path / "three" / "kafkeep.json").exists()
    assert kafkeep("rebuild", *lost, "--to", "./three").expect(0)["point"] == 2
    assert kafkeep("rebuild", *lost, "--to", "./three").status == 4
    kafkeep("verify", "--repo", "./three", "--level", "data").expect(0)
    shown = kafkeep("show", "rebuilt", "--repo", "./three").out
    assert "orders" in shown and "payments" in shown
    kafkeep("rebuild", *lost, "--in-place").expect(0)
    assert kafkeep("rebuild", *lost, "--in-place").status == 4
    kafkeep("verify", *lost, "--level", "data").expect(0)
    # this host remembers the old log, and asks whether the new one was on purpose
    assert "remove" in kafkeep("points", *lost).refused(20, "corrupt-chain")
    shutil.rmtree(tmp_path / "cache")
    assert kafkeep("points", *lost).expect(0)["points"] == 1
