"""The rules of compactions, for both readers: one that breaks any of them counts for nothing. And those that meet others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.compactions import all_runs, frequent, gather, held, live, moved_pack
from tests.support.readers import reader_of, same_state
from tests.support.repositories import open_repository

from kafkeep.errors import PlanRefused
from kafkeep.repository.changes import KIND_OF, Change, Compact, CompactedPack, MovedRun, RaiseEpoch, Retire
from kafkeep.repository.format import encode_commit
from kafkeep.repository.names import log_name
from kafkeep.repository.repository import Repository
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.repository.stores.wrappers import FaultyStore
from kafkeep.verify.run import verify

TIME = "2026-11-20T11:00:00.000Z"


def put_by_force(repository: Repository, change: Change) -> None:
    """What a writer without our checks would commit."""
    commit = replace(repository._head_of_next(TIME), kind=KIND_OF[type(change)], change=change)
    repository.store.put_new(log_name(commit.seq), encode_commit(commit))


Forge = Callable[[Repository, CompactedPack], Compact]


def rows(*changed: MovedRun) -> Forge:
    return lambda repository, pack: Compact((replace(pack, runs=changed),))


BROKEN: dict[str, tuple[Forge, str]] = {
    "nothing": (lambda repository, pack: Compact(()), "a compaction of nothing"),
    "a pack without runs": (rows(), "none of its runs is"),
    "a run number twice": (
        lambda repository, pack: Compact((replace(pack, runs=(pack.runs[0], replace(pack.runs[1], index=0))),)),
        "named twice",
    ),
    "numbers that fall": (lambda repository, pack: Compact((replace(pack, runs=pack.runs[::-1]),)), "named twice"),
    "one run twice": (
        lambda repository, pack: Compact((replace(pack, runs=(pack.runs[0], replace(pack.runs[0], index=1))),)),
        "moved twice",
    ),
    "a run that is not there": (
        lambda repository, pack: Compact((replace(pack, runs=(replace(pack.runs[0], there=7),)),)),
        "does not lie there",
    ),
    "a pack that never was": (rows(MovedRun(0, "pack/00/0-x", 0)), "does not lie there"),
    "the pack twice": (lambda repository, pack: Compact((pack, replace(pack, runs=pack.runs[:1]))), "twice"),
    "a pack that is there already": (
        lambda repository, pack: Compact(
            tuple(
                CompactedPack(entry.name, entry.size, entry.blake3, entry.epoch, pack.runs)
                for entry in list(repository.state.packs)[:1]
            )
        ),
        "named a second time",
    ),
    "a pack of the past": (
        lambda repository, pack: (raise_epoch(repository, 2), Compact((pack,)))[1],
        "is of epoch 0, the repository is at epoch 2",
    ),
    "a run of a retired pack": (
        lambda repository, pack: (retire_first(repository), Compact((pack,)))[1],
        "is retired",
    ),
    "a run that was moved away": (
        lambda repository, pack: (gather(repository), Compact((pack,)))[1],
        "does not lie there",
    ),
}


def raise_epoch(repository: Repository, times: int) -> None:
    for _ in range(times):
        repository.decide(RaiseEpoch(repository.state.epoch + 1), started=TIME)


def retire_first(repository: Repository) -> None:
    first = next(iter(repository.state.packs))
    repository.decide(Retire(tuple(p.number for p in repository.points()), (first.name,), "r"), started=TIME)


@pytest.mark.parametrize("name", BROKEN)
def test_a_compaction_that_breaks_a_rule_counts_for_nothing(name: str) -> None:
    forge, message = BROKEN[name]
    store, repository = frequent(2)
    change = forge(repository, moved_pack(repository, all_runs(repository)))
    with pytest.raises(PlanRefused, match=message):
        repository.decide(change, started=TIME)
    before = repository.state
    put_by_force(repository, change)
    after = open_repository(store).state
    assert [alarm.number for alarm in after.alarms] == [before.head + 1]
    assert replace(after, head=before.head, head_digest=before.head_digest, alarms=before.alarms) == before
    assert same_state(reader_of(store), open_repository(store))


def test_a_pack_may_hold_more_than_is_named() -> None:
    store, repository = frequent(2)
    pack = moved_pack(repository, all_runs(repository))
    repository.decide(Compact((replace(pack, runs=pack.runs[1:3]),)), started=TIME)
    assert live(repository) == [1, 1, 2]
    assert same_state(reader_of(store), open_repository(store))
    assert verify(open_repository(store), level="data").findings == ()


# --- races ------------------------------------------------------------------------------------------------------------


def during(repository: Repository, store: MemoryStore, others: Callable[[Repository], object]) -> Repository:
    """The repository as a compaction sees it in whose way somebody else comes, once, after its pack is durable."""
    done: list[bool] = []

    def between(index: int, call: str, name: str) -> None:
        if call == "publish" and not done:
            done.append(True)
            others(open_repository(store, seed=77))

    return open_repository(FaultyStore(store, after=between))


def test_runs_that_others_moved_meanwhile_are_left_out() -> None:
    store, repository = frequent()
    before = held(repository)

    def others(there: Repository) -> None:
        pack = moved_pack(there, all_runs(there)[:3])
        there.decide(Compact((pack,)), started=TIME)

    result = gather(during(repository, store, others))
    repository.refresh()
    assert (result.runs, len(result.commits)) == (5, 1)
    assert live(repository) == [0, 0, 0, 0, 3, 5]
    assert held(repository) == before and same_state(reader_of(store), repository)


def test_runs_of_packs_that_were_retired_meanwhile_are_left_out() -> None:
    store, repository = frequent()
    result = gather(during(repository, store, retire_first))
    repository.refresh()
    assert result.runs == 6 and live(repository) == [2, 0, 0, 0, 6]
    assert same_state(reader_of(store), repository)


def test_a_pack_that_became_too_old_is_written_again() -> None:
    store, repository = frequent()
    before = held(repository)
    result = gather(during(repository, store, lambda there: raise_epoch(there, 2)))
    repository.refresh()
    assert (result.packs, result.runs) == (4, 8)
    assert list(repository.state.packs)[-1].epoch == 2
    assert len([name for name in store.objects if name.startswith("pack/")]) == 6, "the first one is an orphan"
    assert held(repository) == before


def test_nothing_is_left_to_gather_when_others_did_all_of_it() -> None:
    store, repository = frequent()
    result = gather(during(repository, store, gather))
    assert result.commits == () and result.packs == 4, "it is done, by whomever"
    repository.refresh()
    assert live(repository) == [0, 0, 0, 0, 8]
