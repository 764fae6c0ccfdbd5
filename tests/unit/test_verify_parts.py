"""A verification that ends when its time is over, and goes on from there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.repositories import Clock, backup, generation, open_repository, piece
from tests.support.sweep_command import Kafkeep

from kafkeep.errors import CorruptObject
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.local import LocalStore
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.report import VerifyReport
from kafkeep.verify.rotation import Cursor, cursor_from_json, cursor_to_json
from kafkeep.verify.run import verify

PACKS = 7


def filled(store: MemoryStore | LocalStore) -> list[str]:
    """A repository of seven packs; their names in order."""
    repository = Repository.init(store, now=Clock(), rng=random.Random(1), chunk_bytes=400)
    for index in range(PACKS):
        backup(repository, [piece(generation(), index * 6, 2)])
    return [entry.name for entry in repository.state.packs]


def part(store: MemoryStore, after: Cursor | None, packs: int) -> VerifyReport:
    """Ends behind so many packs."""
    looks = iter(range(packs - 1))
    return verify(store, level="data", after=after, workers=1, is_over=lambda: next(looks, None) is None)


@pytest.mark.parametrize("each", [1, 2, 3, PACKS - 1])
def test_every_pack_has_its_turn(each: int) -> None:
    store = MemoryStore()
    names = filled(store)
    cursor, seen, rounds = None, [], 0
    while True:
        report = part(store, cursor, each)
        rounds += 1
        if report.cursor is None:
            break
        seen.append(report.cursor.pack)
        assert report.whole_head is None
        assert report.left == PACKS - rounds * each
        cursor = cursor_from_json(cursor_to_json(report.cursor))
    assert seen == [names[index * each - 1] for index in range(1, rounds)]
    assert rounds == -(-PACKS // each)
    assert report.whole_head == PACKS, "the head when the first of the packs was looked at"


def test_packs_that_come_meanwhile_have_their_turn_too() -> None:
    store = MemoryStore()
    filled(store)
    first = part(store, None, 5)
    backup(open_repository(store), [piece(generation(), PACKS * 6, 2)])
    last = part(store, first.cursor, 5)
    assert (last.left, last.head, last.whole_head) == (0, PACKS + 1, PACKS)


def test_damage_in_a_part_is_found_once_and_the_round_is_not_clean() -> None:
    store = MemoryStore()
    names = filled(store)
    data = store.objects[names[1]]
    store.objects[names[1]] = data[:60] + bytes([data[60] ^ 1]) + data[61:]
    first = part(store, None, 4)
    assert [finding.object for finding in first.findings] == [names[1]]
    second = part(store, first.cursor, 4)
    assert (second.findings, second.left, second.whole_head) == ((), 0, None)
    store.objects[names[1]] = data
    assert verify(store, level="data").whole_head == PACKS


def test_a_report_that_is_none_is_refused() -> None:
    with pytest.raises(CorruptObject, match="lacks the field"):
        cursor_from_json({"level": "data"})


def test_the_command_takes_turns(tmp_path: Path) -> None:
    names = filled(LocalStore(tmp_path / "repo"))
    kafkeep = Kafkeep(tmp_path, inside=True)
    ended = kafkeep("verify", "--repo", "./repo", "--max-duration", "1ms").expect(0)
    assert 0 < ended["left"] < PACKS
    rounds = 1
    while ended["left"]:
        before = ended["left"]
        ended = kafkeep("verify", "--repo", "./repo", "--max-duration", "1ms").expect(0)
        assert ended["left"] < before
        rounds += 1
    assert 1 < rounds <= PACKS
    assert ended["whole_head"] == PACKS
    again = kafkeep("verify", "--repo", "./repo", "--max-duration", "1ms").expect(0)
    assert again["cursor"]["pack"] in names[: PACKS - 1], "it begins anew"
    assert kafkeep("verify", "--repo", "./repo", "--max-duration", "10m", "--level", "data").expect(0)["left"] == 0
    assert kafkeep("verify", "--repo", "./repo", "--max-duration", "1m", "--level", "exist").status == 2
    assert "left for the next time" in kafkeep.plain("verify", "--repo", "./repo", "--max-duration", "1ms").out
    (tmp_path / "repo" / "log" / f"{3:012d}").unlink()
    assert kafkeep("verify", "--repo", "./repo", "--max-duration", "10m").status == 22
