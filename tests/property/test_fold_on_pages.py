"""Folded states on pages against the same in plain memory: whatever the pages' size, histories of all kinds say the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.test_encrypted_histories import SealedLife
from tests.support.examples import examples
from tests.support.keeping import Life
from tests.support.operations import without_pauses
from tests.support.readers import reader_of, same_state
from tests.support.repositories import TIME
from tests.support.sealed import encrypted

from kafkeep.model import AbortedTransaction, Generation, HeldBack, OffsetRange, PartitionCut, RunFacts, RunRef
from kafkeep.repository.changes import Lose
from kafkeep.repository.envelope import Kind, unwrap, wrap
from kafkeep.repository.fold.codecs import CUTS, HISTORIES, PACK_RUNS
from kafkeep.repository.fold.pages import Codec, write
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.fold.settling import Limits
from kafkeep.repository.page_store import PageStore
from kafkeep.repository.repository import Repository
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store

TINY = (
    Limits(loose=1, page=1, fan_in=2, root=1),
    Limits(loose=3, page=2, fan_in=2, root=1),
    Limits(loose=5, page=3, fan_in=3, root=40),
    Limits(loose=40, page=7, fan_in=4, root=100),
)


def opened(store: Store, folder: Path | None, limits: Limits) -> Repository:
    return Repository.open(
        store,
        now=lambda: pytest.fail("nobody asked for the time"),
        rng=random.Random(1),
        cache_dir=folder,
        pause=lambda seconds: None,
        limits=limits,
    )


def same_everywhere(state: State, plain: State) -> None:
    """Values, and what is read out of them by another way than comparing."""
    assert state == plain
    for generation, known in plain.generations.items():
        other = state.generations[generation]
        assert tuple(other.runs) == tuple(known.runs)
        assert list(other.run_numbers) == list(known.run_numbers)
        assert [other.runs[place] for place in range(-len(known.runs), 0)] == list(known.runs)
        for number in {0, state.head // 2, state.head}:
            offsets = OffsetRange(known.start, known.next_offset)
            half = OffsetRange(offsets.start + len(offsets) // 3, offsets.stop - len(offsets) // 3)
            for wanted in (offsets, half):
                assert other.runs_at(number, wanted) == known.runs_at(number, wanted)
    for point in plain.points:
        mine = next(each for each in state.points if each.number == point.number)
        assert [(part.cut, part.slices, part.gaps) for part in state.view(mine).partitions] == [
            (part.cut, part.slices, part.gaps) for part in plain.view(point).partitions
        ]


def lose(life: Life) -> None:
    """A run that no retirement names is declared lost, as `repair` does."""
    state = life.repository.refresh()
    retired = state.retired_packs()
    places = [(entry.name, run.index) for entry in state.packs if entry.name not in retired for run in entry.runs]
    if places:
        life.repository.decide(Lose((life.dice.choice(places),), "a reason"), started=TIME)


@pytest.mark.parametrize("limits", TINY)
@pytest.mark.parametrize("seed", range(6))
def test_histories_on_pages_are_those_in_memory(seed: int, limits: Limits, tmp_path: Path) -> None:
    life = Life(random.Random(f"pages {seed}"))
    with opened(life.store, tmp_path / "stays", limits) as staying, opened(life.store, None, limits) as without:
        older: list[tuple[State, State]] = []
        for step in range(40):
            life.step()
            if step % 13 == 12:
                lose(life)
            plain = life.repository.refresh()
            for repository in (staying, without):
                assert repository.refresh() == plain
            if step % 5 == 0:
                older.append((staying.state, plain))
                with opened(life.store, tmp_path / "again", limits) as again:
                    same_everywhere(again.state, plain)
        assert same_state(reader_of(life.store), staying)
    for state, then in older:  # after all merges, and after the repository was closed
        same_everywhere(state, then)
    with opened(life.store, tmp_path / "again", limits) as again:
        same_everywhere(again.state, plain)
        assert list(again.state.generations) == list(plain.generations)
        assert [entry.name for entry in again.state.packs] == [entry.name for entry in plain.packs]


@pytest.mark.parametrize("limits", TINY[:3])
@pytest.mark.parametrize("seed", range(4))
def test_encrypted_histories_on_pages_are_those_in_memory(seed: int, limits: Limits, tmp_path: Path) -> None:
    with encrypted(), without_pauses():
        life = SealedLife(random.Random(f"pages {seed}"))
        for step in range(25):
            life.step()
            if step % 6 == 0:
                with opened(life.store, tmp_path, limits) as again:
                    same_everywhere(again.state, life.repository.refresh())
        with opened(life.store, tmp_path, limits) as again:
            same_everywhere(again.state, life.repository.refresh())
            assert again.state.keys == life.repository.state.keys
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"orders" not in held and b"KKD1" in held


def test_a_cache_copied_at_any_moment_opens_to_the_same_state(tmp_path: Path) -> None:
    life = Life(random.Random("copied"))
    limits = TINY[1]
    for step in range(30):
        life.step()
        with opened(life.store, tmp_path / "cache", limits):
            pass
        shutil.copytree(tmp_path / "cache", tmp_path / f"copy {step}")
    plain = life.repository.refresh()
    for step in range(30):
        with opened(life.store, tmp_path / f"copy {step}", limits) as again:
            assert again.state == plain


# --- the sequences by themselves ---------------------------------------------------------------------------------


def _numbers() -> Codec[int]:
    def decode(value: Any) -> list[int]:
        return list(value)

    return Codec("numbers", list, decode, decode, lambda item: 1)


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Rope[int], list[int]], tuple[Rope[int], list[int]]]:
    kind = draw(st.sampled_from(["extend", "without", "picked", "replaced", "slice", "joined", "pages", "some pages"]))
    items = draw(st.lists(st.integers(0, 1000), max_size=6))
    share = draw(st.floats(0, 1))
    dice = random.Random(draw(st.integers(0, 2**16)))
    store = PageStore(None, None, recent_items=draw(st.integers(1, 10)))
    size = draw(st.integers(1, 4))

    def change(rope: Rope[int], model: list[int]) -> tuple[Rope[int], list[int]]:
        places = [place for place in range(len(model)) if dice.random() < share]
        chosen = set(places)
        match kind:
            case "extend":
                return rope.extended(items), model + items
            case "without":
                return rope.without(places), [item for place, item in enumerate(model) if place not in chosen]
            case "picked":
                return rope.picked(places), [model[place] for place in places]
            case "replaced":
                found = {place: dice.randrange(1000) for place in places}
                return rope.replaced(found), [found.get(place, item) for place, item in enumerate(model)]
            case "slice":
                start, stop = sorted((dice.randrange(len(model) + 1), dice.randrange(len(model) + 1)))
                return rope[start:stop], model[start:stop]
            case "joined":
                return rope.joined(Rope.of(items)), model + items
            case _:
                segment = write(store, _numbers(), rope, size)
                assert segment is not None
                if kind == "pages":
                    return Rope([(segment, 0, len(model))]), model
                return Rope([(segment, 0, len(model)), (segment, 0, len(model) // 2)]), model + model[: len(model) // 2]

    return change


@examples(200)
@given(st.lists(changes(), max_size=8))
def test_a_rope_is_a_list_however_it_came_about(steps: list[Any]) -> None:
    versions: list[tuple[Rope[int], list[int]]] = [(Rope(), [])]
    dice = random.Random(len(steps))
    for change in steps:
        versions.append(change(*dice.choice(versions)))
    for rope, model in versions:
        assert len(rope) == len(model) and bool(rope) == bool(model)
        assert list(rope) == model and rope == tuple(model) == rope and hash(rope) == hash(tuple(model))
        assert [rope[place] for place in range(-len(model), len(model))] == [*model, *model]
        assert rope[::2] == tuple(model[::2]) and rope[::-1] == tuple(model[::-1])
        assert rope != (*model, 1) and rope == Rope.of(model)
        for place in (len(model), -len(model) - 1):
            with pytest.raises(IndexError):
                rope[place]


_INT = st.integers(-1, 2**63 - 1)
_ROWS = st.lists(st.builds(AbortedTransaction, _INT, _INT), max_size=4).map(tuple)
_GENERATIONS = st.builds(
    Generation,
    st.sampled_from(["a", "b.c"]),
    st.sampled_from(["A" * 22, "B" * 22]),
    st.integers(0, 3),
    st.integers(0, 2),
)


@st.composite
def ranges(draw: st.DrawFn) -> OffsetRange:
    start, stop = sorted((draw(st.integers(0, 2**62)), draw(st.integers(0, 2**62))))
    return OffsetRange(start, stop)


FACTS = st.builds(
    RunFacts,
    generation=_GENERATIONS,
    coverage=ranges(),
    leader_epochs=st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**63 - 1)), max_size=3).map(
        tuple
    ),
    batches=_INT,
    records=_INT,
    control_batches=_INT,
    raw_bytes=_INT,
    stored_bytes=_INT,
    min_base_timestamp=st.integers(-(2**63), 2**63 - 1),
    max_timestamp=st.integers(-(2**63), 2**63 - 1),
    log_append_time=st.booleans(),
    create_time=st.booleans(),
    largest_batch=_INT,
    codecs=st.lists(st.integers(0, 7), max_size=3).map(tuple),
    aborted=_ROWS,
    open_transactions=_ROWS,
    holes=st.booleans(),
    old_magic=st.booleans(),
    blake3=st.sampled_from(["", "ab" * 32, "cd" * 32]),
)
RUNS = st.builds(
    RunRef, FACTS, st.sampled_from(["pack/a", "pack/b"]), st.integers(0, 2**32 - 1), st.sampled_from([None, "ab" * 16])
)
CUT = st.builds(
    PartitionCut,
    generation=_GENERATIONS,
    stop=_INT,
    start=_INT,
    high_watermark=_INT,
    last_stable_offset=_INT,
    leader_epoch=st.integers(-1, 2**31 - 1),
    held_back=st.lists(st.builds(HeldBack, _INT, _INT, _INT), max_size=3).map(tuple),
)


def through(codec: Codec[Any], items: list[Any]) -> list[Any]:
    """As on a page: what comes back must have the types that went in, too."""
    found = list(codec.decode(unwrap(wrap(Kind.STATE, codec.encode(items)), Kind.STATE, "a page")))
    assert repr(found) == repr(items)
    return found


@examples(100)
@given(st.lists(RUNS, min_size=1, max_size=6), st.lists(CUT, min_size=1, max_size=6))
def test_runs_and_cuts_come_back_from_pages_as_they_were(runs: list[RunRef], cuts: list[PartitionCut]) -> None:
    assert through(PACK_RUNS, runs) == runs
    numbered = [(number, run) for number, run in enumerate(runs)]
    assert through(HISTORIES, numbered) == numbered
    assert through(CUTS, cuts) == cuts
