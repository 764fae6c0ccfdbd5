"""What is told of many values at once is what is told of each by itself."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from enum import IntEnum
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.test_fold_on_pages import CUT, RUNS, changes
from tests.support.examples import examples
from tests.support.keeping import Life

from kafkeep.errors import CorruptObject
from kafkeep.model import OffsetRange, PartitionCut, RunFacts, RunRef
from kafkeep.repository import nouns
from kafkeep.repository.columns import from_columns
from kafkeep.repository.envelope import canonical, parse_canonical, parse_json
from kafkeep.repository.extending import covering, extensions
from kafkeep.repository.fold.codecs import CUTS, HISTORIES, PACK_RUNS
from kafkeep.repository.fold.comparing import same
from kafkeep.repository.fold.pages import Codec, write
from kafkeep.repository.fold.rope import Rope
from kafkeep.repository.folding import apply
from kafkeep.repository.format import Commit, read_slot
from kafkeep.repository.invalid import Invalid
from kafkeep.repository.json_text import check_value
from kafkeep.repository.names import log_name
from kafkeep.repository.page_store import PageStore
from kafkeep.repository.rules import Overlay, validate
from kafkeep.repository.run_columns import decode_cuts, run_refs
from kafkeep.repository.state import EMPTY, State

PACK: Final = "pack/a"


# --- values and their texts --------------------------------------------------------------------------------------


class Odd(IntEnum):
    ONE = 1


_NUMBERS = st.integers(-(2**66), 2**66) | st.sampled_from([0, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18])
_LEAVES = st.none() | st.booleans() | st.text(max_size=4) | _NUMBERS
_GOOD = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
_ANY = st.recursive(
    _LEAVES | st.floats() | st.just(Odd.ONE) | st.binary(max_size=2) | st.sets(st.integers(0, 3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 3) | st.booleans(), inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"a": inner, "b": inner}), max_size=3)
    ),
    max_leaves=8,
)


def is_document(value: object) -> bool:
    """The rule itself, for one value after the other."""
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(is_document, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_document, value))
    if type(value) is int:
        return -(2**63) <= value < 2**64
    return value is None or isinstance(value, (str, bool))


@examples(200)
@given(_ANY)
def test_what_no_document_can_hold_is_found_wherever_it_is(value: object) -> None:
    if is_document(value):
        check_value(value)
    else:
        with pytest.raises(ValueError, match=r"document"):
            check_value(value)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON in all kinds of writing, some of it canonical, some of it broken."""
    value = draw(st.dictionaries(st.text(max_size=2), _GOOD, max_size=3))
    how = draw(st.sampled_from(["sorted", "unsorted", "spaces", "escapes", "broken"]))
    written = json.dumps(
        value,
        sort_keys=how in ("sorted", "broken"),
        separators=(", ", ":") if how == "spaces" else (",", ":"),
        ensure_ascii=how == "escapes",
    )
    text = written.encode("utf-8", "replace")
    if how == "broken":
        at = draw(st.integers(0, len(text) - 1))
        text = (
            text[:at] + draw(st.sampled_from([b"", b" ", b'"', b"0", b"-", b".0", b'"a":1,', b"\\", b","])) + text[at:]
        )
    return text


@examples(300)
@given(texts())
def test_a_text_that_is_taken_for_canonical_is(text: bytes) -> None:
    found = parse_canonical(text)
    try:
        value = parse_json(text, "it")
        again = canonical(value)
    except (CorruptObject, ValueError):
        assert found is None
        return
    assert found is None or (found == value and again == text)
    if again == text and not any(
        len(run) > 18 for run in "".join(c if c.isdigit() else " " for c in str(value)).split()
    ):
        assert found == value


def test_texts_that_mean_the_same_and_are_not_canonical() -> None:
    assert parse_canonical(b'{"a":[0,1],"b":"x y"}') == {"a": [0, 1], "b": "x y"}
    for text in (
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":-0}',
        b'{"a":1 }',
        b'{"a":"\\u0061"}',
        b'{"a":1.0}',
        b'{"a":NaN}',
        b"[1]",
        b'{"a":18446744073709551616}',
        b'{"a":[-9223372036854775809]}',
        b"",
    ):
        assert parse_canonical(text) is None, text


# --- runs and cuts -----------------------------------------------------------------------------------------------

_WRONG: Final[tuple[Any, ...]] = (
    None,
    True,
    1,
    -1,
    -2,
    2**63,
    2**64,
    "",
    "x",
    "AB" * 32,
    [],
    [1],
    [[1]],
    [[1, 2, 3]],
    {},
    1.5,
)


def row_of(run: RunRef) -> dict[str, Any]:
    facts = nouns.encode_facts(run.facts) | {"index": run.index} | ({} if run.key is None else {"key": run.key})
    value: dict[str, Any] = json.loads(canonical(facts))
    return value


def one_by_one(rows: list[Any]) -> list[RunRef] | None:
    """As `format` reads them where they are not read together; None where one is refused."""
    try:
        return [
            RunRef(
                nouns.decode_facts(row),
                PACK,
                nouns.integer(row["index"], "index", 0, 2**32 - 1),
                nouns.hexadecimal(row["key"], "key", 32) if "key" in row else None,
            )
            for row in (nouns.fields(row, "run") for row in rows)
        ]
    except (ValueError, KeyError):
        return None


@examples(200)
@given(st.lists(RUNS, min_size=1, max_size=5), st.data())
def test_runs_read_together_are_those_read_one_by_one(runs: list[RunRef], data: st.DataObject) -> None:
    rows: list[Any] = [row_of(run) for run in runs]
    if data.draw(st.booleans()):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.sampled_from([*sorted(row), "key"]))] = data.draw(st.sampled_from(_WRONG))
    if data.draw(st.integers(0, 5)) == 5:
        data.draw(st.sampled_from(rows)).pop("records")
    found, expected = run_refs(rows, PACK), one_by_one(rows)
    assert found is None or (expected is not None and found == tuple(expected))


@examples(200)
@given(st.lists(RUNS, min_size=1, max_size=5))
def test_usual_runs_are_read_together(runs: list[RunRef]) -> None:
    usual = [replace(run, facts=replace(run.facts, **USUAL), pack=PACK, key=None) for run in runs]
    assert run_refs([row_of(run) for run in usual], PACK) == tuple(usual)


USUAL: Final[dict[str, Any]] = {
    "batches": 1,
    "records": 2,
    "control_batches": 0,
    "raw_bytes": 3,
    "stored_bytes": 4,
    "largest_batch": 5,
    "aborted": (),
    "open_transactions": (),
    "blake3": "ab" * 32,
}


def test_one_wrong_value_among_equal_ones_is_not_overlooked() -> None:
    """True equals 1 and has its hash."""
    good = json.loads(json.dumps(row_of(RunRef(USUAL_FACTS, PACK, 0))))
    for name, wrong in (
        ("codecs", [True]),
        ("generation", ["a", "A" * 22, True, 0]),
        ("leader_epochs", [[True, 1]]),
        ("records", True),
        ("holes", 1),
    ):
        assert run_refs([good, good | {name: wrong}], PACK) is None, name
        assert one_by_one([good, good | {name: wrong}]) is None, name
    assert run_refs([good, good], PACK) is not None


USUAL_FACTS: Final = RunFacts(
    generation=nouns.decode_generation(["a", "A" * 22, 1, 0]),
    coverage=OffsetRange(1, 2),
    leader_epochs=((1, 1),),
    min_base_timestamp=1,
    max_timestamp=1,
    log_append_time=False,
    create_time=True,
    holes=False,
    old_magic=False,
    codecs=(1,),
    **USUAL,
)


@examples(300)
@given(st.lists(CUT, max_size=6), st.data())
def test_cuts_read_together_are_those_read_one_by_one(cuts: list[PartitionCut], data: st.DataObject) -> None:
    plain = [replace(cut, held_back=()) for cut in cuts] if data.draw(st.booleans()) else cuts
    value = json.loads(canonical(nouns.encode_cuts(plain)))
    if value and data.draw(st.booleans()):
        rows = data.draw(st.sampled_from(value))["partitions"]
        data.draw(st.sampled_from(rows))[data.draw(st.integers(0, 6))] = data.draw(st.sampled_from(_WRONG))

    def read(decode: Any) -> object:
        try:
            return decode(value)
        except (ValueError, KeyError) as error:
            return str(error)

    assert read(decode_cuts) == read(nouns.decode_cuts)


def test_columns_make_what_the_class_makes() -> None:
    found = from_columns(OffsetRange, 2, {"start": [1, 2], "stop": [3, 4]})
    assert found == [OffsetRange(1, 3), OffsetRange(2, 4)] and hash(found[0]) == hash(OffsetRange(1, 3))
    with pytest.raises(TypeError, match="other fields"):
        from_columns(OffsetRange, 1, {"start": [1]})


# --- what commits extend -----------------------------------------------------------------------------------------


def _shifted(commit: Commit, dice: random.Random) -> Commit:
    """The same with a run or two that may not fit any more, or come twice."""
    packs = []
    for pack in commit.packs:
        runs = []
        for run in pack.runs:
            offsets = run.coverage
            match dice.randrange(6):
                case 0:
                    start = max(0, offsets.start + dice.choice([-1, 1]))
                    offsets = OffsetRange(start, max(start, offsets.stop))
                case 1:
                    offsets = OffsetRange(offsets.start, offsets.start)
                case 2:
                    runs.append(run)
                case _:
                    pass
            runs.append(replace(run, facts=replace(run.facts, coverage=offsets)))
        packs.append(replace(pack, runs=tuple(runs)))
    return replace(commit, packs=tuple(packs))


def _keeps_the_rules(state: State, commit: Commit) -> bool:
    """The rules of coverage, step by step (`rules._check_generations`)."""
    known = State(**{name: getattr(state, name) for name in ("generations", "latest", "floors")}, cluster_id="c")
    overlay = Overlay(known)
    try:
        for item in covering(commit.gaps, (run for pack in commit.packs for run in pack.runs)):
            overlay.cover(item.generation, item.offsets if hasattr(item, "offsets") else item.coverage)
        for cut in () if commit.point is None else commit.point.cuts:
            overlay.check_cut(cut)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_commits_that_are_taken_at_a_glance_keep_the_rules(seed: int) -> None:
    dice = random.Random(f"extending {seed}")
    life = Life(dice)
    for _ in range(25):
        life.step()
    state, taken, refused = EMPTY, 0, 0
    for number in range(life.repository.refresh().head + 1):
        slot = read_slot(life.store.get(log_name(number)), number, None, "it")
        commit = slot.commit
        if commit is not None and commit.change is None and commit.kind != "init":
            for each in (commit, _shifted(commit, dice), _shifted(commit, dice)):
                plain = extensions(state, each)
                if plain is not None:
                    taken += 1
                    assert _keeps_the_rules(state, each)
                else:
                    refused += 1
            if validate(state, commit) is None and not (commit.opened or commit.closed):
                assert extensions(state, commit) is not None
        state = apply(state, slot)
    assert state == life.repository.state
    assert taken and refused


# --- ropes against each other --------------------------------------------------------------------------------------


@examples(200)
@given(st.lists(changes(), min_size=1, max_size=6), st.lists(changes(), max_size=3))
def test_ropes_are_the_same_where_their_items_are(steps: list[Any], others: list[Any]) -> None:
    numbers: Codec[int] = Codec("numbers", list, list, list, lambda item: 1)  # type: ignore[arg-type]
    one: tuple[Rope[int], list[int]] = (Rope(), [])
    for change in steps:
        one = change(*one)
    other = one
    for change in others:
        other = change(*other)
    assert same(one[0], other[0], numbers) == (one[1] == other[1])
    assert same(one[0], Rope.of(one[1]), numbers)


@examples(100)
@given(st.lists(RUNS, min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 4), st.data())
def test_runs_on_other_pages_are_the_same_until_one_differs(
    runs: list[RunRef], size: int, other_size: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(runs) - 1))
    changed = list(runs)
    field = data.draw(st.sampled_from(["records", "stored_bytes", "largest_batch"]))
    changed[place] = replace(
        runs[place], facts=replace(runs[place].facts, **{field: max(0, getattr(runs[place].facts, field)) ^ 1})
    )

    def on_pages(items: list[RunRef], weight: int) -> Rope[RunRef]:
        segment = write(PageStore(None, None), PACK_RUNS, items, weight)
        assert segment is not None
        return Rope([(segment, 0, len(items))])

    a = on_pages(runs, size)
    for weight in (size, other_size):
        assert same(a, on_pages(runs, weight), PACK_RUNS)
        assert not same(a, on_pages(changed, weight), PACK_RUNS)
    assert same(a, Rope.of(runs), PACK_RUNS) and not same(Rope.of(changed), a, PACK_RUNS)
    assert not same(a, a[1:], PACK_RUNS)
    numbered = [(place, run) for place, run in enumerate(runs)]
    assert HISTORIES.rows(json.loads(canonical(HISTORIES.encode(numbered))))


@examples(100)
@given(st.lists(CUT, min_size=1, max_size=8))
def test_rows_of_cuts_are_equal_where_cuts_are(cuts: list[PartitionCut]) -> None:
    rows = CUTS.rows(json.loads(canonical(CUTS.encode(cuts))))
    for a, first in zip(cuts, rows, strict=True):
        for b, second in zip(cuts, rows, strict=True):
            assert (a == b) == (first == second)
