"""The validity rules: a commit that breaks one counts for nothing, and all readers agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.forgeries import BROKEN, NEW, ORDERS, Forge, base, forged
from tests.support.repositories import (
    Journal,
    backup,
    draft,
    open_repository,
    piece,
    write_pack,
)

from kafkeep.errors import CorruptChain
from kafkeep.model import PackRef
from kafkeep.repository.envelope import Kind, digest, unwrap, wrap
from kafkeep.repository.format import RESERVED_KINDS
from kafkeep.repository.names import log_name
from kafkeep.repository.rules import validate
from kafkeep.repository.state import EMPTY, State
from kafkeep.repository.stores.memory import MemoryStore
from kafkeep.verify.run import verify


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.fault("I6")
def test_a_commit_that_breaks_a_rule_counts_for_nothing_and_does_not_block_the_log(name: str) -> None:
    change, reason = BROKEN[name]
    store = forged(change)
    store.objects.pop(log_name(3), None)
    repository = open_repository(store)
    (alarm,) = repository.state.alarms
    assert alarm.number == 2
    assert alarm.digest == digest(store.objects[log_name(2)])
    assert reason in alarm.reason
    assert repository.state.generations[ORDERS].next_offset == 6
    assert NEW not in repository.state.generations
    assert [point.number for point in repository.points()] == [1]
    assert backup(repository, [piece(ORDERS, 6, 1)]).number == 3
    report = verify(repository, level="data")
    assert [found.number for found in report.alarms] == [2]
    assert report.findings == ()
    assert open_repository(store).state == repository.state


def test_the_honest_commit_behind_the_forgeries_is_valid() -> None:
    store = forged(lambda value: None)
    assert len(open_repository(store).state.alarms) == 0
    assert open_repository(store).state.head == 2


@pytest.mark.parametrize("kind", RESERVED_KINDS)
@pytest.mark.fault("I6")
def test_reserved_kinds_are_alarms(kind: str) -> None:
    store = forged(lambda value: value.update(kind=kind))
    assert "unknown kind" in open_repository(store).state.alarms[0].reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(prev="0" * 64), "does not follow commit 1"),
        (lambda value: value.update(seq=3), "holds commit 3 where 2 belongs"),
        (lambda value: value.update(seq="2"), "cannot be read"),
        (lambda value: value.update(seq=True), "cannot be read"),
        (lambda value: value.pop("prev"), "cannot be read"),
        (lambda value: value.update(kind=7), "cannot be read"),
    ],
)
@pytest.mark.fault("I6")
def test_a_commit_out_of_its_place_stops_the_reader(change: Forge, message: str) -> None:
    store = forged(change)
    with pytest.raises(CorruptChain, match=message) as raised:
        open_repository(store)
    assert raised.value.exit_code == 20


def test_swapped_commits_and_commits_of_other_repositories_stop_the_reader() -> None:
    store, _ = base()
    store.objects[log_name(1)], store.objects[log_name(2)] = store.objects[log_name(2)], store.objects[log_name(1)]
    with pytest.raises(CorruptChain):
        open_repository(store)
    store, _ = base()
    other = MemoryStore()
    backup(Journal(other, seed=9).create(), [piece(ORDERS, 0, 2)])
    store.objects[log_name(1)] = other.objects[log_name(1)]
    with pytest.raises(CorruptChain, match="does not follow"):
        open_repository(store)


def test_a_first_commit_that_begins_nothing_stops_the_reader() -> None:
    for change in (lambda value: value.update(kind="add"), lambda value: value.update(body={})):
        store, _ = base()
        value = unwrap(store.objects[log_name(0)], Kind.COMMIT, "commit 0")
        change(value)  # type: ignore[no-untyped-call]
        store.objects[log_name(0)] = wrap(Kind.COMMIT, value)
        with pytest.raises(CorruptChain):
            open_repository(store)


@pytest.mark.fault("I6")
def test_packs_of_an_epoch_long_past_are_refused() -> None:
    _, repository = base()
    later = replace(repository.state, epoch=2)
    commit = repository.commit(draft(packs=[write_pack(repository, [piece(ORDERS, 16, 1)])])).commit
    assert commit is not None
    assert "of epoch 0, the repository is at epoch 2" in str(validate(later, commit))
    assert "of epoch 0" not in str(validate(replace(later, epoch=1), commit))


def test_validity_does_not_depend_on_the_order_in_which_a_commit_lists_things() -> None:
    def reverse(value: dict[str, Any]) -> None:
        for part in ("packs", "gaps", "opened", "closed"):
            value["body"][part].reverse()

    assert len(open_repository(forged(reverse)).state.alarms) == 0


def test_the_empty_state_takes_only_the_first_commit() -> None:
    assert State() == EMPTY
    assert EMPTY.head == -1
    assert PackRef("", 0, "", 0, ()).run_refs() == ()
